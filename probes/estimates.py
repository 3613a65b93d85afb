"""A value, how it moves when pairs are drawn again, and what it would be with nothing there.

The bootstrap draws whole groups of pairs with replacement. Nothing is measured again: each kind of
estimate turns the weights of a draw (how often each pair came) into its value by one product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Replicate = Callable[[Tensor], Tensor]
"""Weights of draws, ``(b, n)`` float64 and constant within a group, to their values ``(b,)``."""


@dataclass(frozen=True, slots=True)
class Null:
    """What a probe gives where there is nothing to find.

    Attributes:
        value: Expected value under the null.
        p: Chance of a value at least as far from the null as the one seen, in (0, 1], or ``None``
            where only the expected value is known.
    """

    value: float
    p: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One value with what is needed to judge it.

    Attributes:
        value: The estimate.
        replicate: Values under bootstrap weights of the pairs it was measured on, or ``None``.
        interval: 95 % bounds where they do not come from bootstrap weights, or ``None``.
        null: What it would be with nothing there, or ``None`` where no null makes sense.
        rows: Pairs it was measured on, ``(r,)`` int64 rows of the space, whole groups; all if
            ``None``.
        notes: Why the estimate is not to be trusted, if it is not; whole sentences.
    """

    value: float
    replicate: Replicate | None = None
    interval: tuple[float, float] | None = None
    null: Null | None = None
    rows: Tensor | None = None
    notes: tuple[str, ...] = ()


def mean_of(values: Tensor) -> tuple[float, Replicate]:
    """The mean of one value per pair, and its replicates.

    Args:
        values: ``(n,)``.
    """
    held = values.double()

    def replicate(weights: Tensor) -> Tensor:
        return weights @ held / weights.sum(dim=1)

    return held.mean().item(), replicate


def linearised(value: float, influence: Tensor) -> Replicate:
    """Replicates of a smooth estimate from what each pair contributes to it to first order.

    The infinitesimal form of the bootstrap: nothing is solved again for a draw.

    Args:
        value: The estimate on all pairs.
        influence: Derivative of the estimate with respect to the weight of each pair, times ``n``,
            ``(n,)``; its mean is removed.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 22.6.
    """
    held = influence.double() - influence.double().mean()

    def replicate(weights: Tensor) -> Tensor:
        return value + weights @ held / weights.sum(dim=1)

    return replicate


def pairs_apart(weights: Tensor, codes: Tensor) -> Tensor:
    """Total weight of the ordered pairs of rows that are of different groups, ``(b,)``.

    Args:
        weights: ``(b, n)``.
        codes: Group code of each row, ``(n,)`` int64 in ``0 .. g - 1``.
    """
    of_group = weights.new_zeros(len(weights), int(codes.max()) + 1).index_add_(1, codes, weights)
    return weights.sum(dim=1).square() - of_group.square().sum(dim=1)


def mean_apart(kernel: Tensor, codes: Tensor) -> tuple[float, Replicate]:
    """Mean of a kernel over ordered pairs of rows of different groups: a U-statistic.

    Args:
        kernel: ``(n, n)``, symmetric or not; entries of one group are overwritten with zeros.
        codes: Group code of each row, ``(n,)`` int64 in ``0 .. g - 1``.

    Returns:
        The mean, and its exact value under each row of weights.
    """
    kernel.masked_fill_(codes[:, None] == codes, 0)
    ones = torch.ones(1, len(codes), dtype=torch.float64)

    def replicate(weights: Tensor) -> Tensor:
        drawn = weights.to(kernel.dtype)
        sums = (drawn @ kernel).double().mul_(weights).sum(dim=1)
        return sums / pairs_apart(weights, codes)

    return (kernel.sum(dtype=torch.float64) / pairs_apart(ones, codes)).item(), replicate


