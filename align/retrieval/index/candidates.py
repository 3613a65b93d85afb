"""A first stage over the parts of an index: who is put forward, deleted and filtered ones never."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import torch

from align.data.multi_vector import MultiVector
from align.retrieval.first_stages import Budget, FirstStage, first_stage, put_forward_by
from align.retrieval.storage.packed_strings import Array
from align.retrieval.storage.segment import Segment
from align.retrieval.storage.segments import Part
from align.scoring.fde import FDE
from align.scoring.topk import Neighbours, merge_neighbours

First = FDE | Budget | Callable[[MultiVector], FirstStage]
"""How many first vectors to use of each query and item, an encoding, or a function that makes a
first stage from stored items."""


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """First stages of segments, each made once.

    Attributes:
        made: What each way to make one keeps of each segment that is still in use.
    """

    made: dict[First, WeakKeyDictionary[Segment, FirstStage]] = field(default_factory=dict)

    def of(self, segment: Segment, first: First) -> FirstStage:
        """The first stage of a segment.

        Raises:
            ValueError: ``first`` does not suit the items, or makes a stage of other items.
        """
        kept = self.made.setdefault(first, WeakKeyDictionary())
        if segment not in kept:
            vectors = segment.vectors
            makes = first if callable(first) and not isinstance(first, FDE) else None
            stage = first_stage(vectors, first) if makes is None else makes(vectors)  # type: ignore[arg-type]
            if len(stage) != len(segment):
                raise ValueError(
                    "a first stage must be made from the items that it selects among; it holds "
                    f"{len(stage)} and there are {len(segment)}. Pass a function of a MultiVector "
                    "that keeps all of its items."
                )
            kept[segment] = stage
        return kept[segment]


def put_forward(
    queries: MultiVector,
    parts: Sequence[Part],
    keeps: Sequence[Array | None],
    *,
    candidates: int,
    stage_of: Callable[[Segment], FirstStage],
) -> Neighbours:
    """The items that look best to each query, among those that may be found.

    Args:
        queries: ``q`` queries.
        parts: The index.
        keeps: Of each part the items that may be found, ``None`` for all.
        candidates: Items per query, at most as many as may be found.
        stage_of: Makes or remembers the first stage of a segment.

    Returns:
        First-stage scores and rows that count through all parts, both ``(q, candidates)``.
    """
    found, start = [], 0
    for part, keep in zip(parts, keeps, strict=True):
        here = len(part.segment) if keep is None else int(np.count_nonzero(keep))
        if here:
            best = _of_part(queries, stage_of(part.segment), keep, min(candidates, here))
            found.append(Neighbours(best.values, best.indices + start))
        start += len(part.segment)
    return merge_neighbours(found, k=candidates)


def _of_part(queries: MultiVector, stage: FirstStage, keep: Array | None, n: int) -> Neighbours:
    """The ``n`` best that may be found: a stage is asked for more until every query has so many."""
    if keep is None:
        return put_forward_by(stage, queries, n)
    may = torch.from_numpy(keep)
    asked = min(len(stage), n * len(stage) // int(may.sum()) + n)
    while True:
        best = put_forward_by(stage, queries, asked)
        fine = may[best.indices]
        if bool((fine.sum(dim=1) >= n).all()) or asked == len(stage):
            break
        asked = min(len(stage), 2 * asked)
    # Those that may be found move to the front, in the order that the stage gave them.
    order = (~fine).to(torch.int8).sort(dim=1, stable=True).indices[:, :n]
    return Neighbours(best.values.gather(1, order), best.indices.gather(1, order))
