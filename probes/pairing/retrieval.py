"""Does a search find the partner: ranks in both directions, against a random order of the gallery.

Definitions are those of ``align.ranking``: the score is an inner product, ties count against us,
and any gallery row of the query's group is right. All of it depends on the size of the gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from align import ranking
from align._checks import check_k
from align.ranking import Ranks
from align.resampling import weighted_median
from probes.inputs import Matrix, codes_of, common_space
from probes.measured import Measured, Null, mean_of, upper_p
from probes.space import Probe, Space

_DRAWS = 400
"""Random orders behind a p-value; its floor is 1/401, and more would cost more than the ranks."""

_ROUNDING = 1e-9
"""Chances this close to one half are one half: they are products of fractions."""


def recall_at_k(
    source: Matrix, target: Matrix, *, k: int = 1, groups: Sequence[str] | None = None
) -> float:
    """Share of queries with their partner in the top ``k``, both directions; higher is better.

    The mean of source searching target and of target searching source, in [0, 1]. A random order
    of the gallery gives ``k / n``; with ``p`` pairs in the query's group, one less the chance that
    none of the ``p`` comes, ``1 - C(n - p, k) / C(n, k)``. Cost O(n² d).

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        k: Cut-off, ``1 <= k <= n``.
        groups: Group name of each pair: any partner within the group is right.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``k`` or ``groups``
            do not fit, or all pairs are of one group.

    Reference:
        ``align.ranking.recall_at_k``.
    """
    forth, back = _ranks(source, target, groups)
    check_k(k, len(forth))
    return (ranking.recall_at_k(forth, k) + ranking.recall_at_k(back, k)) / 2


def mean_reciprocal_rank(
    source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None
) -> float:
    """Mean of one over the rank of the partner, both directions; higher is better.

    In (0, 1]. A random order of the gallery gives ``(1 + 1/2 + ... + 1/n) / n`` without groups.
    Cost O(n² d).

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        groups: Group name of each pair: the best partner within the group counts.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``groups`` do not
            fit, or all pairs are of one group.

    Reference:
        ``align.ranking.mean_reciprocal_rank``.
    """
    forth, back = _ranks(source, target, groups)
    return (ranking.mean_reciprocal_rank(forth) + ranking.mean_reciprocal_rank(back)) / 2


def median_rank(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Median rank of the partner, mean of both directions; lower is better.

    At least 1, which is perfect. A random order of the gallery gives ``(n + 1) / 2`` without
    groups. Cost O(n² d).

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        groups: Group name of each pair: the best partner within the group counts.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``groups`` do not
            fit, or all pairs are of one group.

    Reference:
        ``align.ranking.median_rank``.
    """
    forth, back = _ranks(source, target, groups)
    return (ranking.median_rank(forth) + ranking.median_rank(back)) / 2


