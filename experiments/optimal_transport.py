"""Optimal transport by POT: plans between clouds, and how far apart transport finds them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from align._checks import check_at_least, check_matrix, check_positive
from align.scoring.ties import first_best

_TOLERANCE = 1e-4  # share of the mass that may end in a wrong column


def log_sinkhorn_plan(
    cost: Tensor,
    *,
    epsilon: float,
    a: Tensor | None = None,
    b: Tensor | None = None,
    tolerance: float = _TOLERANCE,
    steps: int = 10_000,
) -> Tensor:
    """Logarithm of the entropic transport plan, ``(n, m)``; no gradient flows through it.

    The plan minimises ``<P, C> + epsilon KL(P | a b^T)`` over plans with row sums ``a`` and column
    sums ``b``, in the log domain: a small ``epsilon`` only takes more steps, each ``O(n m)``.

    Args:
        cost: ``C``, ``(n, m)``, float32 or wider.
        epsilon: Strength of the entropy, in units of the cost, > 0.
        a: Mass of each row, positive and of sum 1, ``(n,)``; uniform if left out.
        b: Mass of each column, ``(m,)``; uniform if left out.
        tolerance: Share of the mass that may end in a wrong column, > 0. Rows are exact.
        steps: Steps after which to give up, >= 1.

    Raises:
        ValueError: ``cost`` is not a finite matrix, masses do not fit, or a number is out of range.
        RuntimeError: The columns are still off after that many steps.

    Reference:
        Cuturi 2013, arXiv:1306.0895; ``ot.bregman.sinkhorn_log`` of POT.
    """
    from ot.bregman import sinkhorn_log

    check_matrix("cost", cost)
    check_positive("epsilon", epsilon)
    check_positive("tolerance", tolerance)
    check_at_least("steps", steps, 1)
    cost = cost.detach()
    n, m = cost.shape
    a, b = _masses("a", a, n, cost), _masses("b", b, m, cost)
    # POT looks at the length of the vector of errors: at most their sum over sqrt(m).
    enough = tolerance / math.sqrt(m)
    _, log = sinkhorn_log(
        a, b, cost, epsilon, numItermax=steps, stopThr=enough, warn=False, log=True
    )
    error = float(log["err"][-1])
    if not error < enough:
        raise RuntimeError(
            f"transport must bring all but {tolerance:g} of the mass to its column; after {steps} "
            f"steps up to {error * math.sqrt(m):.1e} of it is off. "
            "Raise epsilon, allow more steps, or accept a larger tolerance."
        )
    plan: Tensor = log["log_u"][:, None] + log["log_v"] - cost / epsilon
    return plan


def sinkhorn_plan(
    cost: Tensor, *, epsilon: float, a: Tensor | None = None, b: Tensor | None = None
) -> Tensor:
    """Entropic transport plan, ``(n, m)`` of sum 1: the exponential of ``log_sinkhorn_plan``."""
    return log_sinkhorn_plan(cost, epsilon=epsilon, a=a, b=b).exp()


def sinkhorn_divergence(
    source: Tensor, target: Tensor, *, epsilon: float, tolerance: float = _TOLERANCE
) -> Tensor:
    """Debiased entropic transport cost of two clouds, differentiable in both; lower is closer.

    ``OT(z, w) - OT(z, z) / 2 - OT(w, w) / 2`` where ``OT`` is the least
    ``<P, C> + epsilon KL(P | product)`` between uniform weights for squared Euclidean costs.
    Pairing plays no part. The gradient is that of the costs under the plans that were reached,
    exact for the best plans; steps are not differentiated.

    Args:
        source: ``(n, d)``, float32 or wider.
        target: ``(m, d)``.
        epsilon: Strength of the entropy, in squared units of the embeddings, > 0.
        tolerance: Share of the mass of each plan that may end in a wrong column, > 0.

    Returns:
        Scalar in squared units of the embeddings, >= 0 up to the tolerance.

    Raises:
        ValueError: The sides are not finite matrices of one width, or a number is out of range.
        RuntimeError: No plan was reached within the steps that are allowed.

    Reference:
        Feydy et al. 2019, arXiv:1810.08278.
    """
    check_matrix("source", source)
    check_matrix("target", target, d=source.shape[1])
    # A common shift changes no cost, and near the origin squares round least.
    middle = (source.mean(dim=0) + target.mean(dim=0)).detach() / 2
    x, y = source - middle, target - middle

    def least(p: Tensor, q: Tensor) -> Tensor:
        cost = squared_distances(p, q)
        log_plan = log_sinkhorn_plan(cost, epsilon=epsilon, tolerance=tolerance)
        # Sums of two potentials, but for epsilon log(n m) that cancels between the three terms. The
        # error of their mean is of second order in that of the plan.
        sums = cost.detach() + epsilon * log_plan
        return sums.mean() + (log_plan.exp() * (cost - cost.detach())).sum()

    return least(x, y) - least(x, x) / 2 - least(y, y) / 2


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance of each row of ``x`` to each row of ``y``, ``(n, m)``.

    Rounding leaves values slightly below zero, so take no roots of them.
    """
    return x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * (x @ y.T)


