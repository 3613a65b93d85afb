"""Exact nearest neighbours by inner product, without the (q, m) score matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from align._checks import check_k
from align.kernels.scores import check_scorable, inner_products

_COLUMNS = 8192
"""Gallery rows scored at a time: bounds a block, and is a multiple of any matrix tile."""


class Neighbours(NamedTuple):
    """The best gallery rows of each query, best first; of equal scores the lower row comes first.

    Attributes:
        values: Scores, ``(q, k)``, falling along each row.
        indices: Gallery rows, ``(q, k)`` int64.
    """

    values: Tensor
    indices: Tensor


@torch.no_grad()
def nearest(queries: Tensor, gallery: Tensor, *, k: int, rows: int = 1024) -> Neighbours:
    """The ``k`` gallery rows with the largest inner product with each query, exactly.

    Of rows with equal scores the one with the lower index comes first and is kept first, so the
    result does not depend on the device or on ``rows``; ``torch.topk`` promises neither.

    Args:
        queries: ``(q, d)`` floating point.
        gallery: ``(m, d)``, same dtype and device.
        k: Neighbours per query, ``1 <= k <= m``.
        rows: Queries scored at a time; memory grows with ``rows`` and not with ``q`` times ``m``.

    Returns:
        ``values`` and ``indices``, both ``(q, k)``.

    Raises:
        ValueError: The matrices do not fit together, ``k`` is out of range, or a score is NaN or
            infinite.
    """
    check_scorable(queries, gallery)
    check_k(k, len(gallery))
    blocks = [_nearest_of_block(block, gallery, k) for block in torch.split(queries, rows)]
    return Neighbours(
        torch.cat([block.values for block in blocks]),
        torch.cat([block.indices for block in blocks]),
    )


def merge_neighbours(parts: Sequence[Neighbours], *, k: int) -> Neighbours:
    """The best ``k`` of several answers to the same queries, over consecutive parts of a gallery.

    Args:
        parts: Answers with indices into the whole gallery; all indices of one part lie below all
            of the next, which keeps the rule that the lower index wins a tie.
        k: Neighbours to keep, at most as many as the parts hold together.
    """
    values, order = torch.cat([part.values for part in parts], dim=1).sort(
        dim=1, descending=True, stable=True
    )
    indices = torch.cat([part.indices for part in parts], dim=1)
    return Neighbours(values[:, :k], indices.gather(1, order[:, :k]))


def _nearest_of_block(queries: Tensor, gallery: Tensor, k: int) -> Neighbours:
    best: list[Neighbours] = []
    for start in range(0, len(gallery), _COLUMNS):
        columns = gallery[start : start + _COLUMNS]
        values, indices = best_columns(inner_products(queries, columns), min(k, len(columns)))
        best = [merge_neighbours([*best, Neighbours(values, indices + start)], k=k)]
    return best[0]


def best_columns(scores: Tensor, k: int) -> Neighbours:
    """The ``k`` largest of each row of scores ``(q, m)``, and their columns; ties as ``nearest``.

    Args:
        scores: Finite, ``(q, m)``.
        k: ``1 <= k <= m``; not checked.
    """
    values, indices = scores.topk(k, dim=1)
    # topk may keep any of the columns that tie at the cut. Those rows are few: sort them stably.
    cut = (scores >= values[:, -1:]).sum(1, dtype=torch.int32) > k
    if cut.any():
        by_score, columns = scores[cut].sort(dim=1, descending=True, stable=True)
        values[cut], indices[cut] = by_score[:, :k], columns[:, :k]
    # Within the k, a stable sort by score after a sort by column leaves ties in column order.
    indices, order = indices.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return Neighbours(values, indices.gather(1, order))
