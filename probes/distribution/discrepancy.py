"""Distances of two clouds by a kernel: maximum mean discrepancy and energy distance.

Both compare mean similarity within the sides with mean similarity across, over pairs that have
nothing to do with each other; both are unbiased, and bootstrap and null are exact products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from probes.distribution.clouds import Clouds, clouds_of, squared_distances
from probes.distribution.squared_distance import distribution_probe
from probes.distribution.swaps import clouds_alike
from probes.estimates import Measured, Null, mean_apart, mean_apart_to_second, pairs_apart
from probes.inputs import Matrix, codes_of, common_space, near_one
from probes.medians import median_of
from probes.nulls import random_signs, upper_p
from probes.space import SAMPLE, Probe, Space, once_per_space

_DRAWS = 999  # swaps of the null; all together are two matrix products
_SOLVED = 19  # swaps of the null of centred clouds, the fewest for a p of 0.05
_ROUNDING = 1e-6  # values this close, relative to the spread of the similarity, are equal

OF_CENTRED = (
    "Means that were made to agree take from MMD² and energy distance what the means of two "
    "samples differ by: value and interval lie below those of the clouds, by about as much as the "
    "null lies below 0."
)
"""Note to the distances of centred clouds."""


def mmd(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Unbiased squared maximum mean discrepancy of both clouds; lower is better, 0 is alike.

    The mean over pairs ``i``, ``j`` of different groups of
    ``k(z_i, z_j) + k(w_i, w_j) - k(z_i, w_j) - k(z_j, w_i)``, where ``k`` is the mean of five
    Gaussian kernels ``exp(-||x - y||² / (2 c m))`` with ``c`` of 1/4, 1/2, 1, 2, 4 and ``m`` the
    median squared distance between items of both sides together. Which source belongs to which
    target plays no part beyond leaving out comparisons within a pair.

    Without unit; at most 2 and on average exactly 0 where both sides follow one law, so it may be
    below 0. Centred clouds, ``mmd(*centred(source, target))``, give slightly less than that, since
    their means agree better than those of two samples would: about ``-1 / n`` on noise. Rotation, a
    common shift and scaling change nothing. Cost ``O(n² d)``.

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d)`` with ``n >= 2``.
        target: Target embeddings of the same pairs, ``(n, d)``.
        groups: Group of each pair; pairs of one group are not compared. Each its own if left out.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with two rows, all
            pairs are of one group, or more than half of all distances are 0.

    Meaning:
        How far the two clouds differ as a Gaussian kernel sees them; centred, in shape alone.

    Beware:
        The width of the kernel decides what it sees: differences much finer or coarser than the
        median distance are lost.

    Range:
        At most 2; 0 with nothing there; lower is better.

    Reference:
        Gretton et al. 2012, JMLR 13:723-773, eq. 4. Their one bandwidth, the median, is replaced
        by the mean over five around it.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(200, 4, generator=rng), dim=1)
        >>> probes.mmd(x[:100], -x[:100].abs()) > probes.mmd(x[:100], x[100:])
        True
    """
    return _value(source, target, groups, _gaussians)[0]


def energy_distance(
    source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None
) -> float:
    """Unbiased energy distance of both clouds; lower is better, 0 is alike.

    ``2 E||z - w|| - E||z - z'|| - E||w - w'||`` over items of different groups. It has no
    bandwidth. Which source belongs to which target plays no part beyond leaving out comparisons
    within a pair.

    At most twice the largest distance and on average exactly 0 where both sides follow one law, so
    it may be below 0, as for ``mmd``. Rotation and a common shift change nothing; scaling both
    sides by ``c`` gives ``c`` as much.

    Cost ``O(n² d)``.

    Norms: as they are; the value grows with the scale of all rows.

    Args:
        source: Source embeddings, ``(n, d)`` with ``n >= 2``.
        target: Target embeddings of the same pairs, ``(n, d)``.
        groups: Group of each pair; pairs of one group are not compared. Each its own if left out.

    Returns:
        The estimate, in the units of the embeddings.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with two rows, or
            all pairs are of one group.

    Meaning:
        How much farther items are from the other side than from their own; centred, in shape alone.

    Beware:
        It is ruled by the centres, so that a difference in shape hardly shows unless it is centred.

    Range:
        At most 4, centred 2.83; 0 with nothing there; lower is better.

    Reference:
        Székely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018, here as a U-statistic.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(200, 4, generator=rng), dim=1)
        >>> alike, apart = (probes.energy_distance(x[:100], y) for y in (x[100:], x[100:].abs()))
        >>> alike < apart
        True
    """
    value, scale = _value(source, target, groups, _distance)
    return value * scale


