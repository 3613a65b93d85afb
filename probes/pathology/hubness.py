"""Who gets retrieved: hubs that crowd the top of many queries, and items that nobody finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from probes.estimates import Measured, Null, SmoothEstimate
from probes.inputs import Matrix, queries_and_gallery
from probes.neighbours import closest
from probes.space import K, Probe, Space


def k_occurrence(queries: Matrix, gallery: Matrix, *, k: int = 10) -> Tensor:
    """How many queries have each gallery row among their ``k`` best; ``(m,)`` int64.

    In ``[0, q]``; the mean is ``q k / m`` whatever the embeddings. Of gallery rows that score
    equally the one with the lower index takes the place. Costs O(q m d), in blocks.

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        queries: Embeddings of the side that searches, ``(q, d)``. The score is the inner product:
            pass unit-norm rows for a search by cosine.
        gallery: Embeddings of the side that is searched, ``(m, d)``.
        k: Neighbourhood size, ``1 <= k <= m``.

    Raises:
        ValueError: The matrices are not finite or do not fit together, or ``k`` is out of range.

    Reference:
        Radovanović et al. 2010, JMLR 11:2487-2531, the quantity ``N_k``.

    Examples:
        >>> import torch, probes
        >>> gallery = torch.eye(3)
        >>> probes.k_occurrence(gallery[[0, 0, 1]], gallery, k=1).tolist()
        [2, 1, 0]
    """
    x, y = queries_and_gallery(queries, gallery)
    return torch.bincount(closest(x, y, k=k).flatten(), minlength=len(y))


def hubness_skewness(queries: Matrix, gallery: Matrix, *, k: int = 10) -> float:
    """Skewness of the k-occurrence over the gallery; lower is better.

    ``E (N - mean)^3 / (E (N - mean)^2)^(3/2)``. 0 means that items are found equally often or vary
    evenly; large values mean that a few hubs crowd the top k of many queries, which caps recall@k
    whatever the adapter. A random order gives ``(1 - 2 p) / sqrt(q p (1 - p))`` with ``p = k / m``,
    close to 0. Costs O(q m d), in blocks.

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        queries: Embeddings of the side that asks, ``(q, d)``; unit norm for a search by cosine.
        gallery: Embeddings of the side that is searched, ``(m, d)``.
        k: Neighbourhood size, ``1 <= k <= m``.

    Returns:
        The third standardised moment, dimensionless; 0.0 where all counts are equal.

    Raises:
        ValueError: As for ``k_occurrence``.

    Meaning:
        Whether a few items crowd the answers to many queries.

    Beware:
        It hangs on the few largest counts and grows with the gallery; one item found everywhere is
        enough.

    Range:
        Any number; about 0, that of a random order, with nothing there; lower is better.

    Reference:
        Radovanović et al. 2010, JMLR 11:2487-2531, eq. 1.

    Examples:
        >>> import torch, probes
        >>> gallery = torch.eye(5)
        >>> round(probes.hubness_skewness(gallery[:1].repeat(20, 1), gallery, k=1), 3)
        1.5
    """
    return _skewness(k_occurrence(queries, gallery, k=k).double()).value


def antihub_share(queries: Matrix, gallery: Matrix, *, k: int = 10) -> float:
    """Share of gallery items that no query has in its top ``k``; lower is better.

    A random order leaves out ``(1 - k / m)^q``. With ``q k < m`` some items must be left out: at
    least ``1 - q k / m`` of them. Costs O(q m d), in blocks.

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        queries: Embeddings of the side that asks, ``(q, d)``; unit norm for a search by cosine.
        gallery: Embeddings of the side that is searched, ``(m, d)``.
        k: Neighbourhood size, ``1 <= k <= m``.

    Returns:
        A share in [0, 1).

    Raises:
        ValueError: As for ``k_occurrence``.

    Meaning:
        How many items no query finds.

    Beware:
        It depends on how many queries there are for each item: compare equal numbers only.

    Range:
        In [0, 1); that of a random order with nothing there; lower is better.

    Reference:
        Radovanović et al. 2010, JMLR 11:2487-2531; with ``k`` fixed, the points with ``N_k = 0``.

    Examples:
        >>> import torch, probes
        >>> gallery = torch.eye(4)
        >>> probes.antihub_share(gallery[:1].repeat(5, 1), gallery, k=1)
        0.75
    """
    return (k_occurrence(queries, gallery, k=k) == 0).double().mean().item()


def hub_share(queries: Matrix, gallery: Matrix, *, k: int = 10) -> float:
    """Share of all places in a top ``k`` that are taken by hubs; lower is better.

    A hub is found at least twice as often as the average item. A random order gives the share of
    places held in the upper tail of a binomial law with ``q`` trials and chance ``k / m``: 0.7 %
    for 10 places in a gallery of 1,000 and as many queries. Costs O(q m d), in blocks.

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        queries: Embeddings of the side that asks, ``(q, d)``; unit norm for a search by cosine.
        gallery: Embeddings of the side that is searched, ``(m, d)``.
        k: Neighbourhood size, ``1 <= k <= m``.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: As for ``k_occurrence``.

    Reference:
        The hub occurrence of Feldbauer et al. 2020, doi:10.21105/joss.01957, with its default hub
        size. Radovanović et al. 2010 put the bar at two standard deviations above the mean, which
        rises with the hubs that it is to catch.

    Examples:
        >>> import torch, probes
        >>> gallery = torch.nn.functional.normalize(torch.eye(20) * 0.1 + torch.eye(20)[0], dim=1)
        >>> probes.hub_share(torch.eye(20)[:1].repeat(100, 1), gallery, k=1)
        1.0
    """
    counts = k_occurrence(queries, gallery, k=k).double()
    return (counts[counts >= 2 * counts.mean()].sum() / counts.sum()).item()


def robin_hood_index(queries: Matrix, gallery: Matrix, *, k: int = 10) -> float:
    """Share of places that would have to move for all items to be found equally often.

    ``sum |N - mean N| / (2 sum N)``; lower is better. 0 is equality, and ``1 - k / m`` means that
    the same ``k`` items answer every query. Unlike the skewness it reads as a share and does not
    hang on the few largest counts. A random order gives the mean absolute deviation of a binomial
    count over twice its mean, about ``0.4 / sqrt(q k / m)``. Costs O(q m d), in blocks.

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        queries: Embeddings of the side that asks, ``(q, d)``; unit norm for a search by cosine.
        gallery: Embeddings of the side that is searched, ``(m, d)``.
        k: Neighbourhood size, ``1 <= k <= m``.

    Returns:
        A share in [0, 1).

    Raises:
        ValueError: As for ``k_occurrence``.

    Meaning:
        How many places of the answers would have to change hands for all items to be found equally
        often.

    Beware:
        It says how uneven the answers are, and not whether they are right.

    Range:
        In [0, 1); that of a random order with nothing there; lower is better.

    Reference:
        Feldbauer et al. 2018, doi:10.1109/ICBK.2018.00055.

    Examples:
        >>> import torch, probes
        >>> gallery = torch.eye(4)
        >>> probes.robin_hood_index(gallery[:1].repeat(8, 1), gallery, k=1)
        0.75
    """
    return _robin_hood(k_occurrence(queries, gallery, k=k).double()).value


class _Summary(NamedTuple):
    """A mean over the gallery of something about the counts, and how it moves."""

    value: float
    slope: Tensor  # m times its derivative with respect to each count, (m,)
    level: Tensor  # what having an item once more would add, times m, (m,)


def _skewness(counts: Tensor, *_: Tensor) -> _Summary:
    deviation = counts - counts.mean()
    scale = deviation.square().mean().sqrt()
    if scale == 0:
        return _Summary(0.0, deviation, deviation)
    z = deviation / scale
    value = z.pow(3).mean()
    slope = 3 * (z.square() - 1 - value * z) / scale
    level = z.pow(3) - value - 1.5 * value * (z.square() - 1) - 3 * z
    return _Summary(value.item(), slope, level)


def _robin_hood(counts: Tensor, *_: Tensor) -> _Summary:
    mean = counts.mean()
    deviation = counts - mean
    value = deviation.abs().mean() / (2 * mean)
    # The mean moves with each count too.
    lean = deviation.sign().mean() / 2 + value
    slope = (deviation.sign() / 2 - lean) / mean
    level = deviation.abs() / (2 * mean) - value - deviation * lean / mean
    return _Summary(value.item(), slope, level)


def _antihubs(counts: Tensor, hits: Tensor, codes: Tensor) -> _Summary:
    missed = (counts == 0).double()
    queries = codes.repeat_interleave(hits.shape[1])
    first, last = (
        torch.full_like(codes, -1).scatter_reduce(
            0, hits.flatten(), queries, by, include_self=False
        )
        for by in ("amin", "amax")
    )
    # An item that only one group finds becomes an anti-hub without that group: the jackknife, which
    # Efron and Stein 1981 show to err on the wide side, as no derivative exists.
    slope = -(1 / counts).masked_fill((counts == 0) | (first != last), 0)
    return _Summary(missed.mean().item(), slope, missed - missed.mean())


def _random_skewness(n: int) -> float:
    p = K / n
    return (1 - 2 * p) / math.sqrt(n * p * (1 - p))


def _random_antihubs(n: int) -> float:
    return (1 - K / n) ** n


def _random_robin_hood(n: int) -> float:
    """Mean absolute deviation of a binomial count over twice its mean, after De Moivre 1730."""
    from scipy.stats import binom

    p = K / n
    return (K + 1) * (1 - p) * float(binom.pmf(K + 1, n, p)) / K


def _skewness_of_the_same_few(space: Space) -> float:
    p = K / space.n
    return (1 - 2 * p) / math.sqrt(p * (1 - p))


def _share_of_all_but_the_same_few(space: Space) -> float:
    """Anti-hubs, and places out of place, where the same ``K`` items answer every query."""
    return 1 - K / space.n


def _measure(
    space: Space,
    *,
    searches: tuple[int, ...],
    summarise: Callable[[Tensor, Tensor, Tensor], _Summary],
    expected: Callable[[int], float],
) -> Measured:
    """The mean over some of both searches: number 0 searches the target, 1 the source."""
    codes, values, influences = space.codes, [], []
    for hits in (space.retrieved[number] for number in searches):
        counts = torch.bincount(hits.flatten(), minlength=len(codes)).double()
        value, slope, level = summarise(counts, hits, codes)
        values.append(value)
        # A pair adds its query by what it finds, and its gallery item by how often it is found. An
        # item never comes without the queries of its own group, so those do not count as news.
        own = codes[hits] == codes[:, None]
        influences.append(slope[hits].masked_fill(own, 0).sum(dim=1) + level)
    estimate = SmoothEstimate(sum(values) / len(values), torch.stack(influences).mean(dim=0))
    return estimate.measured(Null(expected(space.n)))


_probe = partial(
    Probe,
    family="pathology",
    better="lower",
    needs="search",
    interval="bootstrap over pairs, to first order: up to twice too wide where there are no hubs",
    null="random order",
)


def _each_searched(
    probe: Callable[..., Probe], name: str, label: str, measure: Callable[..., Measured]
) -> list[Probe]:
    """A probe for searches of the target, and one for searches of the source."""
    return [
        probe(
            name=f"{name}_{side}",
            label=f"{label}, {side} searched",
            measure=partial(measure, searches=(number,)),
        )
        for number, side in enumerate(("target", "source"))
    ]


HUBNESS_FORTH, HUBNESS_BACK = _each_searched(
    partial(_probe, extreme=_skewness_of_the_same_few, function=hubness_skewness),
    "hubness_skewness",
    "Hubness skewness",
    partial(_measure, summarise=_skewness, expected=_random_skewness),
)
ANTIHUBS_FORTH, ANTIHUBS_BACK = _each_searched(
    partial(_probe, extreme=_share_of_all_but_the_same_few, function=antihub_share),
    "antihub_share",
    "Anti-hub share",
    partial(_measure, summarise=_antihubs, expected=_random_antihubs),
)
ROBIN_HOOD = _probe(
    name="robin_hood_index",
    label="Robin Hood index, both directions",
    extreme=_share_of_all_but_the_same_few,
    function=robin_hood_index,
    measure=partial(_measure, searches=(0, 1), summarise=_robin_hood, expected=_random_robin_hood),
)
