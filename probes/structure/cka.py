"""Centred kernel alignment without the bias that grows with the width."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from align._checks import check_positive
from align.data.random_pairings import random_pairings
from probes.estimates import Measured, Null, SmoothEstimate, linearised
from probes.inputs import Matrix, announce, codes_of, each_near_one, pairs
from probes.medians import median_of
from probes.nulls import matrix_products, upper_p
from probes.space import SAMPLE, Probe, Sample, Space
from probes.structure.components import deviations

_DRAWS = 99  # random pairings behind a p-value; each visits all pairs of SAMPLE pairs
_EQUIDISTANT = 1e-6  # a squared kernel this small after centring, next to before, is rounding


def linear_cka(
    source: Matrix, target: Matrix, *, unbiased: bool = True, groups: Sequence[str] | None = None
) -> float:
    """Centred kernel alignment with linear kernels; higher is better.

    ``HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`` with ``K = X X'``, ``L = Y Y'`` and the unbiased
    estimator of HSIC, ``(tr KL + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 1'KL1 / (n - 2)) / (n (n - 3))``
    with zero diagonals. In [-1, 1]: 1 means equal up to rotation, shift and scale, to which it is
    invariant; 0 means unrelated, and estimates of 0 are as often negative. The widths may differ.
    Cost: O(n d^2), or O(n^2 d) where that is less.

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d_source)``, n >= 4.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        unbiased: Whether to use the unbiased estimator; the other, ``||X'Y||^2``, in [0, 1], is
            positive for unrelated sides and tends to 1 once n is below the widths.
        groups: Group name of each pair; the first pair of each group is used, since both
            estimators take pairs for independent. Each pair is its own group if left out.

    Raises:
        ValueError: The sides are not row-matched finite matrices, groups do not fit, there are
            fewer than 4 pairs to use, or a side has no shape: one point, or rows that are all
            equally far apart.

    Warns:
        UnreliableEstimate: n is below twice the larger width.

    Meaning:
        How far both sides agree on which items are alike, ruled by their strongest directions.

    Beware:
        A few dominant directions, or outliers, decide it, and it can be high while little else
        agrees.

    Range:
        In [-1, 1]; 0 with nothing there; higher is better.

    Reference:
        Kornblith et al. 2019, arXiv:1905.00414, eq. 3 and 4 (biased); Song et al. 2012, JMLR
        13:1393-1434, eq. 5 (unbiased HSIC).

    Examples:
        >>> import torch, probes
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(100, 5, generator=rng)
        >>> round(probes.linear_cka(x, -3 * x), 3)
        1.0
    """
    x, y = _independent(source, target, groups)
    announce(_notes(x, y))
    return _linear(x, y, unbiased=unbiased).value


def rbf_cka(
    source: Matrix, target: Matrix, *, bandwidth: float = 1.0, groups: Sequence[str] | None = None
) -> float:
    """Centred kernel alignment with Gaussian kernels, unbiased; higher is better.

    As ``linear_cka`` with ``K_ij = exp(-||x_i - x_j||^2 / (2 s^2))``, where ``s`` is ``bandwidth``
    times the median distance within that side. Small bandwidths look at close pairs only. 1 means
    equal up to rotation, shift and scale, to which it is invariant; 0 means unrelated, and
    estimates of 0 are as often negative. The widths may differ. Cost: O(n^2 d) time and O(n^2)
    memory; pass a sample of a few thousand pairs where there are more.

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d_source)``, n >= 4.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        bandwidth: In units of the median distance, > 0.
        groups: Group names, ``n`` of them; the first pair of each group is used, since the
            estimator takes pairs for independent. Each pair is its own group if left out.

    Returns:
        Alignment in [-1, 1], below 0 by noise only.

    Raises:
        ValueError: The sides are not row-matched finite matrices, groups do not fit, there are
            fewer than 4 pairs to use, ``bandwidth`` is not above 0, more than half of the
            distances within a side are 0, or its rows are all equally far apart.

    Warns:
        UnreliableEstimate: n is below twice the larger width.

    Meaning:
        How far both sides agree on which items are alike, near ones counting more.

    Beware:
        It moves with the bandwidth, and in many dimensions all distances are alike, so that it
        comes close to the linear one.

    Range:
        In [-1, 1]; 0 with nothing there; higher is better.

    Reference:
        Kornblith et al. 2019, arXiv:1905.00414, section 3; Song et al. 2012, JMLR 13:1393-1434,
        eq. 5 (unbiased HSIC).

    Examples:
        >>> import torch, probes
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(60, 5, generator=rng)
        >>> round(probes.rbf_cka(x, x.flip(1)), 3)
        1.0
    """
    check_positive("bandwidth", bandwidth)
    x, y = _independent(source, target, groups)
    announce(_notes(x, y))
    return _gaussian(*_gaussian_kernels(x, y, bandwidth)).value


def _independent(
    source: Matrix, target: Matrix, groups: Sequence[str] | None
) -> tuple[Tensor, Tensor]:
    x, y = each_near_one(*pairs(source, target, least=4))
    first = _first_of_groups(codes_of(groups, len(x)))
    return x[first], y[first]


def _first_of_groups(codes: Tensor) -> Tensor:
    """The first row of each group, ``(g,)`` int64, of at least as many as the estimator needs."""
    sizes = torch.bincount(codes)
    if len(sizes) < 4:
        raise ValueError(
            f"CKA needs at least 4 groups of pairs, of each of which it uses one; got {len(sizes)} "
            f"in {len(codes)} pairs. Pass more pairs."
        )
    return codes.argsort(stable=True)[sizes.cumsum(0) - sizes]


def _notes(x: Tensor, y: Tensor) -> tuple[str, ...]:
    n, d = len(x), max(x.shape[1], y.shape[1])
    if n >= 2 * d:
        return ()
    return (
        f"CKA with n < 2d: {n} independent pairs at width {d} leave the unbiased estimate noisy; "
        "a biased one would tend to 1.",
    )


def _linear(x: Tensor, y: Tensor, *, unbiased: bool = True) -> SmoothEstimate:
    x, y = deviations("source", x), deviations("target", y)
    xy, xx, yy = _products(x, y), _products(x, x), _products(y, y)
    if unbiased:
        a, b = x.square().sum(dim=1).double(), y.square().sum(dim=1).double()
        xy, xx, yy = _unbiased(xy, a, b), _unbiased(xx, a, a), _unbiased(yy, b, b)
        _check_shape("source", xx, a.mean().square())
        _check_shape("target", yy, b.mean().square())
    return _alignment(xy, xx, yy)


def _gaussian_kernels(x: Tensor, y: Tensor, bandwidth: float = 1.0) -> tuple[Tensor, Tensor]:
    """Gaussian kernels within both sides after ``_centre``, ``(n, n)`` each."""
    return _gaussian_kernel("source", x, bandwidth), _gaussian_kernel("target", y, bandwidth)


def _gaussian(k: Tensor, m: Tensor) -> SmoothEstimate:
    return _alignment((k * m).sum(dim=1), k.square().sum(dim=1), m.square().sum(dim=1))


def _alignment(xy: Tensor, xx: Tensor, yy: Tensor) -> SmoothEstimate:
    """CKA from what each pair contributes to the three HSIC, each ``(n,)`` up to one factor.

    A pair moves HSIC by twice its contribution: it stands in the rows and in the columns.
    """
    xy, xx, yy = xy.double(), xx.double(), yy.double()
    scale = (xx.mean() * yy.mean()).sqrt()
    value = xy.mean() / scale
    influence = 2 * xy / scale - value * (xx / xx.mean() + yy / yy.mean())
    return SmoothEstimate(value.item(), influence)


def _products(x: Tensor, y: Tensor) -> Tensor:
    """Row sums of ``X X'`` times ``Y Y'``, entry by entry, ``(n,)``, by the cheaper way."""
    n, (d, e) = len(x), (x.shape[1], y.shape[1])
    if 2 * d * e <= n * (d + e):
        return ((x @ (x.T @ y)) * y).sum(dim=1)
    within = x @ x.T
    return (within * (within if y is x else y @ y.T)).sum(dim=1)


def _unbiased(products: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """What each pair contributes to ``n (n - 3) / n`` times the unbiased HSIC, ``(n,)`` float64.

    Song's terms where the rows have zero mean, from row sums with the diagonal and from squared
    norms of both sides: each row of a kernel with its diagonal set to zero then sums to minus what
    stood on the diagonal, ``a`` or ``b``, and no Gram matrix is needed.
    """
    n = len(a)
    means = (a * b.sum() + b * a.sum()) / (2 * (n - 1) * (n - 2))
    return products.double() - n / (n - 2) * a * b + means


def _gaussian_kernel(name: str, x: Tensor, bandwidth: float = 1.0) -> Tensor:
    """Gaussian kernel after ``_centre``, ``(n, n)``."""
    x = deviations(name, x)
    norms = x.square().sum(dim=1)
    squares = (x @ x.T).mul_(-2).add_(norms).add_(norms[:, None])
    # The square of the median is the median of the squares.
    median = median_of(squares[torch.ones_like(squares, dtype=torch.bool).triu(1)])
    if median <= _EQUIDISTANT * float(norms.mean()):
        raise ValueError(
            f"more than half of the distances within {name} must differ from 0, for a bandwidth; "
            f"their median is 0 up to rounding over {len(x)} rows. Drop repeated items."
        )
    kernel = squares.div_(-2 * bandwidth**2 * median).exp_().fill_diagonal_(0)
    before = kernel.square().mean()
    centred = _centre(kernel)
    _check_shape(name, centred.square().mean(), before)
    return centred


def _centre(kernel: Tensor) -> Tensor:
    """``kernel``, overwritten: rows and columns sum to zero, the diagonal is left out; ``(n, n)``.

    The kernel is symmetric with a zero diagonal. The unbiased HSIC is the sum of the products of
    two such matrices over ``n (n - 3)`` (Székely and Rizzo 2014, doi:10.1214/14-AOS1255,
    definition 2).
    """
    n = len(kernel)
    rows = kernel.sum(dim=0) / (n - 2)
    return kernel.sub_(rows).sub_(rows[:, None]).add_(rows.sum() / (n - 1)).fill_diagonal_(0)


def _check_shape(name: str, centred: Tensor, whole: Tensor) -> None:
    """Raise unless something of a kernel is left once it is centred."""
    if float(centred.mean()) <= _EQUIDISTANT * float(whole):
        raise ValueError(
            f"{name} must have a shape to compare; all its rows are equally far apart, as "
            "one-hot vectors are. Pass embeddings in which some items are closer than others."
        )


def _linear_kernels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Linear kernels within both sides after ``_centre``, ``(n, n)`` each."""
    x, y = deviations("source", x), deviations("target", y)
    return _centre((x @ x.T).fill_diagonal_(0)), _centre((y @ y.T).fill_diagonal_(0))


