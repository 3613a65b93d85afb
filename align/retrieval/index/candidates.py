"""Coarse to fine over an index: a first stage proposes items, which are then scored exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.retrieval.cascade import check_same, rescore
from align.retrieval.first_stages import Budget, FirstStage, first_stage, propose
from align.retrieval.index.exact import Queries
from align.retrieval.index.filters import Searchable
from align.retrieval.storage.segment import Segment
from align.scoring.fde import FDE
from align.scoring.pair_scores import maxsim_pairs
from align.scoring.topk import Neighbours, merge_neighbours

First = FDE | Budget | Callable[[MultiVector], FirstStage]
"""How many first vectors to use of each query and item, an encoding, or a function that makes a
first stage from stored items."""


@dataclass(frozen=True, slots=True, eq=False)
class StageCache:
    """First stages of segments, made once for each ``first`` and kept while a segment is in use."""

    made: dict[First, WeakKeyDictionary[Segment, FirstStage]] = field(default_factory=dict)

    def of(self, segment: Segment, first: First) -> FirstStage:
        """The first stage of a segment."""
        known = self.made.setdefault(first, WeakKeyDictionary())
        if segment not in known:
            vectors = segment.vectors
            if isinstance(first, (FDE, tuple, list)):
                stage = first_stage(vectors, first)
            else:
                stage = first(vectors)
            check_same(stage, vectors)
            known[segment] = stage
        return known[segment]


def coarse_to_fine(
    queries: Queries,
    among: Sequence[Searchable],
    *,
    k: int,
    candidates: int,
    first: First,
    stages: StageCache,
) -> Neighbours:
    """The ``k`` best by exact score of the ``candidates`` that look best to a first stage."""
    proposed = [
        each.numbered(_propose(queries.vectors, stages.of(each.segment, first), each, candidates))
        for each in among
        if each.count
    ]

    def score(pairs: Tensor) -> Tensor:
        scores = torch.empty(len(pairs))
        for each in among:
            rows, vectors = pairs[:, 1] - each.start, each.segment.vectors
            here = (rows >= 0) & (rows < len(vectors))
            own = torch.stack([pairs[here, 0], rows[here]], dim=1)
            scores[here] = maxsim_pairs(
                queries.cut, vectors, own, budget=queries.budget_in(vectors)
            )
        return scores

    return rescore(merge_neighbours(proposed, k=candidates).indices, score, k=k)


def _propose(queries: MultiVector, stage: FirstStage, among: Searchable, n: int) -> Neighbours:
    """The ``n`` best that may be found: more are proposed until every query has so many."""
    n = min(n, among.count)
    if among.keep is None:
        return propose(stage, queries, n)
    may = torch.from_numpy(among.keep)
    wanted = min(len(stage), n * len(stage) // among.count + n)
    while True:
        best = propose(stage, queries, wanted)
        fine = may[best.indices]
        if bool((fine.sum(dim=1) >= n).all()) or wanted == len(stage):
            break
        wanted = min(len(stage), 2 * wanted)
    # Those that may be found move to the front, in the order that the stage gave them.
    order = (~fine).to(torch.int8).sort(dim=1, stable=True).indices[:, :n]
    return Neighbours(best.values.gather(1, order), best.indices.gather(1, order))
