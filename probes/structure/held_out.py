"""CCA fitted on some pairs and read on the others: what canonical probes share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from align.data.random_pairings import random_pairings
from probes.inputs import folds_of

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
    """The note that held-out correlations of ``n`` pairs depend on how many were fitted on."""
    return (
        f"Held-out correlations are those of fits on {n * (FOLDS - 1) // FOLDS} pairs, and so are "
        "their intervals: fits on more pairs would find more."
    )


class WhitenedFold(NamedTuple):
    """Both sides of all pairs, as the pairs outside one fold scale them."""

    inside: Tensor  # rows of the fold, (r,) int64
    outside: Tensor  # the other rows, (n - r,) int64
    x: Tensor  # source, whitened outside the fold, (n, d_source)
    y: Tensor  # target, whitened outside the fold, (n, d_target)


class HeldOut(NamedTuple):
    """Projections of each pair by a fit that did not see it, columns of unit norm."""

    a: Tensor  # of the source, (n, k) float64
    b: Tensor  # of the target, likewise

    @property
    def correlations(self) -> Tensor:
        """Held-out correlations, ``(k,)``."""
        return (self.a * self.b).sum(dim=0)

    @property
    def influence(self) -> Tensor:
        """What each pair adds to each correlation to first order, ``(n, k)``."""
        own = self.a.square() + self.b.square()
        return len(self.a) * (self.a * self.b - self.correlations / 2 * own)


def whitened_folds(
    x: Tensor, y: Tensor, codes: Tensor, *, ridge: float, seed: int
) -> list[WhitenedFold]:
    """``FOLDS`` folds of whole groups, with both sides whitened by the pairs outside each.

    The ridge is in units of the mean eigenvalue of each covariance, >= 0. Raises ``ValueError``
    where there are fewer groups than folds, or a covariance has no inverse.
    """
    folds = []
    for outside, inside in folds_of(codes, FOLDS, seed=seed):
        sides = _whitened("source", x, outside, ridge), _whitened("target", y, outside, ridge)
        folds.append(WhitenedFold(inside, outside, *sides))
    return folds


def pairings_within(
    folds: list[WhitenedFold], codes: Tensor, draws: int, generator: torch.Generator
) -> Tensor:
    """Random pairings of whole groups that leave each pair in its fold, ``(draws, n)`` int64.

    Neither side of a fold changes then, nor its whitening.
    """
    pairings = torch.empty(draws, len(codes), dtype=torch.int64)
    for fold in folds:
        own = torch.unique(codes[fold.inside], return_inverse=True)[1]
        pairings[:, fold.inside] = fold.inside[random_pairings(own, draws, generator)]
    return pairings


def held_out(folds: list[WhitenedFold], *, dims: int, pairing: Tensor | None = None) -> HeldOut:
    """Fit ``dims`` canonical directions outside each fold and project the fold.

    Each fold is centred by itself: what is left is how it varies along the directions. ``pairing``
    is the target row of each source row, ``(n,)`` int64; its own if left out.
    """
    n = len(folds[0].x)
    a, b = folds[0].x.new_empty(2, n, dims)
    for inside, outside, x, y in folds:
        paired = y if pairing is None else y.index_select(0, pairing)
        u, v = _leading(x[outside].T @ paired[outside], dims)
        a[inside], b[inside] = _centred(x[inside] @ u), _centred(paired[inside] @ v)
    return HeldOut(_unit_columns(a.double()), _unit_columns(b.double()))


def in_sample(folds: list[WhitenedFold], *, dims: int) -> Tensor:
    """Canonical correlations on the pairs outside a fold, mean over folds, ``(dims,)`` float64."""
    total = torch.zeros(dims, dtype=torch.float64)
    for _, outside, x, y in folds:
        x, y = x[outside], y[outside]
        u, v = _leading(x.T @ y, dims)
        total += (_unit_columns((x @ u).double()) * _unit_columns((y @ v).double())).sum(dim=0)
    return total / len(folds)


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
    if cross.shape[0] > cross.shape[1]:
        v, u = _leading(cross.T, dims)
        return u, v
    # A full SVD takes ten times as long.
    _, vectors = torch.linalg.eigh(cross @ cross.T)
    u = vectors[:, -dims:].flip(1)
    return u, _unit_columns(cross.T @ u)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=0)


def _unit_columns(x: Tensor) -> Tensor:
    """Columns divided by their norms; a column of zeros stays one."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=0)
    return x / norms.where(norms > 0, 1)