def recall_curve(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> Tensor:
    """Recall at every cut-off 1, 2, ..., n, mean of both directions, ``(n,)``; higher is better.

    Entry ``k - 1`` is ``recall_at_k``; the last is 1. A random order gives the straight line
    ``k / n`` without groups. Float64. Cost O(n² d).

    Args:
        source: Source embeddings, ``(n, d)``; unit norm if the score shall be the cosine.
        target: Target embeddings of the same pairs, ``(n, d)``; likewise.
        groups: Group name of each pair: any partner within the group is right.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``groups`` do not
            fit, or all pairs are of one group.
    """
    forth, back = _ranks(source, target, groups)
    first = torch.cat([forth.first, back.first])
    found: Tensor = torch.bincount(first, minlength=len(forth) + 1)[1:].cumsum(0)
    return found.double() / len(first)


def chance_of_recall(positives: Tensor, m: int, k: int | Tensor) -> Tensor:
    """Recall@k of a random order of ``m`` rows, ``positives`` of which are right; float64.

    ``1 - C(m - p, k) / C(m, k)``, one less the chance that the top ``k`` miss all ``p``; ``k / m``
    where ``p`` is 1. What a recall has to beat.

    Args:
        positives: Right rows of each query, int64, between 1 and ``m``.
        m: Size of the gallery.
        k: Cut-off, or cut-offs that broadcast with ``positives``, between 1 and ``m``.

    Returns:
        Chances in (0, 1], of the shape that ``positives`` and ``k`` broadcast to.
    """
    kept = m - torch.as_tensor(k, dtype=torch.float64)
    missed = torch.ones_like(positives * kept)
    for placed in range(int(positives.max())):
        # The next positive falls among the rows kept back, of which earlier ones took some.
        missed *= ((kept - placed) / (m - placed)).where(placed < positives, 1.0)
    return 1 - missed


def _ranks(source: Matrix, target: Matrix, groups: Sequence[str] | None) -> tuple[Ranks, Ranks]:
    x, y = common_space(source, target)
    codes = codes_of(groups, len(x))
    return (
        ranking.rank_positives(x, y, codes, codes),
        ranking.rank_positives(y, x, codes, codes),
    )


def _uniforms(space: Space, purpose: str) -> Tensor:
    """One number in [0, 1) per random order and group, ``(draws, g)`` float64.

    It places all queries of the group in both directions. In truth they depend on each other less
    than that, so p errs to the safe side.
    """
    groups = int(space.codes.max()) + 1
    return torch.rand(_DRAWS, groups, generator=space.generator(purpose), dtype=torch.float64)


def _recall_at_random(space: Space, purpose: str, k: int) -> Tensor:
    """Recall@k of random orders, ``(draws,)``."""
    sizes = torch.bincount(space.codes)
    hits = _uniforms(space, purpose) < chance_of_recall(sizes, space.n, k)
    return hits.double() @ sizes.double() / space.n


def _chances(space: Space) -> tuple[Tensor, Tensor, Tensor]:
    """Recall of a random order at 1, 2, ..., n for each size of group that occurs, ``(c, n)``.

    With it, the row for each group ``(g,)`` and the share of the pairs that each row is for
    ``(c,)``.
    """
    sizes = torch.bincount(space.codes)
    distinct, row = torch.unique(sizes, return_inverse=True)
    chances = chance_of_recall(distinct[:, None], space.n, torch.arange(1, space.n + 1))
    share = torch.zeros(len(distinct), dtype=torch.float64).index_add_(0, row, sizes.double())
    return chances, row, share / space.n


def _measure_recall(space: Space, *, k: int) -> Measured:
    forth, back = space.ranks
    value, replicate = mean_of((ranking.hits_at_k(forth, k) + ranking.hits_at_k(back, k)) / 2)
    expected = chance_of_recall(forth.positives, space.n, k).mean().item()
    under_null = _recall_at_random(space, f"recall_at_{k}", k)
    return Measured(value, replicate, null=Null(expected, upper_p(value, under_null)))


def _measure_mean_reciprocal_rank(space: Space) -> Measured:
    forth, back = space.ranks
    value, replicate = mean_of(
        (ranking.reciprocal_ranks(forth) + ranking.reciprocal_ranks(back)) / 2
    )
    chances, row, share = _chances(space)
    first = torch.diff(share @ chances, prepend=torch.zeros(1, dtype=torch.float64))
    expected = (first / torch.arange(1, space.n + 1)).sum().item()
    drawn = _uniforms(space, "mean_reciprocal_rank")
    for at, chance in enumerate(chances):
        own = row == at
        drawn[:, own] = 1 / (torch.searchsorted(chance, drawn[:, own], right=True) + 1).double()
    under_null = drawn @ torch.bincount(space.codes).double() / space.n
    return Measured(value, replicate, null=Null(expected, upper_p(value, under_null)))


def _measure_median_rank(space: Space) -> Measured:
    forth, back = space.ranks
    first = torch.stack([forth.first, back.first], dim=1).double()

    def replicate(weights: Tensor) -> Tensor:
        return weighted_median(first, weights).mean(dim=1)

    value = (ranking.median_rank(forth) + ranking.median_rank(back)) / 2
    chances, _, share = _chances(space)
    below = share @ chances
    low, high = (int((below < 0.5 + slack).sum()) + 1 for slack in (-_ROUNDING, _ROUNDING))
    # The median is at most r where at least half of the ranks are.
    under_null = _recall_at_random(space, "median_rank", int(value))
    return Measured(value, replicate, null=Null((low + high) / 2, upper_p(0.5, under_null)))


_INTERVAL = "bootstrap over pairs, each query keeps its rank"
_NULL = "random order of the gallery"

RECALL_AT_1, RECALL_AT_5, RECALL_AT_10 = (
    Probe(
        name=f"recall_at_{k}",
        label=f"Recall@{k}",
        family="pairing",
        better="higher",
        needs="search",
        measure=partial(_measure_recall, k=k),
        interval=_INTERVAL,
        null=_NULL,
    )
    for k in (1, 5, 10)
)

MEAN_RECIPROCAL_RANK = Probe(
    name="mean_reciprocal_rank",
    label="Mean reciprocal rank",
    family="pairing",
    better="higher",
    needs="search",
    measure=_measure_mean_reciprocal_rank,
    interval=_INTERVAL,
    null=_NULL,
)

MEDIAN_RANK = Probe(
    name="median_rank",
    label="Median rank",
    family="pairing",
    better="lower",
    needs="search",
    measure=_measure_median_rank,
    interval=_INTERVAL,
    null=_NULL,
)