def held_to_spread(influence: Tensor, codes: Tensor, second: float) -> Tensor:
    """Influences that are as wide as a U-statistic varies, and not wider; ``(n,)`` float64.

    The variance of influences that were estimated from the same rows holds the part of second
    order twice: ``A / n + 2 B / n^2`` for ``A / n + B / n^2``. That doubles the variance where the
    part of first order vanishes, as it does for a distance of two clouds that agree.

    Args:
        influence: As for ``linearised``, ``(n,)``.
        codes: Group code of each row, ``(n,)`` int64 in ``0 .. g - 1``.
        second: Estimate of ``B / n^2``.

    Reference:
        Efron and Stein 1981, doi:10.1214/aos/1176345462, for the excess of the jackknife.
    """
    held = influence.double() - influence.double().mean()
    sums = held.new_zeros(int(codes.max()) + 1).index_add_(0, codes, held)
    variance = sums.square().sum().item() / len(held) ** 2
    if variance == 0:
        return held
    # The rest is at least as large as what is taken away.
    narrowed: Tensor = held * max(1 - second / variance, 0.5) ** 0.5
    return narrowed


def influence_on_squared_mean(sums: Tensor, codes: Tensor, value: float) -> Tensor:
    """What each row adds to the mean product of rows of different groups, ``(n,)`` float64.

    Held to the spread of that mean, as in ``mean_apart_to_second``, in ``O(g d min(g, d))``.

    Args:
        sums: Sum of the rows of each group, ``(g, d)`` float64.
        codes: Group code of each row, ``(n,)`` int64 in ``0 .. g - 1``.
        value: That mean.
    """
    n, sizes = len(codes), torch.bincount(codes).double()
    apart = n**2 - sizes.square().sum().item()
    whole, own = sums.sum(dim=0), sums.square().sum(dim=1)
    of_group = 2 * (sums @ whole - own - value * sizes * (n - sizes)) / apart
    around = sums - sizes[:, None] * whole / n
    small = around.T @ around if len(around) > len(whole) else around @ around.T
    left = small.square().sum() - around.square().sum(dim=1).square().sum()
    second = 2 * max(left.item(), 0.0) / apart**2
    return held_to_spread(n * (of_group / sizes)[codes], codes, second)


def mean_apart_to_second(kernel: Tensor, codes: Tensor) -> tuple[float, Replicate]:
    """``mean_apart`` with replicates as wide as a U-statistic varies.

    Exact replicates weigh each entry by two weights, and so hold its part of second order three
    times. These are of first order, with ``held_to_spread``.

    Args:
        kernel: ``(n, n)``, symmetric; entries of one group are overwritten with zeros.
        codes: Group code of each row, ``(n,)`` int64 in ``0 .. g - 1``.
    """
    value, _ = mean_apart(kernel, codes)
    n, groups = len(codes), int(codes.max()) + 1
    others = (n - torch.bincount(codes))[codes].double()
    count = others.sum()
    sums = kernel.sum(dim=1, dtype=torch.float64)
    means = sums / others
    left = kernel.double() - means[:, None] - means + value
    left.masked_fill_(codes[:, None] == codes, 0)
    of_groups = left.new_zeros(groups, n).index_add_(0, codes, left)
    of_groups = left.new_zeros(groups, groups).index_add_(1, codes, of_groups)
    second = 2 * float(of_groups.square().sum() / count**2)
    influence = 2 * n * (sums - value * others) / count
    return value, linearised(value, held_to_spread(influence, codes, second))


def random_signs(codes: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Signs +1 or -1, one per group and draw, ``(draws, n)`` float64.

    A sign of -1 swaps the two sides of a pair: the null of probes that ask which side is which.

    Args:
        codes: Group code of each pair, ``(n,)`` int64 in ``0 .. g - 1``.
        draws: Number of draws.
        generator: Source of the signs.
    """
    signs = torch.randint(2, (draws, int(codes.max()) + 1), generator=generator)
    return (signs.double() * 2 - 1)[:, codes]


def upper_p(value: float, under_null: Tensor) -> float:
    """Share of values under the null at least as large, the one seen counted among them.

    Args:
        value: The value seen.
        under_null: Values under the null, ``(draws,)``.

    Reference:
        Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    return (int((under_null >= value).sum()) + 1) / (len(under_null) + 1)
