"""Does a search find the partner: ranks in both directions, against partners drawn at random.

Definitions are those of ``align.metrics.ranks``: the score is an inner product, ties count against
us, and any gallery row of the query's group is right. All of it depends on the size of the gallery,
is a mean of source searching target and of target searching source, and costs O(n² d).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from align._checks import check_k
from align.metrics import ranks as ranking
from align.metrics.bootstrap import weighted_median
from align.metrics.ranks import Ranks
from probes.estimates import Measured, Null, mean_of
from probes.inputs import Matrix, codes_of, common_space, each_near_one
from probes.nulls import upper_p
from probes.pairing.chance import DRAWS, random_ranks
from probes.space import Probe, Space

_ROUNDING = 1e-9  # means of ranks that differ by less are equal


def recall_at_k(
    source: Matrix, target: Matrix, *, k: int = 1, groups: Sequence[str] | None = None
) -> float:
    """Share of queries with their partner in the top ``k``, both directions; higher is better.

    The mean of source searching target and of target searching source, in [0, 1]. Where pairs have
    groups, others call this hit rate@k or Success@k, and ``recall`` recall@k. A random order
    of the gallery gives ``k / n``; with ``p`` pairs in the query's group, one less the chance that
    none of the ``p`` comes, ``1 - C(n - p, k) / C(n, k)``. Cost O(n² d).

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        k: Cut-off, ``1 <= k <= n``.
        groups: Group name of each pair: any partner within the group is right.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``k`` or ``groups``
            do not fit, or all pairs are of one group.

    Meaning:
        How often a search with one item has its partner among the best k answers.

    Beware:
        It falls as the gallery grows: compare galleries of one size only.

    Range:
        In [0, 1]; k / n with nothing there; higher is better.

    Reference:
        Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, section 8.4, asks
        for all partners; for one, as here, Hodosh, Young and Hockenmaier 2013,
        doi:10.1613/jair.3994. ``align.metrics.ranks.recall_at_k`` is the metric.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(4)
        >>> probes.recall_at_k(x, x, k=1), probes.recall_at_k(x, x[[1, 0, 2, 3]], k=1)
        (1.0, 0.5)
    """
    return _mean(source, target, groups, ranking.recall_at_k, k)


def recall(
    source: Matrix, target: Matrix, *, k: int = 1, groups: Sequence[str] | None = None
) -> float:
    """Share of a query's partners in its top ``k``, both directions; higher is better.

    Recall@k as information retrieval defines it: of ``p`` pairs in the query's group, how many of
    the ``p`` partners come, where ``recall_at_k`` asks for one. The mean over queries and over both
    directions, in [0, 1], at most ``k / p``. A random order of the gallery gives ``k / n``. Cost
    O(n² d).

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        k: Cut-off, ``1 <= k <= n``.
        groups: Group name of each pair: all partners within the group are right.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``k`` or ``groups``
            do not fit, or all pairs are of one group.

    Reference:
        ``align.metrics.ranks.recall``.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(4)
        >>> probes.recall(x, x, k=1, groups=["a", "b", "c", "d"])
        1.0
    """
    return _mean(source, target, groups, ranking.recall, k)


def mean_reciprocal_rank(
    source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None
) -> float:
    """Mean of one over the rank of the partner, both directions; higher is better.

    In (0, 1]. A random order of the gallery gives ``(1 + 1/2 + ... + 1/n) / n`` without groups.
    Cost O(n² d).

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        groups: Group name of each pair: the best partner within the group counts.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``groups`` do not
            fit, or all pairs are of one group.

    Meaning:
        How near the top the partner stands, the first places counting most.

    Beware:
        It is ruled by the first few places and falls as the gallery grows.

    Range:
        In (0, 1]; (1 + 1/2 + ... + 1/n) / n with nothing there; higher is better.

    Reference:
        Voorhees 1999, The TREC-8 Question Answering Track Report.
        ``align.metrics.ranks.mean_reciprocal_rank`` is the metric.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(4)
        >>> probes.mean_reciprocal_rank(x, x)
        1.0
    """
    return _mean(source, target, groups, ranking.mean_reciprocal_rank)


def median_rank(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Median rank of the partner, mean of both directions; lower is better.

    At least 1, which is perfect. A random order of the gallery gives ``(n + 1) / 2`` without
    groups. Cost O(n² d).

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        groups: Group name of each pair: the best partner within the group counts.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``groups`` do not
            fit, or all pairs are of one group.

    Meaning:
        The place at which half of the searches have found the partner.

    Beware:
        It grows with the gallery and says nothing of the worse half of the searches.

    Range:
        In [1, n]; (n + 1) / 2 with nothing there; lower is better.

    Reference:
        Hodosh, Young and Hockenmaier 2013, doi:10.1613/jair.3994.
        ``align.metrics.ranks.median_rank`` is the metric.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(4)
        >>> probes.median_rank(x, x)
        1.0
    """
    return _mean(source, target, groups, ranking.median_rank)


