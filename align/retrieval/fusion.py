"""One ranking from the answers of several searchers to the same queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from statistics import fmean, pstdev
from typing import Any

from align._checks import as_list, check_at_least, check_unique
from align.retrieval.hits import Hit, Id, SearchResults, of_same_query

Answers = Sequence[Sequence[Hit]]
"""What ``search`` gives: for each query its hits, best first."""

# What each item of one ranking is worth, and what an item is worth that the ranking lacks.
_Points = tuple[Mapping[Id, float], float]


def reciprocal_rank_fusion(rankings: Sequence[Answers], *, constant: float = 60) -> SearchResults:
    """All items found for each query, best first by ``sum_r 1 / (constant + rank_r)``.

    Ranks count from 1. A ranking adds nothing for an item that it lacks, as if the item stood at
    an infinite rank in it. Scores are not looked at, so rankings of any scales can be fused.

    Args:
        rankings: What each searcher answered to the same ``q`` queries, such as
            ``[bm25.search(texts, k=100), retriever.search(texts, k=100)]``.
        constant: How little the first ranks stand out, at least 0; 60 in the paper.

    Returns:
        For each query every item of its rankings, with the fused score; modality and metadata are
        those of the first ranking that has any. Of equal scores the item that the first ranking
        has higher comes first; those that it lacks follow in the order of the second, and so on.

    Raises:
        ValueError: There are no rankings, they are of different numbers of queries, an item
            stands in one ranking twice, a score is NaN, or ``constant`` is below 0.
        TypeError: The rankings are not lists of lists of ``Hit``.

    Reference:
        Cormack, Clarke and Buettcher 2009, SIGIR:758-759, doi:10.1145/1571941.1572114.

    Examples:
        >>> import align
        >>> keywords = [[align.Hit("a", 9.0), align.Hit("b", 7.0)]]
        >>> vectors = [[align.Hit("b", 0.9), align.Hit("c", 0.8)]]
        >>> [hit.id for hit in align.reciprocal_rank_fusion([keywords, vectors])[0]]
        ['b', 'a', 'c']
    """
    check_at_least("constant", constant, 0)

    def points(hits: Sequence[Hit]) -> _Points:
        return {hit.id: 1 / (constant + rank) for rank, hit in enumerate(hits, start=1)}, 0.0

    return _fused(rankings, points)


def z_score_fusion(rankings: Sequence[Answers]) -> SearchResults:
    """All items found for each query, best first by the sum of their standardised scores.

    For each query, the scores of one ranking are shifted and scaled to mean 0 and standard
    deviation 1 over its candidates (that of the candidates themselves, divided by their number).

    An item that a ranking lacks gets the lowest of its standardised scores there. A searcher gives
    its best, so the item scored no more than that; the mean, 0, would set it above items that were
    found. A ranking whose scores are all equal, or that found nothing, does not tell items apart
    and adds 0 to all.

    How deep the rankings go matters: ask each searcher for as many candidates, some dozens.

    Args:
        rankings: What each searcher answered to the same ``q`` queries; scores are finite, and
            higher is better.

    Returns:
        As for ``reciprocal_rank_fusion``.

    Raises:
        ValueError: There are no rankings, they are of different numbers of queries, an item
            stands in one ranking twice, or a score is NaN or infinite.

    Reference:
        Zero mean and unit variance: Montague and Aslam 2001, CIKM:427-433,
        doi:10.1145/502585.502657. What a missing item gets is ours.

    Examples:
        >>> import align
        >>> keywords = [[align.Hit("a", 9.0), align.Hit("b", 7.0), align.Hit("c", 6.0)]]
        >>> vectors = [[align.Hit("b", 0.9), align.Hit("c", 0.8), align.Hit("a", 0.1)]]
        >>> [hit.id for hit in align.z_score_fusion([keywords, vectors])[0]]
        ['b', 'a', 'c']
    """
    return _fused(rankings, _standardised)


def check_ranking(hits: Sequence[Hit]) -> None:
    """Raise unless a ranking is a list of hits, each item once, with scores that can be sorted."""
    wrong = [hit for hit in as_list("the hits of one query", hits) if not isinstance(hit, Hit)]
    if wrong:
        raise TypeError(
            "a ranking must be a list of Hit for each query, as search gives it; got a "
            f"{type(wrong[0]).__name__}, {repr(wrong[0])[:60]}. Pass what search returned, and "
            "wrap the hits of a single query in a list."
        )
    for hit in hits:
        as_score(hit.id, hit.score)
    check_unique("the ids of one ranking", [hit.id for hit in hits])


def as_score(name: Id, score: Any) -> float:
    """The score of an item as a Python number, which may be infinite and is not NaN."""
    if type(score) is float and score == score:
        return score
    if isinstance(score, (bool, str, bytes)) or not hasattr(score, "__float__"):
        raise TypeError(
            f"scores must be numbers; that of {name!r} is {score!r}, of type "
            f"{type(score).__name__}. Convert it to float."
        )
    number = float(score)
    if math.isnan(number):
        raise ValueError(
            f"scores must be numbers; that of {name!r} is NaN. Look for zero or damaged vectors "
            "in what gave it, or leave that hit out."
        )
    return number


def _standardised(hits: Sequence[Hit]) -> _Points:
    scores = [hit.score for hit in hits]
    bad = [hit for hit in hits if not math.isfinite(hit.score)]
    if bad:
        raise ValueError(
            f"scores must be finite to be standardised; {len(bad)} of {len(hits)} are not, the "
            f"first is {bad[0].score} of {bad[0].id!r}. Leave those hits out, or use "
            "reciprocal_rank_fusion, which looks at ranks only."
        )
    if not hits or min(scores) == max(scores):
        return dict.fromkeys((hit.id for hit in hits), 0.0), 0.0
    mean, deviation = fmean(scores), pstdev(scores)
    points = {hit.id: (hit.score - mean) / deviation for hit in hits}
    return points, min(points.values())


def _fused(
    rankings: Sequence[Answers], points: Callable[[Sequence[Hit]], _Points]
) -> SearchResults:
    rankings = [as_list("each ranking", answers) for answers in as_list("rankings", rankings)]
    sizes = [len(answers) for answers in rankings]
    if not sizes or len(set(sizes)) > 1:
        raise ValueError(
            "fusion needs one or more rankings of the same queries; "
            f"got {len(sizes)} of {sizes} queries. Search each with the same list of items."
        )
    fused = []
    for answers in zip(*rankings, strict=True):
        for hits in answers:
            check_ranking(hits)
        worth = [points(hits) for hits in answers]
        merged: dict[Id, Hit] = {}
        for hit in chain.from_iterable(answers):
            known = merged.setdefault(hit.id, hit)
            kind = hit.modality if known.modality is None else known.modality
            merged[hit.id] = known._replace(modality=kind, metadata=known.metadata or hit.metadata)
        # Added up exactly, so that a tie does not depend on the order of the rankings.
        items = [
            item._replace(
                score=math.fsum(own.get(item.id, lacking) for own, lacking in worth),
                confidence=None,
            )
            for item in merged.values()
        ]
        fused.append(of_same_query(sorted(items, key=lambda hit: -hit.score), answers))
    return SearchResults(fused)
