"""Intervals by bootstrap and p-values by randomisation, with whole groups resampled together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_ENTRIES = 1 << 21  # weights or signs drawn at a time: bounds memory
_ROUNDING = 1e-12  # of the sum of magnitudes: sums this close differ by rounding alone

Statistic = Callable[[Tensor, Tensor], Tensor]
"""Values ``(q, c)`` and weights ``(b, q)`` in, one row per resample ``(b, c')`` out."""


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of each column of ``(q, c)`` values under each row of weights, ``(b, c)`` float64.

    Weights say how often each row occurs, ``(b, q)`` float64, each row with a positive sum.
    """
    return weights @ values / weights.sum(dim=1, keepdim=True)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Median of each column under each row of weights, as ``weighted_mean``; weights are whole.

    It is the mean of the two middle values where the number of occurrences is even.
    """
    in_order, order = values.sort(dim=0)
    columns = []
    for column in range(values.shape[1]):
        # Occurrences up to and including each value; the middle ones are the first to exceed half.
        below = weights[:, order[:, column]].cumsum(dim=1)
        total = below[:, -1:]
        middle = torch.cat([((total - 1) / 2).floor(), (total / 2).floor()], dim=1)
        at = torch.searchsorted(below, middle, right=True)
        columns.append(in_order[:, column][at].mean(dim=1))
    return torch.stack(columns, dim=1)


def resamples(codes: Tensor, draws: int, generator: torch.Generator) -> Iterator[Tensor]:
    """How often each row occurs in resamples of whole groups; blocks ``(b, q)`` float64.

    Each of ``draws >= 1`` resamples is of ``g`` groups with replacement, where ``codes`` ``(q,)``
    int64 holds every code of ``0 .. g - 1``. The generator is on the device of ``codes``.
    """
    g = int(codes.max()) + 1
    for rows in _chunks(len(codes), draws):
        picked = torch.randint(g, (rows, g), generator=generator, device=generator.device)
        counts = torch.zeros(rows, g, dtype=torch.float64, device=picked.device)
        yield counts.scatter_add_(1, picked, torch.ones_like(counts))[:, codes]


def bootstrap_interval(
    values: Tensor,
    *,
    groups: Tensor | None = None,
    level: float = 0.95,
    draws: int = 1000,
    generator: torch.Generator,
    statistic: Statistic = weighted_mean,
) -> tuple[Tensor, Tensor]:
    """Percentile bootstrap interval of a statistic of per-query values, ``(low, high)``.

    Groups are drawn with replacement, each with all its queries, so that the captions of one
    photo do not pass for independent evidence. The columns of ``values`` share each draw.

    Args:
        values: One value, or ``c`` values, per query: ``(q,)`` or ``(q, c)``.
        groups: Group code of each query, ``(q,)`` int64; each query is its own group if left out.
        level: Coverage wanted, in (0, 1).
        draws: Number of resamples.
        generator: Source of the draws, on the device of ``values``.
        statistic: What to compute of each resample; the mean if left out.

    Returns:
        Both bounds in float64, without dimensions for ``(q,)`` and ``(c',)`` otherwise, where
        ``c'`` is what the statistic makes of ``c`` columns.

    Raises:
        ValueError: Values are not finite or not in rows, or ``level`` or ``draws`` are out of
            range.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1); got {level}. Pass 0.95 for 95 %.")
    table, member = _by_group(values, groups)
    drawn = torch.cat(
        [statistic(table, weights) for weights in resamples(member, draws, generator)]
    )
    tails = drawn.new_tensor([(1 - level) / 2, (1 + level) / 2])
    low, high = drawn.quantile(tails, dim=0)
    return (low[0], high[0]) if values.ndim == 1 else (low, high)


def paired_bootstrap_interval(
    a: Tensor,
    b: Tensor,
    *,
    groups: Tensor | None = None,
    level: float = 0.95,
    draws: int = 1000,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """``bootstrap_interval`` of the mean of ``a - b``: two systems' values of the same queries.

    Raises:
        ValueError: The shapes differ, or anything that ``bootstrap_interval`` refuses.
    """
    return bootstrap_interval(
        _difference(a, b), groups=groups, level=level, draws=draws, generator=generator
    )


def randomisation_test(
    a: Tensor,
    b: Tensor,
    *,
    groups: Tensor | None = None,
    draws: int = 10_000,
    generator: torch.Generator,
) -> Tensor:
    """Two-sided p-value of the mean difference of two systems over the same queries.

    If the systems were alike, their values could be swapped. The p-value is the share of random
    swaps, whole groups at once, that give a difference at least as large as the one seen; the
    swap that was seen counts as one of them, so p is never 0.

    Args:
        a: One value, or ``c`` values, per query: ``(q,)`` or ``(q, c)``.
        b: The other system's values of the same queries, same shape.
        groups: As for ``bootstrap_interval``.
        draws: Number of random swaps; the smallest p is ``1 / (draws + 1)``.
        generator: Source of the draws, on the device of ``a``.

    Returns:
        p in (0, 1], float64, without dimensions for ``(q,)`` and ``(c,)`` for ``(q, c)``.

    Raises:
        ValueError: The shapes differ, values are not finite, or ``draws`` is below 1.

    Reference:
        Smucker, Allan and Carterette 2007, doi:10.1145/1321440.1321528, section 3.1; the seen
        swap is counted as in Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    table, member = _by_group(_difference(a, b), groups)
    sums = table.new_zeros(int(member.max()) + 1, table.shape[1]).index_add(0, member, table)
    seen = sums.sum(dim=0).abs() - _ROUNDING * sums.abs().sum(dim=0)
    as_large = torch.zeros_like(seen)
    for rows in _chunks(len(sums), draws):
        signs = torch.randint(2, (rows, len(sums)), generator=generator, device=sums.device)
        as_large += ((signs.double() * 2 - 1) @ sums).abs().ge(seen).sum(dim=0)
    p = (as_large + 1) / (draws + 1)
    return p[0] if a.ndim == 1 else p


def _difference(a: Tensor, b: Tensor) -> Tensor:
    if a.shape != b.shape:
        raise ValueError(
            "a and b must hold values of the same queries, (q,) or (q, c); got "
            f"{tuple(a.shape)} and {tuple(b.shape)}. Evaluate both systems on the same pairs."
        )
    return a.double() - b.double()


def _by_group(values: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values as a float64 table ``(q, c)``, and the group ``0 .. g - 1`` of each row ``(q,)``."""
    if values.ndim not in (1, 2) or len(values) == 0 or not values.isfinite().all():
        raise ValueError(
            "values must be finite, one row per query, (q,) or (q, c) with q >= 1; got shape "
            f"{tuple(values.shape)} with {int((~values.isfinite()).sum())} not finite. "
            "Drop the queries without a value before resampling."
        )
    table = values.double().reshape(len(values), -1)
    if groups is None:
        return table, torch.arange(len(table), device=table.device)
    if groups.shape != (len(table),):
        raise ValueError(
            f"groups must hold one code per query, ({len(table)},); got {tuple(groups.shape)}. "
            "Pass them in the order of the values."
        )
    return table, torch.unique(groups, return_inverse=True)[1]


def _chunks(width: int, draws: int) -> Iterator[int]:
    """Rows of each chunk, ``draws`` in all, so that a chunk holds about ``_ENTRIES`` numbers."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1; got {draws}. 1000 is a usual number.")
    rows = max(1, _ENTRIES // width)
    for start in range(0, draws, rows):
        yield min(rows, draws - start)
