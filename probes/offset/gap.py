"""Offset of the two clouds: how far apart their centres are, and how much of the spread that is.

What is squared is estimated without bias: from pairs of different groups only, so that neither the
noise of a centroid nor the closeness of true partners enters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from probes.estimates import Measured, Null, SquaredMean, pairs_apart, sums_of_groups
from probes.inputs import Matrix, codes_of, common_space, near_one, unit_pairs
from probes.nulls import NO_OFFSET, p_of_signs
from probes.space import Probe, Space


def squared_modality_gap(
    source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None
) -> float:
    """Unbiased squared distance of the centroids of two unit-norm clouds; lower is better.

    The mean of ``<delta_i, delta_j>`` over ordered pairs ``i, j`` of different groups, where
    ``delta = source - target``. The plain ``||mean delta||^2`` is too large by ``tr Cov(delta)/n``,
    and subtracting ``tr S_source / n + tr S_target / n``, as for two independent samples, takes
    away too much, as partners depend on each other. At most 4; 0 where the centroids coincide, and
    then as often below as above. Costs O(n d).

    Norms: 1; rows of any other are refused.

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.
        groups: Group name of each pair; each pair is its own group if left out.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with unit-norm rows,
            or there are fewer than two groups.

    Reference:
        Liang et al. 2022, arXiv:2203.02053 (there without the correction); the correction is that
        of a U-statistic, Hoeffding 1948, doi:10.1214/aoms/1177730196.

    Examples:
        >>> import torch, probes
        >>> x = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
        >>> probes.squared_modality_gap(x, -x)
        4.0
    """
    x, y = unit_pairs(source, target)
    return _difference(x, y, codes_of(groups, len(x))).value


def modality_gap(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Distance of the centroids of two unit-norm clouds, corrected for bias; lower is better.

    The root of the positive part of ``squared_modality_gap``: an unbiased estimate of a square
    falls below 0 where the square is about 0, and the distance is then reported as 0. The root
    itself is only unbiased up to order 1/n.

    In [0, 2]; 0 where the centroids coincide. An et al. call 0.63 and more severe, 0.19 to 0.63
    moderate and less than 0.19 low. Subtracting the mean of each side brings it to 0 whatever the
    clouds look like, so it says nothing about success on its own. Costs O(n d).

    Norms: 1; rows of any other are refused.

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.
        groups: Group name of each pair; each pair is its own group if left out.

    Raises:
        ValueError: As for ``squared_modality_gap``.

    Meaning:
        How far apart the centres of the two clouds are.

    Beware:
        Subtracting each side's mean brings it to 0 whatever the clouds look like: it says nothing
        of whether partners are found.

    Range:
        In [0, 2]; 0 with nothing there; lower is better.

    Reference:
        Liang et al. 2022, arXiv:2203.02053; the bands are those of An et al. 2024 (I0T),
        arXiv:2412.14384.

    Examples:
        >>> import torch, probes
        >>> x = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
        >>> probes.modality_gap(x, -x)
        2.0
    """
    return math.sqrt(max(squared_modality_gap(source, target, groups=groups), 0.0))


def gap_energy_share(
    source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None
) -> float:
    """Share of the variance of both clouds that the modality label explains; lower is better.

    ``eta^2 = (D/4) / (D/4 + (tr S_source + tr S_target)/2)`` with ``D`` the squared distance of
    the centroids: the between-class part of the total variance of the ``2n`` items. Every term is
    estimated without bias from pairs of different groups, ``D`` as in ``squared_modality_gap`` and
    a trace as the mean of ``||x_i - x_j||^2 / 2``.

    At most 1 (two different points); 0 where the centroids coincide, and then slightly negative as
    often as slightly positive. Rotation, translation of both sides and a common scale do not change
    it, so that it can be compared across encoders, which the plain distance cannot. Costs O(n d).

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d)``; any norm.
        target: Target embeddings of the same pairs, ``(n, d)``; any norm.
        groups: Group name of each pair; each pair is its own group if left out.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, there are fewer than
            two groups, or all rows of both sides are one point.

    Meaning:
        How much of the spread of all items comes from which side they are on.

    Beware:
        It sees the centres only: clouds of different shape, or without any pairing, can have a
        share of 0.

    Range:
        At most 1; 0 with nothing there; lower is better.

    Reference:
        Fisher 1925, Statistical Methods for Research Workers (correlation ratio), here
        with traces in place of variances.

    Examples:
        >>> import torch, probes
        >>> x = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
        >>> probes.gap_energy_share(x, -x)
        1.0
    """
    (x, y), _ = near_one(*common_space(source, target))
    return _EnergyShare.of(x, y, codes_of(groups, len(x))).value


