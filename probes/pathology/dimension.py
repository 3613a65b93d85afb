"""How many dimensions the variance of one side fills: collapse shows here first."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from align.data.sides import Side
from probes.estimates import Measured, Null, SmoothEstimate
from probes.inputs import Matrix, announce, matrix, near_one
from probes.space import Probe, Space, for_each_side, once_per_space

_NEARLY = 0.99
"""Share of its dimensions that an isotropic sample shows, from which on it stands for its cloud."""


def participation_ratio(x: Matrix) -> float:
    """Number of dimensions that carry the variance, large ones counting most.

    ``(sum l)^2 / sum l^2`` for the eigenvalues ``l`` of the covariance, in [1, min(n - 1, d)]: 1 if
    all variance lies along one axis, ``d`` if it is the same along all. A fall at one width, as by
    training, means collapse; between widths the value moves by itself. A sample of ``n`` rows of an
    isotropic cloud gives about ``v d / (v + d - 1)`` with ``v = n - 1``: it is the sample's value
    that is measured, and what its interval is of, not the cloud's. Invariant to rotation, shift and
    scale. Costs O(n d min(n, d)).

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        x: One embedding per row, ``(n, d)``.

    Raises:
        ValueError: ``x`` is not a finite matrix of at least two rows, or all rows are equal.

    Warns:
        UnreliableEstimate: With ``n < 2 d`` the value is well below that of the cloud.

    Meaning:
        How many dimensions carry the variance of one side, strong ones counting most.

    Beware:
        One strong direction hides all others; between widths it moves by itself.

    Range:
        In [1, min(n - 1, d)]; that of an isotropic sample with nothing there; neither is better.

    Reference:
        Gao et al. 2017, doi:10.1101/214262, for the covariance of the rows.

    Examples:
        >>> import torch, probes
        >>> x = torch.cat([torch.eye(4), -torch.eye(4)])
        >>> round(probes.participation_ratio(x), 3)
        4.0
    """
    (rows,), _ = near_one(matrix("x", x, least=2))
    announce(too_few_rows(rows))
    return participation(Spread.of(rows)).value


def effective_rank(x: Matrix) -> float:
    """Number of dimensions that the variance fills.

    ``exp(-sum p ln p)`` for the eigenvalues of the covariance divided by their sum, ``p``: 1 if
    all variance lies along one axis, ``d`` if it is the same along all. Small eigenvalues count
    for more than in the participation ratio, which it is never below. A fall at one
    width, as by training, means collapse; between widths the value moves by itself. A sample of
    ``n`` rows of an isotropic cloud gives about ``a exp(-a / (2 b))``, where
    ``a`` is the smaller of ``n - 1`` and ``d`` and ``b`` the larger (Page 1993,
    doi:10.1103/PhysRevLett.71.1291): it is the sample's value that is measured, and what its
    interval is of, not the cloud's. Invariant to rotation, shift and scale. Costs
    O(n d min(n, d)).

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        x: One embedding per row, ``(n, d)``.

    Returns:
        A number in [1, min(n - 1, d)]. With ``n < 2 d`` it is well below that of the cloud the
        rows come from, and ``UnreliableEstimate`` is warned.

    Raises:
        ValueError: ``x`` is not a finite matrix of at least two rows, or all rows are equal.

    Meaning:
        How many dimensions the variance of one side fills, small ones counting too.

    Beware:
        It is that of the sample and too low where there are fewer than twice as many items as
        dimensions; between widths it moves by itself.

    Range:
        In [1, min(n - 1, d)]; that of an isotropic sample with nothing there; neither is better.

    Reference:
        Roy and Vetterli 2007, EUSIPCO, definition 1, with the covariance as the matrix whose
        singular values are taken. RankMe (Garrido et al. 2023, arXiv:2210.02885) takes those of
        ``x`` itself, uncentred: the roots of the eigenvalues, which are more even, so that it
        reads higher.

    Examples:
        >>> import torch, probes
        >>> x = torch.cat([torch.eye(4), -torch.eye(4)])
        >>> round(probes.effective_rank(x), 3)
        4.0
    """
    (rows,), _ = near_one(matrix("x", x, least=2))
    announce(too_few_rows(rows))
    return _spectral_entropy(Spread.of(rows)).value


def too_few_rows(x: Tensor) -> tuple[str, ...]:
    """A note if the rows are too few for the spectrum of their covariance, ``(n, d)``."""
    n, d = x.shape
    if n >= 2 * d:
        return ()
    return (
        f"{n} rows in {d} dimensions make the spectrum look steeper than it is, and at most "
        f"{min(n - 1, d)} dimensions can show at all: the value is biased down. Compare it at "
        f"equal n only, or take at least {2 * d} rows.",
    )


def of_sample(x: Tensor) -> tuple[str, ...]:
    """A note that a spectrum is that of these rows ``(n, d)``, if far from that of their cloud."""
    n, d = x.shape
    shown = isotropic_participation(n, d)
    if n < 2 * d or shown > _NEARLY * d:
        return too_few_rows(x)
    return (
        f"Effective rank, participation ratio and IsoScore are those of these {n} rows, and so are "
        "their intervals; the cloud that the rows come from fills more dimensions. An isotropic "
        f"one of {d} would show a participation ratio of {shown:.3g}.",
    )


class Spread(NamedTuple):
    """How rows lie around their mean: the eigenvalues are those of their covariance."""

    rows: Tensor  # less their mean, scaled, (n, d)
    moments: Tensor  # of rows, (d, d), or their inner products, (n, n), whichever is smaller

    @classmethod
    def of(cls, x: Tensor) -> Spread:
        """The spread of rows ``(n, d)``."""
        rows = _centred(x)
        n, d = rows.shape
        return cls(rows, (rows.T @ rows if d <= n else rows @ rows.T) / n)

    @property
    def of_axes(self) -> bool:
        """Whether the moments are those of axes and not of rows."""
        return self.rows.shape[1] <= self.rows.shape[0]


@once_per_space
def spread_of(space: Space, side: Side) -> Spread:
    """That of one side of a space, which several probes look at."""
    return Spread.of(space.side(side))


def participation(spread: Spread) -> SmoothEstimate:
    """The participation ratio of the covariance."""
    rows, moments = spread
    if spread.of_axes:
        along = (rows @ moments).mul_(rows).sum(dim=1, dtype=torch.float64)
    else:
        along = moments.square().sum(dim=1, dtype=torch.float64) * len(rows)
    # Of each row: its squared length, and its variance under the covariance of all.
    lengths = rows.square().sum(dim=1, dtype=torch.float64)
    value = (lengths.mean().square() / along.mean()).item()
    return SmoothEstimate(value, 2 * value * (lengths / lengths.mean() - along / along.mean()))


@once_per_space
def participation_of(space: Space, side: Side) -> SmoothEstimate:
    """The participation ratio of one side of a space."""
    return participation(spread_of(space, side))


def isotropic_participation(n: int, d: int) -> float:
    """The participation ratio to expect of ``n`` random directions in ``d`` dimensions."""
    return (n - 1) * d / (n + d - 2)


def _spectral_entropy(spread: Spread) -> SmoothEstimate:
    rows, moments = spread
    eigenvalues, axes = torch.linalg.eigh(moments)
    if spread.of_axes:
        scores = (rows @ axes).square_()
    else:
        scores = axes.square() * eigenvalues * len(rows)
    # Rounding leaves eigenvalues of about zero on either side of it; none of them counts.
    positive = eigenvalues > 0
    total = eigenvalues[positive].sum(dtype=torch.float64)
    shares = eigenvalues[positive].double() / total
    logs = shares.log()
    entropy = -(shares * logs).sum()
    influence = -(scores[:, positive].double() @ (logs + entropy)) * entropy.exp() / total
    return SmoothEstimate(entropy.exp().item(), influence)


def _rank_of(space: Space, side: Side) -> SmoothEstimate:
    return _spectral_entropy(spread_of(space, side))


def _isotropic_rank(n: int, d: int) -> float:
    few, many = min(n - 1, d), max(n - 1, d)
    return few * math.exp(-few / (2 * many))


def _centred(x: Tensor) -> Tensor:
    """Rows less their mean, scaled so that no square can overflow or vanish."""
    if bool((x == x[0]).all()):
        raise ValueError(
            f"rows must differ for their spread to be measured; all {len(x)} are equal. Look for "
            "an encoder that gives one vector for everything."
        )
    rows = x.double()
    rows = rows - rows.mean(dim=0)
    return (rows / rows.abs().max()).to(x.dtype)


def measured_spectrum(
    space: Space,
    *,
    side: Side,
    estimate: Callable[[Space, Side], SmoothEstimate],
    isotropic: Callable[[int, int], float],
) -> Measured:
    """A function of the spectrum of one side, beside what it is for isotropic ``(n, d)``."""
    x = space.side(side)
    return estimate(space, side).measured(Null(isotropic(*x.shape)), notes=of_sample(x))


spectrum_probe = partial(
    Probe,
    family="pathology",
    better="neither",
    needs="sides",
    interval="bootstrap over pairs, to first order: of the sample's value; wide rather than narrow",
    null="isotropic sample of the same size",
    extreme=1.0,
)
PARTICIPATION_SOURCE, PARTICIPATION_TARGET = for_each_side(
    partial(spectrum_probe, function=participation_ratio),
    "participation_ratio",
    "Participation ratio,",
    partial(measured_spectrum, estimate=participation_of, isotropic=isotropic_participation),
)
EFFECTIVE_RANK_SOURCE, EFFECTIVE_RANK_TARGET = for_each_side(
    partial(spectrum_probe, function=effective_rank),
    "effective_rank",
    "Effective rank,",
    partial(measured_spectrum, estimate=_rank_of, isotropic=_isotropic_rank),
)
