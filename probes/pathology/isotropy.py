"""Whether one side spreads over all directions or crowds into a cone or a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from probes.estimates import (
    Measured,
    Null,
    influence_on_squared_mean,
    linearised,
    random_signs,
    upper_p,
)
from probes.inputs import Matrix, announce, codes_of, directions, matrix, near_one
from probes.pathology.dimension import (
    Side,
    isotropic_participation,
    of_sample,
    participation,
    too_few_rows,
)
from probes.space import Probe, Space
from probes.swapped_sides import NO_OFFSET

_FLIPS = 399
"""Random signs drawn for the null of the mean cosine; each costs as much as a bootstrap draw."""


def mean_cosine(x: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Mean cosine of two different rows; lower is better, 0 means no common direction.

    ``mean over i != j of cos(x_i, x_j)``, from the length of the sum of directions. Near 1 all
    rows lie in one narrow cone, and centring helps; the mean cosine is then that cone and not
    likeness of content. Invariant to rotation and to the length of rows. Costs O(n d).

    Args:
        x: One embedding per row, ``(n, d)``, no row all zeros.
        groups: Group names, ``n`` of them: two rows of one group are not counted.

    Returns:
        A cosine in [-1, 1], and not below -1 / (n - 1) without groups.

    Raises:
        ValueError: ``x`` is not a finite matrix of at least two rows, a row has no direction, or
            all rows are of one group.

    Reference:
        Ethayarajh 2019, arXiv:1909.00512, the baseline of anisotropy, estimated there from a
        sample of pairs; here it is exact over all of them.
    """
    rows = matrix("x", x, least=2)
    sums = _group_sums(directions("x", rows), codes_of(groups, len(rows)))
    return _mean_cosine(sums, torch.ones(1, len(sums.sizes), dtype=torch.float64)).item()


def iso_score(x: Matrix) -> float:
    """Share of the dimensions that the rows use evenly; higher is better, 1 is isotropic.

    ``((sum l)^2 / sum l^2 - 1) / (d - 1)`` for the eigenvalues ``l`` of the covariance: the
    participation ratio, moved to [0, 1]. 0 means that all variance lies along one axis. The mean
    plays no part; see ``mean_cosine``. Invariant to rotation, shift and scale. A sample of an
    isotropic cloud gives ``(v d / (v + d - 1) - 1) / (d - 1)`` with ``v = n - 1``, below 1: it is
    the sample's value that is measured, and what its interval is of. Costs
    O(n d min(n, d)).

    Args:
        x: One embedding per row, ``(n, d)`` with ``d >= 2``.

    Returns:
        A score in [0, 1].

    Raises:
        ValueError: ``x`` is not a finite matrix of at least two rows and two columns, or all rows
            are equal.

    Reference:
        Rudman et al. 2022, arXiv:2108.07344, algorithm 1. Its steps reduce to the line above:
        with ``s = sum l / ||l||`` the isotropy defect satisfies
        ``delta^2 (d - sqrt d) = d - s sqrt d``, so that ``phi = s^2 / d``.
    """
    rows = _with_width(x)
    announce(too_few_rows(rows))
    return _to_score(participation(rows).value, rows.shape[1])


def _with_width(x: Matrix) -> Tensor:
    ((rows,), _) = near_one(matrix("x", x, least=2))
    _check_width("x", rows)
    return rows


def _check_width(name: str, x: Tensor) -> None:
    if x.shape[1] < 2:
        raise ValueError(
            f"{name} must have at least two columns for variance to be spread; got {x.shape[1]}. "
            "Pass whole embeddings."
        )


def _to_score(participation_ratio: float, d: int) -> float:
    return (participation_ratio - 1) / (d - 1)


class _GroupSums(NamedTuple):
    """What the mean cosine needs of the rows of each of ``g`` groups.

    Attributes:
        sums: Sum of their directions, ``(g, d)``.
        within: Squared length of that sum, ``(g,)`` float64: the cosines that do not count.
        sizes: How many there are, ``(g,)`` float64.
    """

    sums: Tensor
    within: Tensor
    sizes: Tensor


def _group_sums(units: Tensor, codes: Tensor) -> _GroupSums:
    sizes = torch.bincount(codes).double()
    sums = units.new_zeros(len(sizes), units.shape[1]).index_add_(0, codes, units)
    return _GroupSums(sums, sums.square().sum(dim=1, dtype=torch.float64), sizes)


def _cosines(groups: _GroupSums, weights: Tensor) -> Tensor:
    """Sum of the cosines between different groups when each group weighs ``weights``, ``(b,)``.

    Args:
        groups: What is known of ``g`` groups.
        weights: ``(b, g)`` float64; a negative weight turns a group around.
    """
    total = (weights.to(groups.sums.dtype) @ groups.sums).square().sum(dim=1, dtype=torch.float64)
    return total - weights.square() @ groups.within


def _pairs(groups: _GroupSums, weights: Tensor) -> Tensor:
    """How many pairs of different groups there are under ``weights``, ``(b,)``."""
    return (weights @ groups.sizes).square() - weights.square() @ groups.sizes.square()


def _mean_cosine(groups: _GroupSums, weights: Tensor) -> Tensor:
    return _cosines(groups, weights) / _pairs(groups, weights)


def _measure_mean_cosine(space: Space, *, side: Side) -> Measured:
    x = space.source if side == "source" else space.target
    groups = _group_sums(directions(side, x), space.codes)
    once = torch.ones(1, len(groups.sizes), dtype=torch.float64)
    value = _mean_cosine(groups, once).item()
    signs = random_signs(
        torch.arange(len(groups.sizes)), _FLIPS, space.generator(f"mean_cosine_{side}")
    )
    under_null = _cosines(groups, signs) / _pairs(groups, once)
    return Measured(
        value,
        linearised(value, influence_on_squared_mean(groups.sums.double(), space.codes, value)),
        null=Null(0.0, None if space.is_centred else upper_p(value, under_null)),
        notes=(NO_OFFSET,) if space.is_centred else (),
    )


def _measure_iso_score(space: Space, *, side: Side) -> Measured:
    x = space.source if side == "source" else space.target
    _check_width(side, x)
    n, d = x.shape
    ratio, influence = participation(x)
    value = _to_score(ratio, d)
    return Measured(
        value,
        linearised(value, influence / (d - 1)),
        null=Null(_to_score(isotropic_participation(n, d), d)),
        notes=of_sample(x),
    )


_cosine_probe = partial(
    Probe,
    family="pathology",
    better="neither",
    needs="sides",
    interval="bootstrap over pairs, to first order, held to the spread of a U-statistic",
    null="random sign of each group",
)
_score_probe = partial(
    Probe,
    family="pathology",
    better="neither",
    needs="sides",
    interval="bootstrap over pairs, to first order: of the sample's value; wide rather than narrow",
    null="isotropic sample of the same size",
)

MEAN_COSINE_SOURCE = _cosine_probe(
    name="mean_cosine_source",
    label="Mean cosine, source",
    measure=partial(_measure_mean_cosine, side="source"),
)
MEAN_COSINE_TARGET = _cosine_probe(
    name="mean_cosine_target",
    label="Mean cosine, target",
    measure=partial(_measure_mean_cosine, side="target"),
)
ISO_SCORE_SOURCE = _score_probe(
    name="iso_score_source",
    label="IsoScore, source",
    measure=partial(_measure_iso_score, side="source"),
)
ISO_SCORE_TARGET = _score_probe(
    name="iso_score_target",
    label="IsoScore, target",
    measure=partial(_measure_iso_score, side="target"),
)
