"""Pairs whose answer is known because it was planted, and a plain count of how well it is found."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Sides = tuple[Tensor, Tensor]


def shared_factors(
    n: int, widths: tuple[int, int], *, shared: int, noise: float, seed: int = 0
) -> Sides:
    """Two linear views of the same factors, each with noise and an offset of its own."""
    rng = torch.Generator().manual_seed(seed)
    mixings = [torch.randn(shared, d, generator=rng) for d in widths]
    factors = torch.randn(n, shared, generator=rng)
    source, target = (
        factors @ mixing
        + noise * torch.randn(n, mixing.shape[1], generator=rng)
        + torch.randn(mixing.shape[1], generator=rng)
        for mixing in mixings
    )
    return source, target


def steep_spectra(n: int, d: int, *, correlation: float, seed: int = 0) -> Sides:
    """Views of one white space behind covariances with eigenvalues 1, 1/4, 1/9, ...

    Only a map that knows both covariances well can undo them.
    """
    rng = torch.Generator().manual_seed(seed)
    factors = torch.randn(n, d, generator=rng)
    sides = []
    for _ in range(2):
        own = torch.randn(n, d, generator=rng)
        white = correlation * factors + (1 - correlation**2) ** 0.5 * own
        scales = 1 / torch.arange(1, d + 1)
        sides.append((white @ rotation(d, rng)) * scales @ rotation(d, rng))
    return sides[0], sides[1]


def rotation(d: int, rng: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """A random orthogonal ``(d, d)`` matrix."""
    return torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=dtype))[0]


def unit(x: Tensor) -> Tensor:
    """Rows of ``x`` at unit norm."""
    return F.normalize(x, dim=1)


def mean_reciprocal_rank(queries: Tensor, gallery: Tensor) -> float:
    """Of row-matched queries and gallery, by inner product; ties count against us."""
    scores = queries @ gallery.T
    return (scores >= scores.diagonal()[:, None]).sum(dim=1).double().reciprocal().mean().item()


def chance(gallery: int) -> float:
    """Mean reciprocal rank of a random order."""
    return sum(1 / rank for rank in range(1, gallery + 1)) / gallery


def unit_sides(rng, n, d):
    """Unit rows of both sides in float64, each ``(n, d)``."""
    sides = torch.randn(2, n, d, generator=rng, dtype=torch.float64)
    return F.normalize(sides, dim=2).unbind()
