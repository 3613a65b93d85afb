"""Inner products of a block of queries with gallery rows, such that equal rows score equally."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

_TILE = 64
"""Gallery rows are padded to a multiple of this; matrix products work in tiles that divide it."""


def check_scorable(queries: Tensor, gallery: Tensor) -> None:
    """Raise ``ValueError`` unless both are floating-point matrices of one width and dtype."""
    if (
        queries.ndim != 2
        or gallery.ndim != 2
        or queries.shape[1] != gallery.shape[1]
        or queries.dtype != gallery.dtype
        or not queries.is_floating_point()
    ):
        raise ValueError(
            "queries and gallery must be floating-point matrices (q, d) and (m, d) of one dtype; "
            f"got {tuple(queries.shape)} {queries.dtype} and {tuple(gallery.shape)} "
            f"{gallery.dtype}. Map both sides into the shared space with one adapter first."
        )


def inner_products(queries: Tensor, gallery: Tensor) -> Tensor:
    """Inner product of each query with each gallery row; meant for blocks.

    Two gallery rows that are equal get scores that are equal to the last bit, so a tie is a tie.
    A plain matrix product does not promise this: the columns left over after the last full tile
    may be summed in another order. Zero rows fill up the last tile and are cut off again.

    Args:
        queries: ``(q, d)`` floating point.
        gallery: ``(m, d)``, same dtype and device.

    Returns:
        Scores, ``(q, m)``, in the dtype of the inputs.

    Raises:
        ValueError: A score is NaN or infinite, so that an order of the gallery does not exist.
    """
    m = len(gallery)
    # Padding by nothing would still copy the gallery.
    whole = F.pad(gallery, (0, 0, 0, -m % _TILE)) if m % _TILE else gallery
    scores = (queries @ whole.T)[:, :m]
    if scores.numel():
        low, high = (float(bound) for bound in scores.aminmax())
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise ValueError(
                f"scores must be finite to be ranked; they span [{low}, {high}]. Look for NaN or "
                "infinity in queries and gallery, or for values so large that they overflow."
            )
    return scores
