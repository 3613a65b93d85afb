"""Exact nearest neighbours by inner product, without the (q, m) score matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from align._checks import check_k
from align.scoring.inner_products import check_scorable, inner_products

_COLUMNS = 8192  # gallery rows scored at a time, at least: a multiple of any matrix tile
_SCORES = 2**20  # scores held at a time: few queries meet more gallery rows at once
_GROUP = 64  # neighbouring scores of which the largest is looked at first


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

    Raises:
        ValueError: The matrices do not fit together, ``k`` is out of range, or a score is NaN or
            infinite.
    """
    check_scorable(queries, gallery)
    check_k(k, len(gallery))

    def score(block: Tensor, start: int, stop: int) -> Tensor:
        return inner_products(block, gallery[start:stop])

    return best_of_blocks(queries, len(gallery), score, k=k, rows=rows)


def best_of_blocks(
    queries: Tensor,
    m: int,
    score: Callable[[Tensor, int, int], Tensor],
    *,
    k: int,
    rows: int = 1024,
) -> Neighbours:
    """The ``k`` best of ``m`` gallery rows for each query, whatever their scores are made of.

    Args:
        queries: ``(q, d)``.
        m: Gallery rows.
        score: Some queries and a range of gallery rows in, their scores out, ``(b, stop - start)``;
            -inf takes a row out. Called with ranges that start at multiples of 64.
        k: Neighbours per query, ``1 <= k <= m``; not checked.
        rows: Queries scored at a time.
    """
    blocks = []
    whole = m // _COLUMNS * _COLUMNS
    for block in torch.split(queries, rows):
        best: list[Neighbours] = []
        columns = max(_COLUMNS, _SCORES // max(len(block), 1) // _COLUMNS * _COLUMNS)
        # What is left over is a block of its own, since it may have to be copied to be padded.
        ends = [*range(columns, whole, columns), whole, m]
        for start, stop in pairwise([0, *ends]):
            if start == stop:
                continue
            values, indices = best_columns(score(block, start, stop), min(k, stop - start))
            best = [merge_neighbours([*best, Neighbours(values, indices + start)], k=k)]
        blocks += best
    return Neighbours(
        torch.cat([block.values for block in blocks]),
        torch.cat([block.indices for block in blocks]),
    )


def merge_neighbours(parts: Sequence[Neighbours], *, k: int) -> Neighbours:
    """The best ``k`` of the results for the same queries in consecutive parts of a gallery.

    Indices of one part lie below all of the next, so that the lower index wins a tie. The parts
    hold at least ``k`` together.
    """
    values, order = torch.cat([part.values for part in parts], dim=1).sort(
        dim=1, descending=True, stable=True
    )
    indices = torch.cat([part.indices for part in parts], dim=1)
    return Neighbours(values[:, :k], indices.gather(1, order[:, :k]))


def best_columns(scores: Tensor, k: int) -> Neighbours:
    """The ``k`` largest of each row of scores ``(q, m)``, and their columns; ties as ``nearest``.

    Scores are neither NaN nor +inf, and ``1 <= k <= m`` is not checked.
    """
    groups = scores.shape[1] // _GROUP
    return _by_groups(scores, groups, k) if groups > 4 * k else _by_score(scores, k)


def _by_groups(scores: Tensor, groups: int, k: int) -> Neighbours:
    """As ``best_columns``, by way of the largest score of each group of columns, which is cheaper.

    A group that is not among the best ``k`` by its largest score, of equal ones the earlier, is
    behind ``k`` columns of those, so none of its own is among the best.
    """
    grouped = torch.unflatten(scores[:, : groups * _GROUP], 1, (groups, _GROUP))
    chosen = _by_score(grouped.amax(2), k).indices.sort(dim=1).values
    inside = torch.arange(_GROUP, device=scores.device)
    rest = torch.arange(groups * _GROUP, scores.shape[1], device=scores.device)
    columns = torch.cat(
        [
            (chosen[:, :, None] * _GROUP + inside).flatten(1),
            rest.expand(len(scores), len(rest)),
        ],
        dim=1,
    )
    values, places = _by_score(scores.gather(1, columns), k)
    return Neighbours(values, columns.gather(1, places))


def _by_score(scores: Tensor, k: int) -> Neighbours:
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
