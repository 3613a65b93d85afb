"""A value, how it moves when pairs are drawn again, and what it would be with nothing there.

The bootstrap draws whole groups of pairs with replacement. Nothing is measured again: each kind of
estimate turns the weights of a draw (how often each pair came) into its value by one product.

Throughout, ``codes`` are the group codes of rows, ``(n,)`` int64 in ``0 .. g - 1``, and weights
``(b, n)`` float64 are those of ``b`` draws, constant within a group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

Replicate = Callable[[Tensor], Tensor]
"""Weights of draws, ``(b, n)``, to their values, ``(b,)``."""


@dataclass(frozen=True, slots=True)
class Null:
    """What a probe gives where there is nothing to find: its expected ``value``, and a ``p``.

    ``p`` is the chance of a value at least as far from the null as the one seen, in (0, 1];
    ``None`` where only the expected value is known.

    Examples:
        >>> from probes import Null
        >>> Null(0.01, p=0.001).p
        0.001
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

    Examples:
        >>> from probes import Measured
        >>> Measured(0.25, interval=(0.2, 0.3)).value
        0.25
    """

    value: float
    replicate: Replicate | None = None
    interval: tuple[float, float] | None = None
    null: Null | None = None
    rows: Tensor | None = None
    notes: tuple[str, ...] = ()


class SmoothEstimate(NamedTuple):
    """An estimate on some pairs and its influence function: its bootstrap to first order."""

    value: float
    influence: Tensor  # n times the derivative in the weight of each pair, (n,)
    notes: tuple[str, ...] = ()  # why it is not to be trusted, if it is not

    def measured(
        self, null: Null, *, rows: Tensor | None = None, notes: tuple[str, ...] = ()
    ) -> Measured:
        """The estimate beside its null, with the linearised bootstrap and further notes."""
        replicate = linearised(self.value, self.influence)
        return Measured(self.value, replicate, null=null, rows=rows, notes=self.notes + notes)


def sums_of_groups(rows: Tensor, codes: Tensor) -> Tensor:
    """Sum of the rows ``(n, ...)`` of each group, ``(g, ...)``."""
    return rows.new_zeros(int(codes.max()) + 1, *rows.shape[1:]).index_add_(0, codes, rows)


def sizes_of_others(codes: Tensor) -> Tensor:
    """How many rows are of another group, for each row, ``(n,)`` int64."""
    return (len(codes) - torch.bincount(codes))[codes]


def mean_of(values: Tensor) -> tuple[float, Replicate]:
    """The mean of one value per pair, ``(n,)``, and its replicates."""
    wide = values.double()

    def replicate(weights: Tensor) -> Tensor:
        return weights @ wide / weights.sum(dim=1)

    return wide.mean().item(), replicate


def linearised(value: float, influence: Tensor) -> Replicate:
    """Replicates of a smooth estimate from its influence function, ``(n,)``, less its mean.

    The infinitesimal bootstrap: Efron and Tibshirani 1993, An Introduction to the Bootstrap,
    section 22.6.
    """
    centred = influence.double() - influence.double().mean()

    def replicate(weights: Tensor) -> Tensor:
        return value + weights @ centred / weights.sum(dim=1)

    return replicate


def pairs_apart(weights: Tensor, codes: Tensor) -> Tensor:
    """Total weight of the ordered pairs of rows that are of different groups, ``(b,)``."""
    of_group = weights.new_zeros(len(weights), int(codes.max()) + 1).index_add_(1, codes, weights)
    return weights.sum(dim=1).square() - of_group.square().sum(dim=1)


def mean_apart(kernel: Tensor, codes: Tensor) -> tuple[float, Replicate]:
    """U-statistic: mean of ``kernel`` ``(n, n)`` over ordered pairs of rows of different groups.

    Entries of one group are overwritten with zeros. The replicates are exact.
    """
    kernel.masked_fill_(codes[:, None] == codes, 0)
    ones = torch.ones(1, len(codes), dtype=torch.float64)

    def replicate(weights: Tensor) -> Tensor:
        drawn = weights.to(kernel.dtype)
        sums = (drawn @ kernel).double().mul_(weights).sum(dim=1)
        return sums / pairs_apart(weights, codes)

    return (kernel.sum(dtype=torch.float64) / pairs_apart(ones, codes)).item(), replicate


def mean_apart_to_second(kernel: Tensor, codes: Tensor) -> SmoothEstimate:
    """``mean_apart`` of a symmetric kernel with replicates as wide as a U-statistic varies.

    Exact replicates weigh each entry by two weights, and so hold its part of second order three
    times. These are of first order, with ``held_to_spread``.
    """
    value, _ = mean_apart(kernel, codes)
    n, others = len(codes), sizes_of_others(codes).double()
    count = others.sum()
    sums = kernel.sum(dim=1, dtype=torch.float64)
    means = sums / others
    left = kernel.double() - means[:, None] - means + value
    left.masked_fill_(codes[:, None] == codes, 0)
    of_groups = sums_of_groups(sums_of_groups(left, codes).T, codes)
    second = 2 * float(of_groups.square().sum() / count**2)
    influence = 2 * n * (sums - value * others) / count
    return SmoothEstimate(value, held_to_spread(influence, codes, second))


def held_to_spread(influence: Tensor, codes: Tensor, second: float) -> Tensor:
    """Influences ``(n,)`` that are as wide as a U-statistic varies, and not wider; float64.

    The variance of influences that were estimated from the same rows holds the part of second
    order twice: ``A / n + 2 B / n^2`` for ``A / n + B / n^2`` (Efron and Stein 1981,
    doi:10.1214/aos/1176345462, for the excess of the jackknife). That doubles the variance where
    the part of first order vanishes, as it does for a distance of two clouds that agree.
    ``second`` is an estimate of ``B / n^2``.
    """
    centred = influence.double() - influence.double().mean()
    variance = sums_of_groups(centred, codes).square().sum().item() / len(centred) ** 2
    if variance == 0:
        return centred
    # The rest is at least as large as what is taken away.
    narrowed: Tensor = centred * max(1 - second / variance, 0.5) ** 0.5
    return narrowed


@dataclass(frozen=True, eq=False)
class SquaredMean:
    """Squared norm of the mean of rows without bias: the mean product of rows of two groups."""

    sums: Tensor  # of the rows of each group, (g, d) float64
    codes: Tensor  # group of each row, (n,)

    @classmethod
    def of(cls, x: Tensor, codes: Tensor) -> SquaredMean:
        """That of the rows of ``x``, ``(n, d)``."""
        return cls(sums_of_groups(x.double(), codes), codes)

    @cached_property
    def sizes(self) -> Tensor:
        """Rows of each group, ``(g,)`` float64."""
        return torch.bincount(self.codes).double()

    @property
    def apart(self) -> float:
        """Ordered pairs of rows of different groups."""
        return len(self.codes) ** 2 - self.sizes.square().sum().item()

    @property
    def value(self) -> float:
        """The estimate; about as often negative as positive where the mean is 0."""
        whole, own = self.sums.sum(dim=0).square().sum(), self.sums.square().sum()
        return (whole - own).item() / self.apart

    def totals(self, of_group: Tensor) -> Tensor:
        """Sum of ``f_i f_j <x_i, x_j>`` over pairs of different groups for factors ``(b, g)``."""
        # Factors are small whole numbers, exact in float32; the product is most of the cost.
        whole = (of_group.float() @ self.sums.float()).double().square().sum(dim=1)
        return whole - of_group.square() @ self.sums.square().sum(dim=1)

    @cached_property
    def replicate(self) -> Replicate:
        """Values under bootstrap weights, held to their spread, in ``O(g d min(g, d))``."""
        n, value, sums = len(self.codes), self.value, self.sums
        whole, own = sums.sum(dim=0), sums.square().sum(dim=1)
        others = value * self.sizes * (n - self.sizes)
        of_group = 2 * (sums @ whole - own - others) / self.apart
        # Float32 is enough for what is taken off the spread.
        around = (sums - self.sizes[:, None] * whole / n).float()
        small = around.T @ around if len(around) > len(whole) else around @ around.T
        left = small.double().square().sum() - around.double().square().sum(dim=1).square().sum()
        second = 2 * max(left.item(), 0.0) / self.apart**2
        influence = n * (of_group / self.sizes)[self.codes]
        return linearised(value, held_to_spread(influence, self.codes, second))
