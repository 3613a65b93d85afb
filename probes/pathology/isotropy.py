"""Whether one side spreads over all directions or crowds into a cone or a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from align.data.sides import Side
from probes.estimates import Measured, Null, SmoothEstimate, SquaredMean
from probes.inputs import Matrix, announce, codes_of, directions, matrix, near_one
from probes.nulls import NO_OFFSET, p_of_signs
from probes.pathology import dimension
from probes.space import Probe, Space, for_each_side

_FLIPS = 399
"""Random signs drawn for the null of the mean cosine; each costs as much as a bootstrap draw."""


def mean_cosine(x: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Mean cosine of two different rows; lower is better, 0 means no common direction.

    ``mean over i != j of cos(x_i, x_j)``, from the length of the sum of directions. In [-1, 1], and
    not below -1 / (n - 1) without groups. Near 1 all rows lie in one narrow cone, and centring
    helps; the mean cosine is then that cone and not likeness of content. Invariant to rotation and
    to the length of rows. Costs O(n d).

    Norms: any; a cosine does not depend on them.

    Args:
        x: One embedding per row, ``(n, d)``, no row all zeros.
        groups: Group name of each row: two rows of one group are not counted.

    Raises:
        ValueError: ``x`` is not a finite matrix of at least two rows, a row has no direction, or
            all rows are of one group.

    Meaning:
        Whether the vectors of one side all point into one cone.

    Beware:
        A cone does no harm by itself: items can be told apart within it.

    Range:
        In [-1, 1]; 0 with nothing there; neither is better.

    Reference:
        Ethayarajh 2019, arXiv:1909.00512, the baseline of anisotropy, estimated there from a
        sample of pairs; here it is exact over all of them.

    Examples:
        >>> import torch, probes
        >>> probes.mean_cosine(torch.eye(4))
        0.0
    """
    rows = matrix("x", x, least=2)
    return SquaredMean.of(directions("x", rows), codes_of(groups, len(rows))).value


def iso_score(x: Matrix) -> float:
    """Share of the dimensions that the rows use evenly; higher is better, 1 is isotropic.

    ``((sum l)^2 / sum l^2 - 1) / (d - 1)`` for the eigenvalues ``l`` of the covariance: the
    participation ratio, moved to [0, 1]. 0 means that all variance lies along one axis. The mean
    plays no part; see ``mean_cosine``. Invariant to rotation, shift and scale. A sample of an
    isotropic cloud gives ``(v d / (v + d - 1) - 1) / (d - 1)`` with ``v = n - 1``, below 1: it is
    the sample's value that is measured, and what its interval is of. Costs O(n d min(n, d)).

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        x: One embedding per row, ``(n, d)`` with ``d >= 2``.

    Raises:
        ValueError: ``x`` is not a finite matrix of at least two rows and two columns, or all rows
            are equal.

    Meaning:
        How evenly the variance of one side fills its dimensions.

    Beware:
        Even is not good: a side that is noise all over has a score near 1.

    Range:
        In [0, 1]; that of an isotropic sample with nothing there; neither is better.

    Reference:
        Rudman et al. 2022, arXiv:2108.07344, algorithm 1. Its steps reduce to the line above:
        with ``s = sum l / ||l||`` the isotropy defect satisfies
        ``delta^2 (d - sqrt d) = d - s sqrt d``, so that ``phi = s^2 / d``.

    Examples:
        >>> import torch, probes
        >>> x = torch.cat([torch.eye(4), -torch.eye(4)])
        >>> round(probes.iso_score(x), 3)
        1.0
    """
    (rows,), _ = near_one(matrix("x", x, least=2))
    announce(dimension.too_few_rows(rows))
    _check_width("x", rows.shape[1])
    return _iso_score(dimension.participation(dimension.Spread.of(rows)), rows.shape[1]).value


def _check_width(name: str, d: int) -> None:
    if d < 2:
        raise ValueError(
            f"{name} must have at least two columns for variance to be spread; got {d}. "
            "Pass whole embeddings."
        )


def _iso_score(ratio: SmoothEstimate, d: int) -> SmoothEstimate:
    return SmoothEstimate((ratio.value - 1) / (d - 1), ratio.influence / (d - 1))


def _iso_score_of(space: Space, side: Side) -> SmoothEstimate:
    d = space.side(side).shape[1]
    _check_width(side, d)
    return _iso_score(dimension.participation_of(space, side), d)


def _measure_mean_cosine(space: Space, *, side: Side) -> Measured:
    squared = SquaredMean.of(directions(side, space.side(side)), space.codes)
    generator = space.generator(f"mean_cosine_{side}")
    return Measured(
        squared.value,
        squared.replicate,
        null=Null(0.0, None if space.is_centred else p_of_signs(squared, _FLIPS, generator)),
        notes=(NO_OFFSET,) if space.is_centred else (),
    )


def _measure_iso_score(space: Space, *, side: Side) -> Measured:
    return dimension.measured_spectrum(
        space,
        side=side,
        estimate=_iso_score_of,
        isotropic=lambda n, d: (dimension.isotropic_participation(n, d) - 1) / (d - 1),
    )


MEAN_COSINE_SOURCE, MEAN_COSINE_TARGET = for_each_side(
    partial(
        Probe,
        family="pathology",
        better="neither",
        needs="sides",
        interval="bootstrap over pairs, to first order, held to the spread of a U-statistic",
        null="random sign of each group",
        extreme=1.0,
        function=mean_cosine,
    ),
    "mean_cosine",
    "Mean cosine,",
    _measure_mean_cosine,
)
ISO_SCORE_SOURCE, ISO_SCORE_TARGET = for_each_side(
    partial(dimension.spectrum_probe, extreme=0.0, function=iso_score),
    "iso_score",
    "IsoScore,",
    _measure_iso_score,
)
