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
