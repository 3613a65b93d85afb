"""Search over the segments of an index: exact, standardized, or coarse to fine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, repeat
from pathlib import Path

import torch

from align._advice import Advised
from align._checks import check_k
from align.adapters.calibration.confidence import CONSIDERED, Confidence
from align.retrieval.cascade import check_candidates
from align.retrieval.first_stages import Budget
from align.retrieval.hits import Hit, SearchResults
from align.retrieval.index.best_frame import second_of
from align.retrieval.index.candidates import First, StageCache, coarse_to_fine
from align.retrieval.index.exact import Queries, best_of_segment
from align.retrieval.index.filters import Searchable, Where, searchable
from align.retrieval.index.z_scores import best_standardized
from align.retrieval.moments import FIELD
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
    confidence: Confidence | None = None,
) -> SearchResults:
    """Up to ``k`` hits of each query, as ``Index.search`` has it; ``folder`` is of the index.

    With a ``confidence``, which is of exact scores of one vector each, hits have theirs.
    """
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
    elif candidates is None and confidence is not None:
        best = exact(queries, among, k=min(count, max(k, CONSIDERED)))
        return _hits_of(queries, segments, best, folder, k=k, sure=(confidence, count))
    elif candidates is None:
        best = exact(queries, among, k=k)
    else:
        n = min(candidates, count)
        best = coarse_to_fine(queries, among, k=k, candidates=n, first=first, stages=stages)
    return _hits_of(queries, segments, best, folder, k=k)


def search_set(
    segments: Sequence[LiveSegment],
    queries: Queries,
    confidence: Confidence,
    *,
    coverage: float,
    where: Where | None,
    folder: Path,
) -> SearchResults:
    """All hits of each query from the line of a coverage on, as ``Index.search_set`` has it."""
    line = confidence.line(coverage)
    among = searchable(segments, where)
    count = sum(part.count for part in among)
    if not count or not len(queries):
        return SearchResults([] for _ in range(len(queries)))
    k = min(count, CONSIDERED)
    best = exact(queries, among, k=k)
    while k < count and bool((best.values[:, -1] >= line).any()):
        k = min(count, 8 * k)
        best = exact(queries, among, k=k)
    found = _hits_of(queries, segments, best, folder, k=k, sure=(confidence, count))
    sizes = (best.values >= line).sum(dim=1).tolist()
    return SearchResults(hits[:size] for hits, size in zip(found, sizes, strict=True))


def exact(queries: Queries, among: Sequence[Searchable], *, k: int) -> Neighbours:
    """The ``k`` best, at most as many as may be found; rows count through all segments."""
    best = [
        part.numbered(best_of_segment(queries, part.segment, part.keep, k=min(k, part.count)))
        for part in among
        if part.count
    ]
    return merge_neighbours(best, k=k)


def _hits_of(
    queries: Queries,
    segments: Sequence[LiveSegment],
    best: Neighbours,
    folder: Path,
    *,
    k: int,
    sure: tuple[Confidence, int] | None = None,
) -> SearchResults:
    """The first ``k`` of each query as hits; ``sure`` by a confidence, among so many items."""
    starts = starts_of(segments)

    def hit(asked: int, through: int, score: float, probability: float | None) -> Hit:
        at = bisect_right(starts, through) - 1
        segment, row = segments[at].segment, through - starts[at]
        modality = modality_name(int(segment.records.modality[row]))
        metadata, second = segment.records[row], None
        if FIELD in metadata:
            query = queries.cut.take(torch.tensor([asked]))
            second = second_of(query, segment.vectors, row, metadata)
        return Hit(segment.ids[row], score, modality, metadata, probability, second)

    def hits(asked: int, rows: list[int], scores: list[float]) -> Iterator[Hit]:
        known: Iterable[float | None] = repeat(None)
        if sure is not None:
            known = sure[0].probabilities(scores, sure[1])
        return map(hit, repeat(asked), rows[:k], scores, known)

    ranked = zip(count(), best.indices.tolist(), best.values.tolist(), strict=False)
    return SearchResults((hits(*row) for row in ranked), folder=folder)
