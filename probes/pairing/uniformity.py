"""Alignment of partners and uniformity of the clouds, on the unit sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from align._checks import check_positive
from probes.estimates import Measured, Null, held_to_spread, linearised, mean_of
from probes.inputs import Matrix, check_unit, codes_of, common_space, matrix
from probes.pairing.margin import mean_product_apart, p_of_mean_cosine
from probes.space import Probe, Space

_T = 2.0
"""Sharpness of the kernel in the paper's experiments and in the report."""


def alignment(source: Matrix, target: Matrix) -> float:
    """Mean squared distance of partners; lower is better.

    ``mean ||z_i - w_i||^2`` of unit vectors, that is ``2 - 2 cos`` on average, in [0, 4]: 0 where
    partners coincide. Partners drawn at random give ``2 - 2 cos`` averaged over false pairs, which
    is 2 without a shared direction. Cost O(n d).

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width and unit norm.

    Reference:
        Wang and Isola 2020, arXiv:2005.10242, section 4, with exponent 2.
    """
    return _squared_distances(*_unit_sides(source, target)).mean().item()


def pair_distance(source: Matrix, target: Matrix) -> float:
    """Mean distance of partners (L2I); lower is better.

    ``mean ||z_i - w_i||`` of unit vectors, in [0, 2]: 0 where partners coincide, about
    ``sqrt(2)`` for unrelated vectors of many dimensions. Cost O(n d).

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width and unit norm.

    Reference:
        Schrodi et al. 2024, arXiv:2404.07983, the instance-wise counterpart of the distance of
        centroids.
    """
    return _squared_distances(*_unit_sides(source, target)).sqrt().mean().item()


def uniformity(x: Matrix, *, t: float = _T, groups: Sequence[str] | None = None) -> float:
    """Logarithm of the mean Gaussian kernel between items of one cloud; lower is better.

    ``log mean exp(-t ||x_i - x_j||^2)`` over rows of different groups, in [-4 t, 0]: 0 where all
    rows coincide. For points drawn uniformly from the sphere it is ``log 0F1(d/2; t^2) - 2 t``,
    the lowest that a distribution can reach: -3.98 at ``t = 2`` and ``d = 384``. Cost O(n² d) and
    ``n²`` kernel values held.

    Args:
        x: Unit-norm embeddings, ``(n, d)``.
        t: Sharpness of the kernel, above 0.
        groups: Group name of each row: rows of one group are not compared.

    Raises:
        ValueError: ``x`` is not a finite matrix of unit norm with two rows, ``t`` is not above 0,
            ``groups`` do not fit, or all rows are of one group.

    Reference:
        Wang and Isola 2020, arXiv:2005.10242, section 4; as in their code, a row is not compared
        with itself.
    """
    rows = matrix("x", x, least=2)
    check_unit("x", rows)
    check_positive("t", t)
    return _log_mean_kernel(rows @ rows.T, codes_of(groups, len(rows)), t)[0]


def cross_uniformity(
    source: Matrix, target: Matrix, *, t: float = _T, groups: Sequence[str] | None = None
) -> float:
    """Logarithm of the mean Gaussian kernel between false pairs across sides; lower is better.

    ``log mean exp(-t ||z_i - w_j||^2)`` over pairs of different groups, in [-4 t, 0]; 0 where
    all vectors coincide, ``log 0F1(d/2; t^2) - 2 t`` for sides drawn uniformly from the sphere and
    independently. A gap lowers it as well, since it takes the sides apart: read it with
    ``alignment``. Cost O(n² d) and ``n²`` kernel values held.

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.
        t: Sharpness of the kernel, above 0.
        groups: Group name of each pair: pairs of one group are never false pairs.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width and unit norm, ``t``
            is not above 0, ``groups`` do not fit, or all pairs are of one group.

    Reference:
        Fahim, Murphy and Fyshe 2024, arXiv:2405.18570, the cross-modal uniformity, with the
        kernel of Wang and Isola 2020, arXiv:2005.10242.
    """
    x, y = _unit_sides(source, target)
    check_positive("t", t)
    return _log_mean_kernel(x @ y.T, codes_of(groups, len(x)), t)[0]


def _unit_sides(source: Matrix, target: Matrix) -> tuple[Tensor, Tensor]:
    x, y = common_space(source, target)
    check_unit("source", x)
    check_unit("target", y)
    return x, y


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return (x.double() - y.double()).square().sum(dim=1)


