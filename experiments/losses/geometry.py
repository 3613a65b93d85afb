"""Where both clouds lie: losses that close the gap or spread the items; some ignore the pairing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align._checks import check_positive
from align.fitting.losses.in_batch import check_batch, same_group
from experiments.optimal_transport import sinkhorn_divergence, squared_distances


def alignment(source: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of partners; lower is better.

    Args:
        source: Unit-norm embeddings, ``(n, d)``.
        target: Unit-norm embeddings of the partners, ``(n, d)``.

    Returns:
        Scalar in [0, 4].

    Raises:
        ValueError: The sides are not row-matched in one space.

    Reference:
        Wang and Isola 2020, arXiv:2005.10242, with exponent 2.
    """
    check_batch(source, target)
    return (source - target).square().sum(dim=1).mean()


def uniformity(x: Tensor, *, t: float = 2.0, groups: Tensor | None = None) -> Tensor:
    """Logarithm of the mean Gaussian kernel between items of one side; lower is more spread.

    ``log mean exp(-t ||x_i - x_j||^2)`` over rows of different groups.

    Args:
        x: Unit-norm embeddings, ``(n, d)``, float32 or wider.
        t: Sharpness of the kernel, > 0.
        groups: Group codes, int64 ``(n,)``; every row is its own group if left out.

    Returns:
        Scalar in [-4 t, 0].

    Raises:
        ValueError: All rows are of one group, ``groups`` do not fit, or ``t`` is out of range.

    Reference:
        Wang and Isola 2020, arXiv:2005.10242.
    """
    check_batch(x, x)
    return _log_mean_kernel(x @ x.T, t, groups)


def cross_uniformity(
    source: Tensor, target: Tensor, *, t: float = 2.0, groups: Tensor | None = None
) -> Tensor:
    """Logarithm of the mean Gaussian kernel between false pairs across sides; lower is farther.

    ``log mean exp(-t ||z_i - w_j||^2)`` over pairs of different groups. It drives the sides apart:
    use it beside ``alignment``.

    Args:
        source: Unit-norm embeddings, ``(n, d)``, float32 or wider.
        target: Unit-norm embeddings of the partners, ``(n, d)``.
        t: Sharpness of the kernel, > 0.
        groups: Group codes, int64 ``(n,)``; every pair is its own group if left out.

    Returns:
        Scalar in [-4 t, 0].

    Raises:
        ValueError: The sides are not row-matched in one space, all pairs are of one group,
            ``groups`` do not fit, or ``t`` is out of range.

    Reference:
        Fahim, Murphy and Fyshe 2024, arXiv:2405.18570, with the kernel of Wang and Isola 2020.
    """
    check_batch(source, target)
    return _log_mean_kernel(source @ target.T, t, groups)


def mmd(source: Tensor, target: Tensor, *, groups: Tensor | None = None) -> Tensor:
    """Unbiased squared maximum mean discrepancy of both clouds; lower is better.

    The mean over ``i``, ``j`` of different groups of
    ``k(z_i, z_j) + k(w_i, w_j) - k(z_i, w_j) - k(z_j, w_i)``, with ``k`` the mean of five Gaussian
    kernels ``exp(-||x - y||² / (2 c m))``, ``c`` of 1/4, 1/2, 1, 2, 4 and ``m`` the median squared
    distance between items of both sides together. No gradient flows through ``m``.

    Args:
        source: Embeddings, ``(n, d)``, float32 or wider.
        target: Embeddings of the partners, ``(n, d)``.
        groups: Group codes, int64 ``(n,)``: pairs of one group are not compared. Every pair is its
            own group if left out.

    Returns:
        Scalar, at most 2; on average 0 for two samples of one law, so it may be below 0.

    Raises:
        ValueError: The sides are not row-matched in one space, all pairs are of one group,
            ``groups`` do not fit, or more than half of all distances are 0.

    Reference:
        Gretton et al. 2012, JMLR 13:723-773; five bandwidths stand for their one.
    """
    check_batch(source, target)
    false = _false_pairs(groups, source)
    middle = (source.mean(dim=0) + target.mean(dim=0)).detach() / 2
    both = torch.cat([source - middle, target - middle])
    distances = squared_distances(both, both)
    above = torch.ones_like(distances, dtype=torch.bool).triu_(1)
    median = float(distances.detach()[above].median())
    if median <= 0:
        raise ValueError(
            "the median squared distance sets the width of the kernels and must be above 0; more "
            f"than half of the distances between {len(both)} items are 0. Drop repeated items."
        )
    # The widest, c = 4; each narrower kernel is the square of the one before.
    kernel = (distances / (-8 * median)).exp()
    total = kernel
    for _ in range(4):
        kernel = kernel.square()
        total = total + kernel
    n = len(source)
    across = total[:n, n:]
    gain = (total[:n, :n] + total[n:, n:] - across - across.T) / 5
    return gain.masked_fill(~false, 0).sum() / false.sum()


def sinkhorn(source: Tensor, target: Tensor, *, relative_epsilon: float = 0.2) -> Tensor:
    """Debiased entropic transport cost between both clouds; lower is better.

    ``experiments.optimal_transport.sinkhorn_divergence`` with an ``epsilon`` of
    ``relative_epsilon`` times the median squared distance between the centred clouds, through which
    no gradient flows.

    Args:
        source: Embeddings, ``(n, d)``, float32 or wider.
        target: Embeddings, ``(n, d)``.
        relative_epsilon: Strength of the entropy, > 0; towards 0 more steps are needed and the
            divergence of two samples of one law grows.

    Returns:
        Scalar in squared units of the embeddings, >= 0 up to rounding.

    Raises:
        ValueError: The sides are not row-matched in one space, ``relative_epsilon`` is out of
            range, or the median distance is 0.
        RuntimeError: A plan was not found within the steps that are allowed.

    Reference:
        Feydy et al. 2019, arXiv:1810.08278.
    """
    check_batch(source, target)
    check_positive("relative_epsilon", relative_epsilon)
    with torch.no_grad():
        centred = (side - side.mean(dim=0) for side in (source, target))
        median = float(squared_distances(*centred).median())
    if median <= 0:
        raise ValueError(
            "the median squared distance between the centred sides sets epsilon and must be above "
            f"0; most of the {len(source)} items of either side are equal. Drop repeated items."
        )
    return sinkhorn_divergence(source, target, epsilon=relative_epsilon * median)


def _false_pairs(groups: Tensor | None, like: Tensor) -> Tensor:
    """Which rows are of different groups, ``(n, n)`` bool."""
    false = ~same_group(groups, like)
    if not false.any():
        raise ValueError(
            f"there must be two groups to compare; got {len(like)} rows of one. Use larger batches."
        )
    return false


def _log_mean_kernel(cosines: Tensor, t: float, groups: Tensor | None) -> Tensor:
    check_positive("t", t)
    false = _false_pairs(groups, cosines)
    exponents = (2 * t * (cosines - 1)).masked_fill(~false, -torch.inf)
    return exponents.flatten().logsumexp(dim=0) - math.log(int(false.sum()))