def recall_curve(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> Tensor:
    """Recall at every cut-off 1, 2, ..., n, mean of both directions, ``(n,)``; higher is better.

    Entry ``k - 1`` is ``recall_at_k``; the last is 1. A random order gives the straight line
    ``k / n`` without groups. Float64. Cost O(n² d).

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        groups: Group name of each pair: any partner within the group is right.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``groups`` do not
            fit, or all pairs are of one group.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(3)
        >>> probes.recall_curve(x, x).tolist()
        [1.0, 1.0, 1.0]
    """
    forth, back = _ranks(source, target, groups)
    first = torch.cat([forth.first, back.first])
    hits: Tensor = torch.bincount(first, minlength=len(forth) + 1)[1:].cumsum(0)
    return hits.double() / len(first)


def _ranks(source: Matrix, target: Matrix, groups: Sequence[str] | None) -> tuple[Ranks, Ranks]:
    x, y = each_near_one(*common_space(source, target))
    codes = codes_of(groups, len(x))
    return ranking.rank_positives(x, y, codes, codes), ranking.rank_positives(y, x, codes, codes)


def _mean(
    source: Matrix,
    target: Matrix,
    groups: Sequence[str] | None,
    metric: Callable[..., float],
    *cut_off: int,
) -> float:
    """``metric`` of the ranks, and of the cut-off if it has one, in both directions."""
    forth, back = _ranks(source, target, groups)
    for k in cut_off:
        check_k(k, len(forth))
    return (metric(forth, *cut_off) + metric(back, *cut_off)) / 2


def _chance(space: Space, of_ranks: Callable[[Tensor], Tensor]) -> Null:
    """The null of a mean of ``of_ranks``, which keeps the shape of ranks; higher is better.

    Exact where each pair is its own group and nothing ties: the rank is then any of 1 to n. Else
    the mean of the random pairings.
    """
    forth, back = space.ranks
    seen = of_ranks(torch.cat([forth.first, back.first])).mean().item()
    under_null = of_ranks(random_ranks(space)).mean(dim=1)
    if int(space.codes.max()) + 1 == space.n:
        expected = of_ranks(torch.arange(1, space.n + 1)).mean().item()
    else:
        expected = under_null.mean().item()
    return Null(expected, upper_p(seen - _ROUNDING, under_null))


def _measure_recall(space: Space, *, k: int) -> Measured:
    forth, back = space.ranks
    value, replicate = mean_of((ranking.hits_at_k(forth, k) + ranking.hits_at_k(back, k)) / 2)
    return Measured(value, replicate, null=_chance(space, lambda r: (r <= k).double()))


def _measure_mean_reciprocal_rank(space: Space) -> Measured:
    forth, back = space.ranks
    value, replicate = mean_of(
        (ranking.reciprocal_ranks(forth) + ranking.reciprocal_ranks(back)) / 2
    )
    return Measured(value, replicate, null=_chance(space, lambda r: 1 / r.double()))


def _measure_median_rank(space: Space) -> Measured:
    forth, back = space.ranks
    first = torch.stack([forth.first, back.first], dim=1).double()

    def replicate(weights: Tensor) -> Tensor:
        return weighted_median(first, weights).mean(dim=1)

    value = (ranking.median_rank(forth) + ranking.median_rank(back)) / 2
    drawn = random_ranks(space).view(DRAWS, 2, -1).double().quantile(0.5, dim=2).mean(dim=1)
    single = int(space.codes.max()) + 1 == space.n
    expected = (space.n + 1) / 2 if single else drawn.mean().item()
    return Measured(value, replicate, null=Null(expected, upper_p(-value, -drawn)))


_probe = partial(
    Probe,
    family="pairing",
    needs="search",
    interval="bootstrap over pairs, each query keeps its rank",
    null="partners drawn at random, groups whole",
)

RECALL_AT_1, RECALL_AT_5, RECALL_AT_10 = (
    _probe(
        name=f"recall_at_{k}",
        label=f"Recall@{k}",
        better="higher",
        measure=partial(_measure_recall, k=k),
        extreme=1.0,
        function=recall_at_k,
    )
    for k in (1, 5, 10)
)
MEAN_RECIPROCAL_RANK = _probe(
    name="mean_reciprocal_rank",
    label="Mean reciprocal rank",
    extreme=1.0,
    function=mean_reciprocal_rank,
    better="higher",
    measure=_measure_mean_reciprocal_rank,
)
MEDIAN_RANK = _probe(
    name="median_rank",
    label="Median rank",
    better="lower",
    measure=_measure_median_rank,
    extreme=1.0,
    function=median_rank,
)