def _log_mean_kernel(cosines: Tensor, codes: Tensor, t: float) -> tuple[float, Tensor]:
    """Log of the mean of ``exp(2 t (cos - 1))`` over rows of different groups.

    With it, the influence of each pair, ``(n,)``, through its row and its column. Weighing the
    double sum itself would overstate the spread: the chance part of each kernel value would come
    in twice over, and what is left of that is taken off as in ``held_to_spread``.

    Args:
        cosines: ``(n, n)``; overwritten.
        codes: Group code of each row, ``(n,)`` int64.
        t: Sharpness of the kernel.
    """
    cosines.masked_fill_(codes[:, None] == codes, -torch.inf)
    # Relative to the closest pair: for a large t nothing but that pair is left of the sum.
    top = cosines.max().item()
    kernel = cosines.sub_(top).mul_(2 * t).exp_()
    sums = kernel.sum(dim=0, dtype=torch.float64) + kernel.sum(dim=1, dtype=torch.float64)
    others = (len(codes) - torch.bincount(codes))[codes].double()
    mean = (sums.sum() / (2 * others.sum())).item()
    influence = len(codes) * (2 * sums / sums.sum() - 2 * others / others.sum())
    # What no row and no column explains, of the mean of a kernel value and the one across from it.
    squares = (kernel.square().sum(dtype=torch.float64) + (kernel * kernel.T).sum()) / 2
    of_rows = (sums / (2 * others) - mean).square() @ others
    left = squares.item() - others.sum().item() * mean**2 - 2 * of_rows.item()
    second = 2 * max(left, 0.0) / (others.sum().item() * mean) ** 2
    return math.log(mean) + 2 * t * (top - 1), held_to_spread(influence, codes, second)


def _uniform_on_sphere(d: int) -> float:
    """Uniformity at ``_T`` of points drawn uniformly from the unit sphere of ``d`` dimensions.

    The mean of ``exp(k u)`` over the cosine ``u`` of two such points is ``0F1(d/2; k^2 / 4)``.

    Reference:
        Mardia and Jupp 2000, Directional Statistics, section 9.3.2: the normalising constant of
        the von Mises-Fisher distribution.
    """
    from scipy.special import hyp0f1

    return math.log(hyp0f1(d / 2, _T**2)) - 2 * _T


def _measure_alignment(space: Space) -> Measured:
    value, replicate = mean_of(_squared_distances(space.source, space.target))
    strangers, _ = mean_product_apart(space.source, space.target, space.codes)
    return Measured(value, replicate, null=Null(2 - 2 * strangers, p_of_mean_cosine(space)))


def _measure_uniformity(space: Space, *, side: Literal["source", "target"]) -> Measured:
    rows = space.source if side == "source" else space.target
    value, influence = _log_mean_kernel(rows @ rows.T, space.codes, _T)
    return Measured(
        value, linearised(value, influence), null=Null(_uniform_on_sphere(rows.shape[1]))
    )


def _measure_cross_uniformity(space: Space) -> Measured:
    value, influence = _log_mean_kernel(space.cross.clone(), space.codes, _T)
    null = Null(_uniform_on_sphere(space.source.shape[1]))
    return Measured(value, linearised(value, influence), null=null)


_INTERVAL = "bootstrap over pairs, to first order"
_SPHERE = "uniform on the sphere"

ALIGNMENT = Probe(
    name="alignment",
    label="Alignment",
    family="pairing",
    better="lower",
    needs="common space",
    scale="spread",
    measure=_measure_alignment,
    null="random pairing",
)

UNIFORMITY_SOURCE, UNIFORMITY_TARGET = (
    Probe(
        name=f"uniformity_{side}",
        label=f"Uniformity of {side}",
        family="pairing",
        better="lower",
        needs="sides",
        scale="width",
        measure=partial(_measure_uniformity, side=side),
        interval=_INTERVAL,
        null=_SPHERE,
    )
    for side in ("source", "target")
)

CROSS_UNIFORMITY = Probe(
    name="cross_uniformity",
    label="Uniformity across sides",
    family="pairing",
    better="lower",
    needs="common space",
    scale="width",
    measure=_measure_cross_uniformity,
    interval=_INTERVAL,
    null="uniform on the sphere, sides independent",
)
