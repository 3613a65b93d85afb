"""Search over the segments of an index: exact, standardized, or coarse to fine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from align._advice import Advised
from align._checks import check_k
from align.retrieval.cascade import check_candidates
from align.retrieval.first_stages import Budget
from align.retrieval.hits import Hit, SearchResults
from align.retrieval.index.candidates import First, StageCache, coarse_to_fine
from align.retrieval.index.exact import Queries, best_of_segment
from align.retrieval.index.filters import Searchable, Where, searchable
from align.retrieval.index.z_scores import best_standardized
from align.retrieval.storage.metadata import modality_name
from align.retrieval.storage.segments import LiveSegment, starts_of
from align.scoring.topk import Neighbours, merge_neighbours


def check_size(k: int, size: int) -> None:
    """Raise ``ValueError`` unless an index of so many items can give ``k`` hits."""
    if not size:
        raise ValueError(
            Advised(
                "an index needs items to search; it holds none.",
                python="Call add first.",
                command="Add some: align index ADAPTER ITEMS -o INDEX --add.",
            )
        )
    check_k(k, size, of="the number of items in the index")


def check_options(
    budget: Budget | None,
    candidates: int | None,
    first: First | None,
    standardize: bool,
    *,
    opened: int | None,
) -> None:
    """Raise ``ValueError`` unless the options of a search go together and the budget is one.

    ``opened`` is the number of vectors of each item that the index was opened with.
    """
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
    if budget is None:
        return
    is_pair = isinstance(budget, (tuple, list)) and len(budget) == 2
    if not is_pair or any(type(r) is not int or r < 1 for r in budget):
        raise ValueError(
            "budget must be a pair (r_q, r_c) of whole numbers, each at least 1; "
            f"got {budget!r}. Say how many vectors of each query and of each item to use."
        )
    if opened is not None and budget[1] > opened:
        raise ValueError(
            f"this index was opened with the first {opened} vectors of each item; "
            f"got budget {budget}. Lower its second number, or open more of the index."
        )


def search(
    segments: Sequence[LiveSegment],
    queries: Queries,
    *,
    k: int,
    where: Where | None,
    standardize: bool,
    candidates: int | None,
    first: First,
    stages: StageCache,
    folder: Path,
) -> SearchResults:
    """Up to ``k`` hits of each query, as ``Index.search`` has it; ``folder`` is of the index."""
    size = sum(map(len, segments))
    if candidates is not None:
        check_candidates(k, candidates, size)
    among = searchable(segments, where)
    count = sum(part.count for part in among)
    if not count or not len(queries):
        return SearchResults([] for _ in range(len(queries)))
    k = min(k, count)
    if standardize:
        best = best_standardized(queries, among, k=k)
    elif candidates is None:
        best = exact(queries, among, k=k)
    else:
        n = min(candidates, count)
        best = coarse_to_fine(queries, among, k=k, candidates=n, first=first, stages=stages)
    return _hits_of(segments, best, folder)


def exact(queries: Queries, among: Sequence[Searchable], *, k: int) -> Neighbours:
    """The ``k`` best, at most as many as may be found; rows count through all segments."""
    best = [
        part.numbered(best_of_segment(queries, part.segment, part.keep, k=min(k, part.count)))
        for part in among
        if part.count
    ]
    return merge_neighbours(best, k=k)


def _hits_of(segments: Sequence[LiveSegment], best: Neighbours, folder: Path) -> SearchResults:
    starts = starts_of(segments)

    def hit(through: int, score: float) -> Hit:
        at = bisect_right(starts, through) - 1
        segment, row = segments[at].segment, through - starts[at]
        modality = modality_name(int(segment.records.modality[row]))
        return Hit(segment.ids[row], score, modality, segment.records[row])

    ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    each = ([hit(*found) for found in zip(rows, scores, strict=True)] for rows, scores in ranked)
    return SearchResults(each, folder=folder)
