"""CCA fitted on some pairs and read on the others: what canonical probes share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from align.data.splits import folds
from probes.permutations import random_pairings

SAMPLE = 1000
"""Pairs of a report: held-out correlations rise with the pairs fitted on, so n is kept fixed."""

FOLDS = 5

REFITTED = (1 + FOLDS / (FOLDS - 1)) ** 0.5
"""Spread of a cross-fitted mean over the spread with the fits held fixed.

Fits of five folds share most of their pairs, and err together. The variance of the mean over folds
is taken as ``1 / FOLDS + 1 / (FOLDS - 1)`` times that of a fold, and not as ``1 / FOLDS`` times
(Nadeau and Bengio 2003, doi:10.1023/A:1024068626366, their second term: pairs read over pairs
fitted on).
"""


INTERVAL = "bootstrap over held-out pairs, to first order, widened for fits that share pairs"


def of_fits(n: int) -> str:
    """The note that held-out correlations depend on how many pairs were fitted on.

    Args:
        n: Pairs in all folds.
    """
    return (
        f"Held-out correlations are those of fits on {n * (FOLDS - 1) // FOLDS} pairs, and so are "
        "their intervals: fits on more pairs would find more."
    )


class Fold(NamedTuple):
    """Both sides of all pairs, as the pairs outside one fold scale them.

    Attributes:
        inside: Rows of the fold, ``(r,)`` int64.
        outside: The other rows, ``(n - r,)`` int64.
        x: Source, whitened outside the fold, ``(n, d_source)``.
        y: Target, whitened outside the fold, ``(n, d_target)``.
    """

    inside: Tensor
    outside: Tensor
    x: Tensor
    y: Tensor


class HeldOut(NamedTuple):
    """Projections of each pair by a fit that did not see it.

    Attributes:
        a: Projections of the source, columns of unit norm, ``(n, k)`` float64.
        b: Projections of the target, likewise.
    """

    a: Tensor
    b: Tensor

    @property
    def correlations(self) -> Tensor:
        """Held-out correlations, ``(k,)``."""
        return (self.a * self.b).sum(dim=0)

    @property
    def influence(self) -> Tensor:
        """What each pair adds to each correlation to first order, ``(n, k)``."""
        own = self.a.square() + self.b.square()
        return len(self.a) * (self.a * self.b - self.correlations / 2 * own)


def whitened_folds(x: Tensor, y: Tensor, codes: Tensor, *, ridge: float, seed: int) -> list[Fold]:
    """``FOLDS`` folds, with both sides whitened by the pairs outside each.

    Args:
        x: Source embeddings, ``(n, d_source)``.
        y: Target embeddings, ``(n, d_target)``.
        codes: Group code of each pair, ``(n,)`` int64 in ``0 .. g - 1``; no group is split.
        ridge: In units of the mean eigenvalue of each covariance, >= 0.
        seed: Seeds the folds.

    Raises:
        ValueError: There are fewer groups than folds, or a covariance has no inverse.
    """
    number = torch.from_numpy(folds([str(code) for code in codes.tolist()], FOLDS, seed=seed))
    found = []
    for fold in range(FOLDS):
        inside, outside = (number == fold).nonzero()[:, 0], (number != fold).nonzero()[:, 0]
        sides = (
            _whitened(name, side, outside, ridge) for name, side in (("source", x), ("target", y))
        )
        found.append(Fold(inside, outside, *sides))
    return found


def pairings_within(
    parts: list[Fold], codes: Tensor, draws: int, generator: torch.Generator
) -> Tensor:
    """Random pairings that leave each pair in its fold, ``(draws, n)`` int64.

    Neither side of a fold changes then, nor its whitening.

    Args:
        parts: As ``whitened_folds`` gives them.
        codes: Group code of each pair, ``(n,)`` int64; groups stay whole.
        draws: Number of pairings.
        generator: Source of the pairings.
    """
    pairings = torch.empty(draws, len(codes), dtype=torch.int64)
    for part in parts:
        own = torch.unique(codes[part.inside], return_inverse=True)[1]
        pairings[:, part.inside] = part.inside[random_pairings(own, draws, generator)]
    return pairings


def held_out(parts: list[Fold], *, dims: int, pairing: Tensor | None = None) -> HeldOut:
    """Fit canonical directions outside each fold and project the fold.

    Each fold is centred by itself: what is left is how it varies along the directions.

    Args:
        parts: As ``whitened_folds`` gives them.
        dims: Directions kept, at most the smaller width.
        pairing: Target row of each source row, ``(n,)`` int64; its own if left out.
    """
    n = len(parts[0].x)
    a, b = parts[0].x.new_empty(2, n, dims)
    for inside, outside, x, y in parts:
        paired = y if pairing is None else y.index_select(0, pairing)
        u, v = _leading(x[outside].T @ paired[outside], dims)
        a[inside], b[inside] = _centred(x[inside] @ u), _centred(paired[inside] @ v)
    return HeldOut(_unit_columns(a.double()), _unit_columns(b.double()))


def in_sample(parts: list[Fold], *, dims: int) -> Tensor:
    """Canonical correlations on the pairs outside a fold, mean over folds, ``(dims,)`` float64.

    Args:
        parts: As ``whitened_folds`` gives them.
        dims: Directions kept, at most the smaller width.
    """
    total = torch.zeros(dims, dtype=torch.float64)
    for _, outside, x, y in parts:
        x, y = x[outside], y[outside]
        u, v = _leading(x.T @ y, dims)
        total += (_unit_columns((x @ u).double()) * _unit_columns((y @ v).double())).sum(dim=0)
    return total / len(parts)


def _whitened(name: str, x: Tensor, outside: Tensor, ridge: float) -> Tensor:
    """Rows of ``x`` such that those outside have zero mean and unit covariance less the ridge."""
    x = x - x[outside].mean(dim=0)
    covariance = x[outside].T @ x[outside] / len(outside)
    variances = covariance.diagonal()
    variances += ridge * variances.mean()
    root, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) or (ridge == 0 and len(outside) <= x.shape[1]):
        raise ValueError(
            f"the covariance of {name} must have an inverse; it has none on {len(outside)} pairs "
            f"to fit on at width {x.shape[1]} and ridge {ridge}. Raise the ridge or pass more "
            "pairs."
        )
    rows: Tensor = torch.linalg.solve_triangular(root, x.T, upper=False).T
    return rows


def _leading(cross: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Leading singular vectors of ``(d, e)``, in columns."""
    from scipy.linalg import eigh

    if cross.shape[0] > cross.shape[1]:
        v, u = _leading(cross.T, dims)
        return u, v
    d = len(cross)
    # A full SVD takes five times as long.
    _, vectors = eigh((cross @ cross.T).numpy(), subset_by_index=[d - dims, d - 1])
    u = torch.from_numpy(vectors).flip(1)
    return u, _unit_columns(cross.T @ u)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=0)


def _unit_columns(x: Tensor) -> Tensor:
    """Columns divided by their norms; a column of zeros stays one."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=0)
    return x / norms.where(norms > 0, 1)
