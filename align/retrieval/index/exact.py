"""Exact search of one segment, with some of its items left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.retrieval.first_stages import Budget
from align.retrieval.storage.packed_strings import Array
from align.retrieval.storage.segment import Segment
from align.scoring.inner_products import inner_products
from align.scoring.kernels.cpu_topk import check_finite
from align.scoring.late_interaction import maxsim, topk
from align.scoring.topk import Neighbours, best_columns, best_of_blocks, merge_neighbours

_GATHER = 8
"""Where fewer than one item in so many is left, those are copied and nothing else is scored."""

_SCORES = 2**20
"""Scores of items with several vectors that are held at a time."""

_WIDENED = 2048
"""Vectors of a narrower dtype that are widened at a time: few enough to stay in a cache."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries as both kinds of segment need them.

    Attributes:
        vectors: ``q`` packed queries.
        budget: Vectors used of each query and each item, the first ones; all if ``None``.
    """

    vectors: MultiVector
    budget: Budget | None

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def cut(self) -> MultiVector:
        """The vectors that the budget leaves."""
        return self.vectors if self.budget is None else self.vectors.prefix(self.budget[0])

    @cached_property
    def sums(self) -> Tensor:
        """The vectors of each query summed, ``(q, d)`` float32.

        With an item of one vector their inner product is MaxSim, which has nothing to choose from.
        """
        tokens = self.cut.to(dtype=torch.float32).tokens
        if len(tokens) == len(self.cut):
            return tokens
        return torch.segment_reduce(tokens, "sum", lengths=self.cut.lengths, axis=0)


def best_of_segment(asked: Asked, segment: Segment, keep: Array | None, *, k: int) -> Neighbours:
    """The best items of a segment for each query, exactly; of equal ones the earlier first.

    Args:
        asked: ``q`` queries of the width of the segment.
        segment: Its items.
        keep: Which of them may be found, ``(n,)`` bool with some true; ``None`` for all.
        k: Items per query, at most as many as may be found.

    Returns:
        ``values`` and ``indices`` into the segment, both ``(q, k)``.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    if keep is not None and np.count_nonzero(keep) * _GATHER < len(segment):
        rows = torch.from_numpy(np.flatnonzero(keep))
        found = _best(asked, segment.vectors.take(rows), None, k)
        return Neighbours(found.values, rows[found.indices])
    return _best(asked, segment.vectors, keep, k)


def score_blocks(asked: Asked, items: MultiVector) -> Iterator[tuple[int, Tensor]]:
    """Scores of all queries with consecutive items, ``(q, b)``, and the number of the first."""
    step = max(64, _SCORES // max(len(asked), 1) // 64 * 64)
    for start in range(0, len(items), step):
        stop = min(start + step, len(items))
        if _is_pooled(items):
            yield start, dense_scores(asked.sums, items, start, stop)
        else:
            part = items[start:stop]
            part = part if asked.budget is None else part.prefix(asked.budget[1])
            yield start, maxsim(asked.cut, part)


def dense_scores(queries: Tensor, items: MultiVector, start: int, stop: int) -> Tensor:
    """Inner products of float32 queries with a range of items that have one vector each.

    Halves are exact in float32, and so are whole numbers of int8 before their scale.
    """
    tokens = items.tokens[start:stop]
    if tokens.dtype == torch.float32:
        return inner_products(queries, tokens)
    parts = torch.split(tokens, _WIDENED)
    scores = torch.cat([inner_products(queries, part.float()) for part in parts], dim=1)
    if items.scales is None:
        return scores
    scores = scores * items.scales[start:stop]
    check_finite(scores)  # codes are small numbers, and their scales need not be
    return scores


def _is_pooled(items: MultiVector) -> bool:
    return len(items.tokens) == len(items)


def _best(asked: Asked, items: MultiVector, keep: Array | None, k: int) -> Neighbours:
    gone = None if keep is None else torch.from_numpy(~keep)
    if _is_pooled(items):

        def score(queries: Tensor, start: int, stop: int) -> Tensor:
            return _without(dense_scores(queries, items, start, stop), gone, start)

        return best_of_blocks(asked.sums, len(items), score, k=k)
    if gone is None:
        return topk(asked.cut, items, k, budget=_within(asked, items))
    best: list[Neighbours] = []
    for start, scores in score_blocks(asked, items):
        found = best_columns(_without(scores, gone, start), min(k, scores.shape[1]))
        found = Neighbours(found.values, found.indices + start)
        best = [merge_neighbours([*best, found], k=k)]
    return best[0]


def _without(scores: Tensor, gone: Tensor | None, start: int) -> Tensor:
    if gone is None:
        return scores
    return scores.masked_fill_(gone[start : start + scores.shape[1]], -torch.inf)


def _within(asked: Asked, items: MultiVector) -> Budget | None:
    """The budget, no larger than these queries and items, of which ``topk`` refuses it."""
    if asked.budget is None or not len(asked):
        return None
    return int(asked.cut.lengths.max()), min(asked.budget[1], int(items.lengths.max()))
