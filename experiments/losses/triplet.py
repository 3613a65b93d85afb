"""A hinge loss of false pairs, and a loss that needs none."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_positive
from align.fitting.losses.in_batch import check_batch, same_group


def triplet(
    source: Tensor,
    target: Tensor,
    *,
    margin: float,
    groups: Tensor | None = None,
    hardest: bool = False,
) -> Tensor:
    """Hinge loss of false pairs that come within ``margin`` of the true one, both directions.

    The mean over rows, and the sum over both directions, of ``max(0, margin + cos_ij - cos_ii)``,
    either averaged over the negatives ``j`` of a row or at its hardest. A row without negatives
    loses nothing.

    Args:
        source: Unit-norm embeddings, ``(n, d)``, float32 or wider.
        target: Unit-norm embeddings, ``(n, d)``.
        margin: Cosine by which a true pair should lead, > 0.
        groups: Group codes, int64 ``(n,)``: pairs of one group are no negatives. Every pair is its
            own group if left out.
        hardest: Count only the most similar negative of each row.

    Returns:
        Scalar, in units of cosine, in ``[0, 2 (margin + 2)]``.

    Raises:
        ValueError: The sides are not row-matched in one space, ``margin`` is not positive and
            finite, or ``groups`` do not fit.

    Reference:
        Faghri et al. 2018, arXiv:1707.05612 (VSE++), whose sum over negatives is a mean here, so
        that the loss does not grow with the batch.
    """
    check_batch(source, target)
    check_positive("margin", margin)
    false = ~same_group(groups, source)
    cosines = source @ target.T
    own = cosines.diagonal()

    def violation(scores: Tensor) -> Tensor:
        if hardest:
            nearest = scores.masked_fill(~false, -torch.inf).amax(dim=1)
            return (margin + nearest - own).relu().mean()
        hinges = (margin + scores - own[:, None]).relu().masked_fill(~false, 0)
        return (hinges.sum(dim=1) / false.sum(dim=1).clamp(min=1)).mean()

    return violation(cosines) + violation(cosines.T)


def cosine_regression(source: Tensor, target: Tensor) -> Tensor:
    """Mean of one minus the cosine of partners; it has no negatives.

    Args:
        source: Embeddings of any norm but 0, ``(n, d)``, float32 or wider.
        target: ``(n, d)``, the same.

    Returns:
        Scalar in [0, 2]; 0 where partners have one direction.

    Raises:
        ValueError: The sides are not row-matched in one space.
    """
    check_batch(source, target)
    return (1 - F.cosine_similarity(source, target, dim=1)).mean()