class _RadialKernel(NamedTuple):
    """A similarity that depends on squared distance ``t`` alone."""

    of: Callable[[Tensor], Tensor]  # the similarity, k(t)
    slope: Callable[[Tensor], Tensor]  # -2 k'(t)
    bend: Callable[[Tensor], Tensor]  # 4 k''(t)
    scale: float  # how much the similarity varies over the cloud


class _Distances(NamedTuple):
    """Squared distances within and across two clouds, ``(n, n)`` each."""

    source: Tensor
    target: Tensor
    across: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> _Distances:
        """Those of clouds ``(n, d)`` as they are."""
        # Around their common middle, where rounding is least.
        middle = (x.mean(dim=0) + y.mean(dim=0)) / 2
        x, y = x - middle, y - middle
        return cls(squared_distances(x, x), squared_distances(y, y), squared_distances(x, y))

    @classmethod
    def between(cls, clouds: Clouds) -> _Distances:
        """Those of clouds around their own means."""
        return cls(clouds.within_source, clouds.within_target, clouds.across)


_Choice = Callable[[_Distances], _RadialKernel]


def _value(
    source: Matrix, target: Matrix, groups: Sequence[str] | None, choose: _Choice
) -> tuple[float, float]:
    """The discrepancy of both sides brought near 1 together, and the scale that was taken off."""
    (x, y), scale = near_one(*common_space(source, target))
    codes = codes_of(groups, len(x))
    return mean_apart(_compared(_Distances.of(x, y), choose)[1], codes)[0], scale


def _compared(distances: _Distances, choose: _Choice) -> tuple[_RadialKernel, Tensor]:
    """The kernel, and similarity within the sides less that across, ``(n, n)``."""
    kernel = choose(distances)
    across = kernel.of(distances.across)
    gain = kernel.of(distances.source).add_(kernel.of(distances.target))
    return kernel, gain.sub_(across).sub_(across.T)


def _gaussians(distances: _Distances) -> _RadialKernel:
    # One triangle of each side and what is across: each pair of items once.
    within = torch.tril(distances.source, -1) + torch.triu(distances.target, 1)
    median = median_of(torch.stack([within, distances.across]), left_out=len(within))
    if median == 0:
        raise ValueError(
            "the median squared distance sets the width of the kernels and must be above 0; more "
            f"than half of the distances between the {2 * len(distances.across)} items are 0. "
            "Drop repeated items."
        )
    return gaussians(median)


def gaussians(median: float) -> _RadialKernel:
    """The mean of five Gaussian kernels around a median squared distance, as ``mmd`` says."""

    def mean(t: Tensor, power: int) -> Tensor:
        # Each kernel is the square of the next wider one, so one exponential serves all.
        wide = t.div(-8 * median).exp_()
        total: Tensor = wide / 4**power
        for halving in range(1, 5):
            wide = wide.square_()
            total.add_(wide, alpha=2 ** ((halving - 2) * power))
        return total.div_(5 * median**power)

    return _RadialKernel(
        lambda t: mean(t, 0), lambda t: mean(t, 1), lambda t: mean(t, 2), scale=1.0
    )


def _distance(distances: _Distances) -> _RadialKernel:
    typical = float(distances.across.mean())

    def power(exponent: float) -> Callable[[Tensor], Tensor]:
        # Items that coincide up to rounding have no direction between them and pull nowhere.
        return lambda t: t.pow(exponent).masked_fill_(t <= _ROUNDING * typical, 0)

    return _RadialKernel(lambda t: t.sqrt().neg_(), power(-0.5), power(-1.5), scale=typical**0.5)


def _measure_whole(
    space: Space, choose: _Choice, measure_shape: Callable[[Space], Measured]
) -> Measured:
    sample, rows = space.sample(SAMPLE)
    codes = sample.codes
    kernel, gain = _compared(_Distances.of(sample.source, sample.target), choose)
    estimate = mean_apart_to_second(gain, codes)
    if space.is_centred:
        # The centroids were made to agree: what is left to test is the shape.
        shape = measure_shape(space)
        assert shape.null is not None, "it has one in every state"
        null = Null(shape.null.value + estimate.value - shape.value, shape.null.p)
    else:
        # A swap changes the signs of gains and nothing else.
        signs = random_signs(codes, _DRAWS, space.generator("discrepancy")).to(gain.dtype)
        sums = ((signs @ gain) * signs).sum(dim=1, dtype=torch.float64)
        apart = pairs_apart(torch.ones(1, len(codes), dtype=torch.float64), codes)
        null = Null(0.0, upper_p(estimate.value - _ROUNDING * kernel.scale, sums / apart))
    return estimate.measured(null, rows=rows)


