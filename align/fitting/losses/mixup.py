"""Mixup of pairs: both sides of two pairs are blended in one proportion."""

from __future__ import annotations

import torch
from torch import Tensor

from align._checks import check_paired, check_positive


def shared_mixup(
    source: Tensor, target: Tensor, *, alpha: float = 1.0, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend the first half of a batch with the second, by one share for all rows and both sides.

    ``share * first + (1 - share) * second`` with ``share`` drawn from ``Beta(alpha, alpha)``, by
    the inverse of its distribution function from one uniform number. The rows of a batch should
    be in random order. The last of an odd number of rows is left out.

    Args:
        source: Embeddings as the encoder gave them, ``(n, d_source)`` with ``n >= 2``.
        target: Those of the partners, ``(n, d_target)``.
        alpha: Both parameters of the Beta distribution, > 0; 1 draws evenly from [0, 1], less
            stays close to one of the halves.
        generator: Draws the share.

    Returns:
        ``(n // 2, d_source)`` and ``(n // 2, d_target)``, not normalised again.

    Raises:
        ValueError: The sides are not row-matched, there are fewer than 2 rows, or ``alpha`` is not
            positive and finite.

    Reference:
        Vouitsis et al. 2024, arXiv:2312.10144 (FuseMix).
    """
    from scipy.special import betaincinv

    check_paired(source, target)
    check_positive("alpha", alpha)
    half = len(source) // 2
    if half == 0:
        raise ValueError(
            f"mixup needs at least 2 rows to blend; got {len(source)}. Use larger batches."
        )
    uniform = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
    share = float(betaincinv(alpha, alpha, uniform.item()))
    source, target = (share * x[:half] + (1 - share) * x[half : 2 * half] for x in (source, target))
    return source, target
