"""Rows less their mean, for probes that do not see a shift."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDING = 8
"""Machine epsilons; a spread this small next to the norms is what rounding leaves."""


def deviations(name: str, x: Tensor) -> Tensor:
    """Rows of ``x`` less their mean, ``(n, d)``.

    Args:
        name: What to call it in a message.
        x: ``(n, d)``.

    Raises:
        ValueError: All rows are one point, up to rounding.
    """
    apart = x - x.mean(dim=0)
    largest = float(torch.linalg.vector_norm(x, dim=1).max())
    if float(torch.linalg.vector_norm(apart, dim=1).max()) <= (
        _ROUNDING * torch.finfo(x.dtype).eps * largest
    ):
        raise ValueError(
            f"{name} must vary; all {len(x)} rows are one point up to rounding, of norm "
            f"{largest:.4g}. Check the encoder: it gave the same vector for every item."
        )
    return apart