def _first(space: Space) -> tuple[Tensor, Tensor, Tensor]:
    """The first pair of each group, ``(g,)`` int64, and its two sides."""
    rows = _first_of_groups(space.codes)
    return rows, space.source[rows], space.target[rows]


def _measure_linear_cka(space: Space) -> Measured:
    # The cost grows with the pairs only, but for the null.
    drawn = space.sample(5000)
    _, x, y = _first(drawn.space)
    _, few_x, few_y = _first(space.sample(SAMPLE).space)
    return _measured(space, drawn, _linear(x, y), _linear_kernels(few_x, few_y), "linear_cka")


def _measure_rbf_cka(space: Space) -> Measured:
    # Time and memory grow with the square of the pairs.
    drawn, few = space.sample(2000), space.sample(SAMPLE)
    _, x, y = _first(drawn.space)
    kernels = _gaussian_kernels(x, y)
    estimate = _gaussian(*kernels)
    if few.space is not drawn.space:
        _, x, y = _first(few.space)
        kernels = _gaussian_kernels(x, y)
    return _measured(space, drawn, estimate, kernels, "rbf_cka")


def _measured(
    space: Space, drawn: Sample, cka: SmoothEstimate, kernels: tuple[Tensor, Tensor], purpose: str
) -> Measured:
    """The estimate on the pairs drawn, with p by random pairing from kernels of few of them.

    HSIC of each side with itself stays as it is under a pairing and can be left out.
    """
    first, x, y = _first(drawn.space)
    replicate = linearised(cka.value, cka.influence)
    as_seen = torch.arange(len(kernels[0]))
    pairings = random_pairings(as_seen, _DRAWS, space.generator(purpose))
    seen = matrix_products(*kernels, as_seen[None]).item()
    return Measured(
        cka.value,
        # A group is drawn as often as the one pair of it that is used.
        lambda weights: replicate(weights[:, first]),
        null=Null(0.0, upper_p(seen, matrix_products(*kernels, pairings))),
        rows=drawn.rows,
        notes=_notes(x, y),
    )


_probe = partial(
    Probe,
    family="structure",
    better="higher",
    needs="sides",
    null=f"random pairing: 0; p on at most {SAMPLE:,} pairs",
)
LINEAR_CKA = _probe(
    name="linear_cka",
    label="CKA, linear",
    extreme=1.0,
    function=linear_cka,
    measure=_measure_linear_cka,
    interval="bootstrap over pairs, to first order",
)
RBF_CKA = _probe(
    name="rbf_cka",
    label="CKA, Gaussian kernel",
    extreme=1.0,
    function=rbf_cka,
    measure=_measure_rbf_cka,
    interval="bootstrap over pairs, to first order, bandwidths held fixed",
)