def _measure_shape(space: Space, choose: _Choice) -> Measured:
    part = space.sample(SAMPLE)
    codes, clouds = part.space.codes, clouds_of(part.space)
    distances = _Distances.between(clouds)
    kernel, gain = _compared(distances, choose)
    z, w = clouds.source.float(), clouds.target.float()
    recentred = gain - _drag(z, w, distances, kernel, codes)
    value, _ = mean_apart(gain, codes)
    middle, moved = mean_apart(recentred, codes)
    # Distances across change with the means of the swapped clouds, and with them the width of the
    # kernels, so that each swap is measured as the clouds were.
    swaps = clouds_alike(space, part, draws=_SOLVED, purpose="discrepancy", shapes=True)
    again = [mean_apart(_compared(_Distances.between(each), choose)[1], codes)[0] for each in swaps]
    under_null = torch.tensor(again, dtype=torch.float64)
    p = upper_p(value - _ROUNDING * kernel.scale, under_null)
    return Measured(
        value,
        lambda weights: value + moved(weights) - middle,
        null=Null(under_null.mean().item(), p),
        rows=part.rows,
        notes=(OF_CENTRED,),
    )


def _drag(
    z: Tensor, w: Tensor, distances: _Distances, kernel: _RadialKernel, codes: Tensor
) -> Tensor:
    """What a gain loses when each cloud is centred again, to first order in the means, ``(n, n)``.

    A cloud drawn again has a mean of its own, which centring takes away. With features ``f`` of
    the kernel and their mean derivative ``D`` over a cloud, ``f(z_i)`` becomes ``f(z_i) - D z_i``
    (Randles 1982, doi:10.1214/aos/1176345787, on statistics with estimated parameters). Without
    this, the bootstrap of centred clouds would contain the gap that centring removed.
    """
    apart = (codes[:, None] != codes).to(z.dtype)
    others = apart.sum(dim=1, keepdim=True)

    def pull(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (weights.sum(dim=1, keepdim=True) * x - weights @ y) / others

    def bent(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        slope, bend = kernel.slope(t).mul_(apart).sum(), kernel.bend(t).mul_(apart)
        product = x.T @ bend @ y
        around = (x.T * bend.sum(dim=1)) @ x + (y.T * bend.sum(dim=0)) @ y
        return (slope * torch.eye(len(x.T)).to(x) - around + product + product.T) / others.sum()

    to_source = kernel.slope(distances.source).mul_(apart)
    to_target = kernel.slope(distances.target).mul_(apart)
    across = kernel.slope(distances.across).mul_(apart)
    on_source = pull(to_source, z, z) - pull(across.T, w, z)
    on_target = pull(across, z, w) - pull(to_target, w, w)
    mixed = bent(distances.across, z, w)
    to_source = torch.cat([bent(distances.source, z, z), mixed], dim=1)
    to_target = torch.cat([mixed, bent(distances.target, w, w)], dim=1)
    second = torch.cat([to_source, to_target])
    means = torch.cat([z, -w], dim=1)
    half = (torch.cat([on_source, on_target], dim=1) - means @ second / 2) @ means.T
    return half + half.T


def _probes(
    name: str, label: str, function: object, choose: _Choice, extremes: tuple[float, float]
) -> tuple[Probe, Probe]:
    # In a centred state both read the same null.
    measure_shape = once_per_space(partial(_measure_shape, choose=choose))
    return (
        distribution_probe(
            name=name,
            label=label,
            measure=partial(_measure_whole, choose=choose, measure_shape=measure_shape),
            extreme=extremes[0],
            function=function,
            interval="bootstrap over pairs, to first order, held to the spread of a U-statistic",
        ),
        distribution_probe(
            name=f"{name}_centred",
            label=f"{label}, centred",
            measure=measure_shape,
            extreme=extremes[1],
            function=function,
        ),
    )


MMD, MMD_CENTRED = _probes("mmd", "MMD²", mmd, _gaussians, (2.0, 2.0))
ENERGY_DISTANCE, ENERGY_DISTANCE_CENTRED = _probes(
    "energy_distance",
    "Energy distance",
    energy_distance,
    _distance,
    # Unit vectors are at most 2 apart; centred ones, of variance 1 a side, sqrt(2) on average.
    (4.0, 2 * math.sqrt(2)),
)
