"""Pairs of unit vectors with a known amount of noise, and resamples of them drawn by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from align.metrics.bootstrap import resamples
from probes.space import Probe, Space

UNEVEN = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
"""Groups of one, two and three pairs."""


def noisy_pairs(
    rng: torch.Generator, n: int, d: int = 8, *, noise: float = 1.0, shift: float = 0.0
) -> tuple[Tensor, Tensor]:
    """One cloud twice, each time with noise and moved the other way along the first axis."""
    shared = torch.randn(n, d, generator=rng)
    away = shift * F.one_hot(torch.tensor(0), d)
    return (
        F.normalize(shared + noise * torch.randn(n, d, generator=rng) + away, dim=1),
        F.normalize(shared + noise * torch.randn(n, d, generator=rng) - away, dim=1),
    )


def strangers(rng: torch.Generator, n: int, d: int = 8) -> tuple[Tensor, Tensor]:
    """Two clouds that have nothing to do with each other, uniform on the sphere."""
    source, target = torch.randn(2, n, d, generator=rng)
    return F.normalize(source, dim=1), F.normalize(target, dim=1)


def crossing(rng: torch.Generator, n: int, d: int = 3) -> tuple[Tensor, Tensor]:
    """Axes with a sign: cosines are -1, 0 and 1 exactly, so that most of them tie."""
    axes = torch.cat([torch.eye(d), -torch.eye(d)])
    source, target = torch.randint(2 * d, (2, n), generator=rng)
    return axes[source], axes[target]


def names(codes: Tensor) -> list[str]:
    """A group name for each code."""
    return [f"group {code}" for code in codes.tolist()]


def space_of(source: Tensor, target: Tensor, codes: Tensor | None = None, seed: int = 0) -> Space:
    """The pairs as a report has them."""
    return Space(source, target, torch.arange(len(source)) if codes is None else codes, seed)


def weights_of(codes: Tensor, draws: int, seed: int = 0) -> Tensor:
    """Bootstrap weights, ``(draws, n)``."""
    return torch.cat(list(resamples(codes, draws, seeded(seed))))


def drawn_rows(weights: Tensor) -> Tensor:
    """The rows of one draw, each as often as its weight says."""
    return torch.arange(len(weights)).repeat_interleave(weights.long())


def seeded(seed: int) -> torch.Generator:
    """A generator for tests that are given a seed, as those of hypothesis are."""
    return torch.Generator().manual_seed(seed)


def stretched(rng: torch.Generator, n: int, d: int) -> tuple[Tensor, Tensor]:
    """Two normal clouds in float64 that differ in their means and along each axis."""
    source, target = torch.randn(2, n, d, generator=rng, dtype=torch.float64)
    return source + 0.3, target * torch.linspace(0.5, 2, d)


def spread_ratio(
    probe: Probe, space: Callable[[torch.Generator], Space], *, repeats: int = 60, draws: int = 100
) -> float:
    """How far the replicates of a probe spread, over how far its values on fresh spaces do."""
    values, spreads = [], []
    for seed in range(repeats):
        fresh = space(seeded(seed))
        measured = probe.measure(fresh)
        values.append(measured.value)
        assert measured.replicate is not None
        spreads.append(float(measured.replicate(weights_of(fresh.codes, draws)).std()))
    return sum(spreads) / repeats / float(torch.tensor(values).std())


def check_uniform(ps: Sequence[float]) -> None:
    """Fail unless 100 p-values look uniform: at these cuts they deviate by 0.022, 0.04, 0.05."""
    assert len(ps) == 100
    p = torch.tensor(ps)
    assert float((p <= 0.05).float().mean()) < 0.13
    assert 0.08 < float((p <= 0.2).float().mean()) < 0.32
    assert 0.35 < float((p <= 0.5).float().mean()) < 0.65


def differing(rng, n, d=4):
    """Clouds with another mean and another shape, whose pairs have something in common."""
    shared = torch.randn(n, d, generator=rng)
    falling = 1 / torch.arange(1, d + 1).sqrt()
    source = (shared + 0.5 * torch.randn(n, d, generator=rng)) * falling
    target = (shared + 0.5 * torch.randn(n, d, generator=rng)) * falling.flip(0) + 0.5
    return F.normalize(source, dim=1), F.normalize(target, dim=1)
