"""Alignment of partners and uniformity of the clouds, on the unit sphere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from align._checks import check_positive
from align.data.sides import Side
from probes.estimates import (
    Measured,
    Null,
    SmoothEstimate,
    held_to_spread,
    mean_of,
    sizes_of_others,
)
from probes.inputs import Matrix, check_unit, codes_of, matrix, unit_pairs
from probes.pairing.margin import mean_product_apart, p_of_mean_cosine
from probes.space import Probe, Space, for_each_side

_ROWS = 128  # rows compared with all others at a time: a block stays in the cache
_T = 2.0  # sharpness of the kernel in the paper's experiments and in the report


def alignment(source: Matrix, target: Matrix) -> float:
    """Mean squared distance of partners; lower is better.

    ``mean ||z_i - w_i||^2`` of unit vectors, that is ``2 - 2 cos`` on average, in [0, 4]: 0 where
    partners coincide. Partners drawn at random give ``2 - 2 cos`` averaged over false pairs, which
    is 2 without a shared direction. Cost O(n d).

    Norms: 1; rows of any other are refused.

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width and unit norm.

    Meaning:
        How far partners are apart, in squared distance of unit vectors.

    Beware:
        It is 0 for a space in which everything is one point: read it with uniformity.

    Range:
        In [0, 4]; the mean over false pairs with nothing there; lower is better.

    Reference:
        Wang and Isola 2020, arXiv:2005.10242, section 4, with exponent 2.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(3)
        >>> probes.alignment(x, x), probes.alignment(x, -x)
        (0.0, 4.0)
    """
    return _squared_distances(*unit_pairs(source, target)).mean().item()


def pair_distance(source: Matrix, target: Matrix) -> float:
    """Mean distance of partners (L2I); lower is better.

    ``mean ||z_i - w_i||`` of unit vectors, in [0, 2]: 0 where partners coincide, about
    ``sqrt(2)`` for unrelated vectors of many dimensions. Cost O(n d).

    Norms: 1; rows of any other are refused.

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width and unit norm.

    Reference:
        Schrodi et al. 2024, arXiv:2404.07983, the instance-wise counterpart of the distance of
        centroids.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(3)
        >>> probes.pair_distance(x, x), probes.pair_distance(x, -x)
        (0.0, 2.0)
    """
    return _squared_distances(*unit_pairs(source, target)).sqrt().mean().item()


def uniformity(x: Matrix, *, t: float = _T, groups: Sequence[str] | None = None) -> float:
    """Logarithm of the mean Gaussian kernel between items of one cloud; lower is better.

    ``log mean exp(-t ||x_i - x_j||^2)`` over rows of different groups, in [-4 t, 0]: 0 where all
    rows coincide. For points drawn uniformly from the sphere it is ``log 0F1(d/2; t^2) - 2 t``,
    the lowest that a distribution can reach: -3.98 at ``t = 2`` and ``d = 384``. Cost O(n² d) and
    ``n²`` kernel values held.

    Norms: 1; rows of any other are refused.

    Args:
        x: Unit-norm embeddings, ``(n, d)``.
        t: Sharpness of the kernel, above 0.
        groups: Group name of each row: rows of one group are not compared.

    Raises:
        ValueError: ``x`` is not a finite matrix of unit norm with two rows, ``t`` is not above 0,
            ``groups`` do not fit, or all rows are of one group.

    Meaning:
        How evenly the items of one side are spread over the sphere.

    Beware:
        It is of one side only, and depends on the width: compare it at one width.

    Range:
        In [-4 t, 0]; that of the uniform distribution with nothing there; lower is better.

    Reference:
        Wang and Isola 2020, arXiv:2005.10242, section 4; as in their code, a row is not compared
        with itself.

    Examples:
        >>> import torch, probes
        >>> round(probes.uniformity(torch.eye(4)), 3)
        -4.0
    """
    rows = matrix("x", x, least=2)
    check_unit("x", rows)
    check_positive("t", t)
    return _log_mean_kernel(_within(rows), codes_of(groups, len(rows)), t).value


def cross_uniformity(
    source: Matrix, target: Matrix, *, t: float = _T, groups: Sequence[str] | None = None
) -> float:
    """Logarithm of the mean Gaussian kernel between false pairs across sides; lower is better.

    ``log mean exp(-t ||z_i - w_j||^2)`` over pairs of different groups, in [-4 t, 0]; 0 where
    all vectors coincide, ``log 0F1(d/2; t^2) - 2 t`` for sides drawn uniformly from the sphere and
    independently. A gap lowers it as well, since it takes the sides apart: read it with
    ``alignment``. Cost O(n² d) and ``n²`` kernel values held.

    Norms: 1; rows of any other are refused.

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.
        t: Sharpness of the kernel, above 0.
        groups: Group name of each pair: pairs of one group are never false pairs.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width and unit norm, ``t``
            is not above 0, ``groups`` do not fit, or all pairs are of one group.

    Meaning:
        How evenly items of one side are spread around those of the other.

    Beware:
        A gap lowers it as well, since it takes the sides apart: read it with alignment.

    Range:
        In [-4 t, 0]; that of the uniform distribution with nothing there; lower is better.

    Reference:
        Fahim, Murphy and Fyshe 2024, arXiv:2405.18570, the cross-modal uniformity, with the
        kernel of Wang and Isola 2020, arXiv:2005.10242.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(4)
        >>> round(probes.cross_uniformity(x, x), 3)
        -4.0
    """
    x, y = unit_pairs(source, target)
    check_positive("t", t)
    return _log_mean_kernel(_across(x @ y.T), codes_of(groups, len(x)), t).value


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return (x.double() - y.double()).square().sum(dim=1)


def _within(x: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cosines of some rows with themselves and all later rows, ``(b, n - start)``."""
    for start in range(0, len(x), _ROWS):
        yield (x[start : start + _ROWS] @ x[start:].T,)


