"""What is estimated from ranks: recall, reciprocal rank and median rank, with their intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from align.metrics.bootstrap import (
    Statistic,
    bootstrap_interval,
    weighted_mean,
    weighted_median,
)
from align.metrics.ranks import hits_at_k, reciprocal_ranks

CUT_OFFS = (1, 5, 10)
MEANS = (*(f"recall_at_{k}" for k in CUT_OFFS), "mean_reciprocal_rank")
METRICS = (*MEANS, "median_rank")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric on all queries with both bounds of its 95 % bootstrap interval over groups."""

    value: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"Estimate({self.value:.4g} [{self.low:.4g}, {self.high:.4g}])"

    def to_dict(self) -> dict[str, float]:
        """The numbers by name."""
        return asdict(self)


def mean_values(ranks: Tensor) -> Tensor:
    """The per-query values whose means are ``MEANS``, ``(q, c)``."""
    return torch.stack([*(hits_at_k(ranks, k) for k in CUT_OFFS), reciprocal_ranks(ranks)], dim=1)


def _metrics(ranks: Tensor, weights: Tensor) -> Tensor:
    """``METRICS`` of ranks ``(q, 1)`` under each row of weights ``(b, q)``."""
    means = weighted_mean(mean_values(ranks[:, 0]), weights)
    return torch.cat([means, weighted_median(ranks, weights)], dim=1)


def mean_of_parts(sizes: list[int], statistic: Statistic) -> Statistic:
    """The statistic of each part of the rows, averaged with equal weight."""

    def mean(values: Tensor, weights: Tensor) -> Tensor:
        parts = zip(torch.split(values, sizes), torch.split(weights, sizes, dim=1), strict=True)
        return torch.stack([statistic(*part) for part in parts]).mean(dim=0)

    return mean


def values_with_bounds(
    values: Tensor, groups: Tensor, statistic: Statistic, seed: int
) -> list[tuple[float, float, float]]:
    """The statistic on all rows and its bounds, ``(value, low, high)`` for each column."""
    value = statistic(values, torch.ones_like(values[:, :1]).T)[0]
    generator = torch.Generator(values.device).manual_seed(seed)
    low, high = bootstrap_interval(values, groups=groups, generator=generator, statistic=statistic)
    return list(zip(value.tolist(), low.tolist(), high.tolist(), strict=True))


def estimates(ranks: Tensor, groups: Tensor, sizes: list[int], seed: int) -> dict[str, Estimate]:
    """``METRICS`` of ranks ``(q,)`` in parts of these sizes, averaged with equal weight."""
    bounds = values_with_bounds(
        ranks.double()[:, None], groups, mean_of_parts(sizes, _metrics), seed
    )
    return {name: Estimate(*bound) for name, bound in zip(METRICS, bounds, strict=True)}
