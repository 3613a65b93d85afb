"""Search over the parts of an index: exact, standardized, or coarse to fine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from align.retrieval.cascade import rescore, rows_at_a_time
from align.retrieval.first_stages import Budget
from align.retrieval.hits import Hit
from align.retrieval.index.candidates import First, Stages, put_forward
from align.retrieval.index.exact import Asked, best_of_segment
from align.retrieval.index.filters import Where, check_fields, conditions_of, matching
from align.retrieval.storage.metadata import modality_name
from align.retrieval.storage.packed_strings import Array
from align.retrieval.storage.segment import take_across
from align.retrieval.storage.segments import Part, starts_of
from align.scoring.topk import Neighbours, merge_neighbours


@dataclass(frozen=True, eq=False)
class Findable:
    """The items of an index that a search may find.

    Attributes:
        parts: The index.
        keeps: Of each part which items, ``(n,)`` bool; ``None`` for all.
    """

    parts: Sequence[Part]
    keeps: Sequence[Array | None]

    @classmethod
    def of(cls, parts: Sequence[Part], where: Where | None) -> Findable:
        """What is not deleted and matches.

        Raises:
            OSError: A file of the index was cut since it was opened.
            TypeError: The filter is no mapping of names, or holds what metadata cannot.
            ValueError: A field of the filter is that of no item, a modality does not exist, or a
                value is NaN.
        """
        for part in parts:
            part.segment.check_there()
        keeps = [part.alive for part in parts]
        if where is not None:
            conditions = conditions_of(where)
            check_fields(conditions, [(part.segment.records, part.alive) for part in parts])
            suit = [matching(part.segment.records, conditions) for part in parts]
            keeps = [
                own if alive is None else own & alive
                for own, alive in zip(suit, keeps, strict=True)
            ]
        return cls(parts, keeps)

    def __len__(self) -> int:
        return sum(self.counts)

    @cached_property
    def counts(self) -> list[int]:
        """How many there are in each part."""
        return [
            len(part.segment) if keep is None else int(np.count_nonzero(keep))
            for part, keep in zip(self.parts, self.keeps, strict=True)
        ]


def check_options(
    budget: Budget | None, candidates: int | None, first: First | None, standardize: bool
) -> None:
    """Raise ``ValueError`` unless the options of a search go together and the budget is one."""
    if first is not None and candidates is None:
        raise ValueError(
            "first chooses candidates, whose number must be given; got none. "
            "Pass candidates=, or leave first out for an exact search."
        )
    if standardize and candidates is not None:
        raise ValueError(
            "standardized scores need the scores of all items; got "
            f"candidates={candidates}, which leaves most without one. Leave either out."
        )
    if budget is not None and not (
        isinstance(budget, (tuple, list))
        and len(budget) == 2
        and all(type(r) is int and r > 0 for r in budget)
    ):
        raise ValueError(
            "budget must be a pair (r_q, r_c) of whole numbers, each at least 1; "
            f"got {budget!r}. Say how many vectors of each query and of each item to use."
        )


def exact(asked: Asked, among: Findable, *, k: int) -> Neighbours:
    """The ``k`` best, and rows that count through all parts; ``k`` is at most ``len(among)``."""
    found = []
    starts = starts_of(among.parts)
    for part, keep, here, start in zip(
        among.parts, among.keeps, among.counts, starts, strict=False
    ):
        if here:
            best = best_of_segment(asked, part.segment, keep, k=min(k, here))
            found.append(Neighbours(best.values, best.indices + start))
    return merge_neighbours(found, k=k)


def coarse_to_fine(
    asked: Asked, among: Findable, *, k: int, candidates: int, first: First, stages: Stages
) -> Neighbours:
    """The ``k`` best by exact score among the ``candidates`` that a first stage puts forward."""
    forward = put_forward(
        asked.vectors,
        among.parts,
        among.keeps,
        candidates=candidates,
        stage_of=lambda segment: stages.of(segment, first),
    )
    items = [part.segment.vectors for part in among.parts]
    return rescore(
        asked.vectors,
        forward.indices,
        lambda rows: take_across(items, rows),
        k=k,
        rows=min(map(rows_at_a_time, items)),
        budget=asked.budget,
    )


def hits_of(parts: Sequence[Part], found: Neighbours) -> list[list[Hit]]:
    """Names, modality and metadata of rows that count through all parts."""
    starts = starts_of(parts)

    def hit(through: int, score: float) -> Hit:
        at = bisect_right(starts, through) - 1
        segment, row = parts[at].segment, through - starts[at]
        kind = modality_name(int(segment.records.modality[row]))
        return Hit(segment.ids[row], score, kind, segment.records.of(row))

    return [
        [hit(row, score) for row, score in zip(rows, scores, strict=True)]
        for rows, scores in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]