def _across(cosines: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same of source rows with target rows, and of the target rows with the source rows."""
    for start in range(0, len(cosines), _ROWS):
        rows = slice(start, start + _ROWS)
        yield cosines[rows, start:].clone(), cosines[start:, rows].T.contiguous()


def _log_mean_kernel(
    blocks: Iterator[tuple[Tensor, ...]], codes: Tensor, t: float
) -> SmoothEstimate:
    """Log of the mean of ``exp(2 t (cos - 1))`` over rows of different groups; overwrites cosines.

    A pair has influence through its row and its column. Weighing the double sum itself would
    overstate the spread: the chance part of each kernel value would come in twice over, and what
    is left of that is taken off as in ``held_to_spread``. So what counts is the mean of a kernel
    value and the one across from it, once for each two pairs: those after the diagonal.
    """
    sums, squares, top = torch.zeros(len(codes), dtype=torch.float64), 0.0, -math.inf
    start = 0
    for cosines in blocks:
        b = len(cosines[0])
        skipped = codes[start : start + b, None] == codes[start:]
        skipped[:, :b] |= torch.ones(b, b, dtype=torch.bool).tril()
        highest = max(float(each.masked_fill_(skipped, -math.inf).amax()) for each in cosines)
        if highest > top:
            # Relative to the closest pair: for a large t nothing but that pair is left of the sum.
            sums *= math.exp(2 * t * (top - highest))
            squares *= math.exp(4 * t * (top - highest))
            top = highest
        if top > -math.inf:
            kernels = [each.sub_(top).mul_(2 * t).exp_() for each in cosines]
            kernel = torch.stack(kernels).mean(dim=0) if len(kernels) > 1 else kernels[0]
            sums[start : start + b] += kernel.sum(dim=1)
            sums[start:] += kernel.sum(dim=0)
            squares += kernel.square_().sum(dim=1).double().sum().item()
        start += b
    others = sizes_of_others(codes).double()
    mean = (sums.sum() / others.sum()).item()
    influence = 2 * len(codes) * (sums / sums.sum() - others / others.sum())
    # What no row and no column explains, of the mean of a kernel value and the one across from it.
    of_rows = (sums / others - mean).square() @ others
    left = 2 * squares - others.sum().item() * mean**2 - 2 * of_rows.item()
    second = 2 * max(left, 0.0) / (others.sum().item() * mean) ** 2
    value = math.log(mean) + 2 * t * (top - 1)
    return SmoothEstimate(value, held_to_spread(influence, codes, second))


def _uniform_on_sphere(d: int) -> float:
    """Uniformity at ``_T`` of points drawn uniformly from the unit sphere of ``d`` dimensions.

    The mean of ``exp(k u)`` over the cosine ``u`` of two such points is ``0F1(d/2; k^2 / 4)``, the
    normalising constant of von Mises and Fisher (Mardia and Jupp 2000, section 9.3.2).
    """
    from scipy.special import hyp0f1

    return math.log(hyp0f1(d / 2, _T**2)) - 2 * _T


def _measure_alignment(space: Space) -> Measured:
    value, replicate = mean_of(_squared_distances(space.source, space.target))
    strangers, _ = mean_product_apart(space.source, space.target, space.codes)
    return Measured(value, replicate, null=Null(2 - 2 * strangers, p_of_mean_cosine(space)))


def _measure_uniformity(space: Space, *, side: Side) -> Measured:
    rows = space.side(side)
    null = Null(_uniform_on_sphere(rows.shape[1]))
    return _log_mean_kernel(_within(rows), space.codes, _T).measured(null)


def _measure_cross_uniformity(space: Space) -> Measured:
    null = Null(_uniform_on_sphere(space.source.shape[1]))
    return _log_mean_kernel(_across(space.cross), space.codes, _T).measured(null)


_probe = partial(Probe, family="pairing", better="lower")
_of_kernel = partial(_probe, scale="width", interval="bootstrap over pairs, to first order")

ALIGNMENT = _probe(
    name="alignment",
    label="Alignment",
    extreme=0.0,
    function=alignment,
    needs="common space",
    scale="spread",
    measure=_measure_alignment,
    null="random pairing",
)
UNIFORMITY_SOURCE, UNIFORMITY_TARGET = for_each_side(
    partial(
        _of_kernel,
        needs="sides",
        null="uniform on the sphere",
        extreme=0.0,
        function=uniformity,
    ),
    "uniformity",
    "Uniformity of",
    _measure_uniformity,
)
CROSS_UNIFORMITY = _of_kernel(
    name="cross_uniformity",
    label="Uniformity across sides",
    extreme=0.0,
    function=cross_uniformity,
    needs="common space",
    measure=_measure_cross_uniformity,
    null="uniform on the sphere, sides independent",
)