def _difference(x: Tensor, y: Tensor, codes: Tensor) -> SquaredMean:
    return SquaredMean.of(x.double() - y.double(), codes)


@dataclass(frozen=True, eq=False)
class _EnergyShare:
    """Between-class share of the variance of both sides.

    The total variance is that of the middles of the pairs plus a quarter of the mean square of
    their differences, and swapping the sides of a pair changes neither. So the share orders the
    swaps as the squared gap does, and its p-value is that of the squared gap.
    """

    difference: SquaredMean  # of source - target
    middle: SquaredMean  # of (source + target) / 2
    power: Tensor  # sum over each group of the mean square norm of the two sides, (g,) float64

    @classmethod
    def of(cls, x: Tensor, y: Tensor, codes: Tensor) -> _EnergyShare:
        middle = SquaredMean.of((x.double() + y.double()) / 2, codes)
        squares = (x.double().square().sum(dim=1) + y.double().square().sum(dim=1)) / 2
        share = cls(_difference(x, y, codes), middle, sums_of_groups(squares, codes))
        if share.total <= torch.finfo(x.dtype).eps * squares.mean().item():
            raise ValueError(
                "source and target must vary, or differ, for a share of their variance; all rows "
                f"of both are one point up to rounding, of norm {squares.mean().sqrt():.4g}. "
                "Check the encoders: they gave the same vector for every item."
            )
        return share

    @property
    def total(self) -> float:
        ones = torch.ones(1, len(self.power), dtype=torch.float64)
        return self._powers(ones).item() / self.middle.apart - self.middle.value

    @property
    def value(self) -> float:
        return self.difference.value / 4 / self.total

    def replicate(self, weights: Tensor) -> Tensor:
        # A row of each group will do: weights are constant within it.
        of_group = weights[:, np.unique(self.middle.codes.numpy(), return_index=True)[1]]
        whole = self._powers(of_group) - self.middle.totals(of_group)
        between = self.difference.replicate(weights) / 4
        return between / (whole / pairs_apart(weights, self.middle.codes))

    def _powers(self, of_group: Tensor) -> Tensor:
        """Sum over pairs of rows of different groups of the mean of their two powers."""
        of_rows = of_group * self.middle.sizes
        return (of_group * (of_rows.sum(dim=1, keepdim=True) - of_rows)) @ self.power


def _null(space: Space, squared: SquaredMean) -> Null:
    # Gap and share see the same swaps: the two order them alike and must not disagree. The 499 of
    # them cost one product, as much as half of the bootstrap.
    generator = space.generator("modality_gap")
    return Null(0.0, None if space.is_centred else p_of_signs(squared, 499, generator))


def _measure_modality_gap(space: Space) -> Measured:
    squared = _difference(space.source, space.target, space.codes)
    return Measured(
        math.sqrt(max(squared.value, 0.0)),
        replicate=lambda weights: squared.replicate(weights).clamp(min=0).sqrt(),
        null=_null(space, squared),
        notes=(NO_OFFSET,) if space.is_centred else (),
    )


def _measure_gap_energy_share(space: Space) -> Measured:
    share = _EnergyShare.of(space.source, space.target, space.codes)
    return Measured(
        share.value,
        replicate=share.replicate,
        null=_null(space, share.difference),
        notes=(NO_OFFSET,) if space.is_centred else (),
    )


_probe = partial(
    Probe,
    family="offset",
    better="lower",
    needs="common space",
    interval="bootstrap over pairs, to first order, held to the spread of a U-statistic",
    null="centroids that coincide: 0; p by swapping the two sides of random pairs",
)
MODALITY_GAP = _probe(
    name="modality_gap",
    label="Centroid gap",
    measure=_measure_modality_gap,
    extreme=2.0,
    function=modality_gap,
)
GAP_ENERGY_SHARE = _probe(
    name="gap_energy_share",
    label="Gap energy share",
    measure=_measure_gap_energy_share,
    extreme=1.0,
    function=gap_energy_share,
)
