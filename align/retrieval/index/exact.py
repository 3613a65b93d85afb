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
from align.scoring.inner_products import check_finite, inner_products
from align.scoring.late_interaction import maxsim, topk
from align.scoring.topk import Neighbours, best_columns, best_of_blocks, merge_neighbours

_SCORES = 2**20  # scores of items with several vectors that are held at a time


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries as segments of both kinds need them."""

    vectors: MultiVector  # q packed queries
    # vectors used of each query and each item, the first ones; all if None
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

    def budget_in(self, items: MultiVector) -> Budget | None:
        """The budget as far as these queries and items have so many vectors: no more is taken."""
        if self.budget is None or not len(self) or not len(items):
            return None
        return int(self.cut.lengths.max()), min(self.budget[1], int(items.lengths.max()))


def best_of_segment(
    queries: Queries, segment: Segment, keep: Array | None, *, k: int
) -> Neighbours:
    """The best items of a segment for each query, exactly; of equal ones the earlier first.

    ``keep`` says which may be found, ``(n,)`` bool with ``k`` or more true; all if ``None``.
    """
    # Where few items are left, those are copied and nothing else is scored.
    if keep is not None and np.count_nonzero(keep) * 8 < len(segment):
        rows = torch.from_numpy(np.flatnonzero(keep))
        best = _best(queries, segment.vectors.take(rows), None, k)
        return Neighbours(best.values, rows[best.indices])
    return _best(queries, segment.vectors, None if keep is None else torch.from_numpy(~keep), k)


def score_blocks(queries: Queries, items: MultiVector) -> Iterator[tuple[int, Tensor]]:
    """Scores of all queries with consecutive items, ``(q, b)``, and the number of the first."""
    step = max(64, _SCORES // max(len(queries), 1) // 64 * 64)
    for start in range(0, len(items), step):
        stop = min(start + step, len(items))
        if _is_pooled(items):
            yield start, _dense_scores(queries.sums, items, start, stop)
        else:
            part = items[start:stop]
            part = part if queries.budget is None else part.prefix(queries.budget[1])
            yield start, maxsim(queries.cut, part)


def _is_pooled(items: MultiVector) -> bool:
    return len(items.tokens) == len(items)


def _dense_scores(queries: Tensor, items: MultiVector, start: int, stop: int) -> Tensor:
    """Inner products of float32 queries with a range of items that have one vector each.

    Halves are exact in float32, and so are whole numbers of int8 before their scale.
    """
    tokens = items.tokens[start:stop]
    if tokens.dtype == torch.float32:
        return inner_products(queries, tokens)
    # Few enough are widened at a time to stay in a cache.
    scores = [inner_products(queries, part.float()) for part in torch.split(tokens, 2048)]
    if items.scales is None:
        return torch.cat(scores, dim=1)
    scaled = torch.cat(scores, dim=1) * items.scales[start:stop]
    check_finite(scaled)  # codes are small numbers, and their scales need not be
    return scaled


def _best(queries: Queries, items: MultiVector, gone: Tensor | None, k: int) -> Neighbours:
    """The best of all items but those that are gone, ``(n,)`` bool."""

    def without(scores: Tensor, start: int) -> Tensor:
        if gone is None:
            return scores
        return scores.masked_fill_(gone[start : start + scores.shape[1]], -torch.inf)

    if _is_pooled(items):

        def score(rows: Tensor, start: int, stop: int) -> Tensor:
            return without(_dense_scores(rows, items, start, stop), start)

        return best_of_blocks(queries.sums, len(items), score, k=k)
    if gone is None:
        return topk(queries.cut, items, k, budget=queries.budget_in(items))
    best: list[Neighbours] = []
    for start, scores in score_blocks(queries, items):
        block = best_columns(without(scores, start), min(k, scores.shape[1]))
        block = Neighbours(block.values, block.indices + start)
        best = [merge_neighbours([*best, block], k=k)]
    return best[0]