def gromov_wasserstein_plan(
    x_distances: Tensor, y_distances: Tensor, *, restarts: int = 3, seed: int = 0
) -> Tensor:
    """Plan that best keeps distances within the sides, ``(n, m)`` float64 of sum 1.

    It minimises the mean of ``(A[i, k] - B[j, l])²`` over plans that move items ``i`` to ``j`` and
    ``k`` to ``l``. Sides need no common space. The problem is not convex: what comes out is the
    best local optimum from ``restarts`` starts, and nothing in it says whether it is the right
    one. Cost ``O(n² m + n m²)`` for each of some tens of steps: meant for up to 1,000 items.

    Args:
        x_distances: ``A``, symmetric and at least 0, ``(n, n)``; in the same units as ``B``.
        y_distances: ``B``, symmetric and at least 0, ``(m, m)``.
        restarts: Starts in all, >= 1: the plan between items whose distances to the others are
            spread alike, the independent plan, and then random ones.
        seed: Seeds the random starts.

    Raises:
        ValueError: A matrix is not symmetric or has entries below 0, or ``restarts`` is below 1.

    Reference:
        Mémoli 2011, doi:10.1007/s10208-011-9093-5; conditional gradient of Vayer et al. 2019,
        arXiv:1805.09114, in POT.
    """
    from ot.gromov import gromov_wasserstein

    check_at_least("restarts", restarts, 1)
    a, b = _distances("x_distances", x_distances), _distances("y_distances", y_distances)
    optima = []
    for start in _starts(a, b, restarts, seed):
        plan, log = gromov_wasserstein(
            a.numpy(), b.numpy(), G0=start.numpy(), symmetric=True, log=True
        )
        optima.append((float(log["gw_dist"]), torch.from_numpy(plan)))
    # Starts often end in one optimum, and where shapes repeat in several that are equally good:
    # those differ by less than a millionth of the mean squared distances.
    best = first_best(
        [-distance for distance, _ in optima],
        within=float(1e-6 * (a.square().mean() + b.square().mean())),
    )
    return optima[best][1]


def _masses(name: str, mass: Tensor | None, size: int, like: Tensor) -> Tensor:
    if mass is None:
        return torch.full((size,), 1 / size, dtype=like.dtype, device=like.device)
    if mass.shape != (size,) or not (mass > 0).all() or abs(float(mass.sum()) - 1) > _TOLERANCE:
        raise ValueError(
            f"{name} must be positive masses of sum 1, ({size},); got shape {tuple(mass.shape)} "
            f"and sum {float(mass.sum()):g}. Divide by the sum, and drop items without mass."
        )
    return mass.to(like)


def _distances(name: str, distances: Tensor) -> Tensor:
    check_matrix(name, distances)
    if not distances.equal(distances.T) or distances.min() < 0:
        raise ValueError(
            f"{name} must be symmetric and at least 0, (n, n); "
            f"got shape {tuple(distances.shape)} and least entry {float(distances.min()):g}. "
            "Pass distances within one side."
        )
    return distances.detach().double().cpu()


def _starts(a: Tensor, b: Tensor, restarts: int, seed: int) -> Iterator[Tensor]:
    """Plans between uniform weights to start from, ``restarts`` of them."""
    n, m = len(a), len(b)
    points = torch.linspace(0, 1, 100, dtype=torch.float64)
    spread = [torch.quantile(each, points, dim=1).T for each in (a, b)]
    yield _exact_plan(torch.cdist(spread[0], spread[1]))
    generator = torch.Generator().manual_seed(seed)
    for start in range(1, restarts):
        if start == 1:
            yield torch.full((n, m), 1 / (n * m), dtype=torch.float64)
        else:
            yield _exact_plan(torch.rand(n, m, generator=generator, dtype=torch.float64))


def _exact_plan(cost: Tensor) -> Tensor:
    from ot import emd

    return torch.from_numpy(emd([], [], cost.numpy()))
