"""Pairs of unit vectors with a known amount of noise, and resamples of them drawn by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from align.metrics.bootstrap import resamples
from probes.space import Space

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
    rng = torch.Generator().manual_seed(seed)
    return torch.cat(list(resamples(codes, draws, rng)))


def drawn_rows(weights: Tensor) -> Tensor:
    """The rows of one draw, each as often as its weight says."""
    return torch.arange(len(weights)).repeat_interleave(weights.long())
