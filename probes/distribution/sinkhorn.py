"""Sinkhorn divergence: transport with entropy, less what transport to itself costs each cloud."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from align._checks import check_positive
from probes.distribution.clouds import (
    LINEARISED,
    SAMPLE,
    SWAPPED,
    Part,
    exactly_centred,
    split,
    spread,
    squared_distances,
)
from probes.inputs import Matrix, announce, common_space, near_one
from probes.space import Probe, Space

RELATIVE_EPSILON = 0.2
"""Of the median cost. At the usual 0.05 a cloud of a thousand items in hundreds of dimensions is
transported to itself by leaving everything in place, so that nothing is debiased."""

_TOLERANCE = 1e-4
"""Mean relative error of the mass that leaves a point; the error of the value is of its square."""

_STEPS = 2_000

_DRAWS = 19
"""Swaps of the null, the fewest for a p of 0.05; each solves three transports."""

_LIMIT = 20.0
"""Scalings are moved into the potentials beyond ``exp(20)``, far from where float32 overflows."""

_STAYS = 0.5
"""Share of self-transport that does not move, beyond which debiasing has little to take away."""


def sinkhorn_divergence(
    source: Matrix, target: Matrix, *, relative_epsilon: float = RELATIVE_EPSILON
) -> float:
    """Debiased entropic transport cost between both clouds; lower is better.

    ``OT(z, w) - OT(z, z) / 2 - OT(w, w) / 2`` where ``OT`` is the least
    ``<P, C> + epsilon KL(P | product)`` over plans ``P`` between the clouds, for squared Euclidean
    costs ``C``. Pairing plays no part. ``epsilon`` is ``relative_epsilon`` times the median cost
    between the centred clouds, so it does not grow with the gap, and the divergence is exactly the
    squared gap of the centroids plus the divergence of the centred clouds, which
    ``sinkhorn_divergence(*centred(source, target))`` gives alone.

    At least 0, and 0 only for equal clouds. Two samples of one law give more than 0, and in many
    dimensions much more unless ``epsilon`` is large: where a point's nearest neighbours are many
    ``epsilon`` away, transport of a cloud to itself leaves everything in place, and nothing is
    taken off the cost between two samples. That is announced as unreliable. Read the value against
    the same with the sides swapped. Rotation and a common shift change nothing; scaling both sides
    by ``c`` gives ``c²`` as much.

    Cost ``O(n² d)`` and ``O(n²)`` for each of some tens of steps.

    Args:
        source: Source embeddings, ``(n, d)`` with ``n >= 2``.
        target: Target embeddings of the same pairs, ``(n, d)``.
        relative_epsilon: Strength of the entropy, above 0. Towards 0 the value becomes the squared
            Wasserstein distance, with its bias; for large values it sees little but centroids.

    Returns:
        Squared distance in the units of the embeddings, computed in the precision given, at least
        float32, until the marginals of each plan are off by at most 1e-4 of their mass.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with two rows,
            ``relative_epsilon`` is not above 0, or the median cost is 0.

    Reference:
        Feydy et al. 2019, arXiv:1810.08278, for the divergence, its sign and the averaged steps of
        a cloud to itself; scalings are moved into the potentials as in Schmitzer 2019,
        arXiv:1610.06519. There ``epsilon`` is free; tying it to the centred clouds is ours.
    """
    check_positive("relative_epsilon", relative_epsilon)
    (x, y), scale = near_one(*common_space(source, target))
    z, w, gap = exactly_centred(x, y)
    costs = _costs(z.to(x.dtype), w.to(x.dtype))
    solved = _solve(costs, relative_epsilon * _median(costs.across), _TOLERANCE)
    announce(solved.notes)
    return float(gap.square().sum() + solved.value) * scale * scale


class Costs(NamedTuple):
    """Squared distances across and within two clouds, ``(n, n)`` each."""

    across: Tensor
    source: Tensor
    target: Tensor


def _costs(z: Tensor, w: Tensor) -> Costs:
    return Costs(squared_distances(z, w), squared_distances(z, z), squared_distances(w, w))


def _median(across: Tensor) -> float:
    median = float(across.median())
    if median == 0:
        raise ValueError(
            "the median cost between the centred clouds sets epsilon and must be above 0; got 0: "
            f"most of the {len(across)} items of either side are equal. Drop repeated items."
        )
    return median


class _Solved(NamedTuple):
    """A divergence; what each source and target adds to it to first order ``(n,)``; and notes.

    The derivative with respect to the weights is the difference of the potentials, ``epsilon``
    held (Mena and Niles-Weed 2019, arXiv:1905.11882; Feydy et al. 2019).
    """

    value: float
    on_source: Tensor
    on_target: Tensor
    notes: tuple[str, ...]


def _solve(costs: Costs, epsilon: float, tolerance: float) -> _Solved:
    f, g, error = potentials(costs.across, epsilon, tolerance=tolerance, steps=_STEPS)
    p, p_error = _own_potential(costs.source, epsilon, tolerance)
    q, q_error = _own_potential(costs.target, epsilon, tolerance)
    on_source, on_target = f - p, g - q
    # The plan of a cloud to itself puts exp(2 p / epsilon) / n² on each point's place.
    stays = float((torch.cat([p, q]) * 2 / epsilon).exp().mean()) / len(p)
    notes = []
    if stays > _STAYS:
        notes.append(
            f"epsilon is so small for {len(p)} points that {stays:.0%} of a cloud's transport to "
            "itself stays in place: the Sinkhorn divergence keeps most of the bias of transport "
            "between samples. Read it against its null, or raise relative_epsilon."
        )
    worst = max(error, p_error, q_error)
    if worst > tolerance:
        notes.append(
            f"Sinkhorn iterations stopped after {_STEPS} steps with marginals off by {worst:.1e} "
            f"of the mass, above {tolerance:.0e}: the value is too low. Raise relative_epsilon."
        )
    value = float(on_source.double().mean() + on_target.double().mean())
    return _Solved(value, on_source, on_target, tuple(notes))


def potentials(
    cost: Tensor, epsilon: float, *, tolerance: float, steps: int
) -> tuple[Tensor, Tensor, float]:
    """Potentials of entropic transport between uniform weights, and what the marginals are off by.

    Args:
        cost: ``(n, m)``.
        epsilon: Strength of the entropy, in units of the cost.
        tolerance: Mean relative error of the marginal to stop at.
        steps: Steps to stop after, at least 1.

    Returns:
        ``f`` ``(n,)`` and ``g`` ``(m,)``, whose means add up to the least cost, and the error.
    """
    n, m = cost.shape
    # Feasible potentials that touch the cost in each row and column: no sum below is 0 or infinite.
    f = cost.amin(dim=1)
    g = (cost - f[:, None]).amin(dim=0)
    kernel = _kernel(cost, f, g, epsilon)
    leaving = kernel.mean(dim=1)
    for _ in range(steps):
        u = leaving.reciprocal()
        v = n / (u @ kernel)
        if torch.cat([u, v]).log().abs().max() > _LIMIT:
            f, g = f + epsilon * u.log(), g + epsilon * v.log()
            kernel = _kernel(cost, f, g, epsilon)
            u, v = torch.ones_like(u), torch.ones_like(v)
        leaving = kernel @ v / m
        error = float((u * leaving - 1).abs().mean())
        if error <= tolerance:
            break
    return f + epsilon * u.log(), g + epsilon * v.log(), error


def _own_potential(cost: Tensor, epsilon: float, tolerance: float) -> tuple[Tensor, float]:
    """The potential, ``(n,)``, of transport of a cloud to itself, and the error of the marginals.

    Each step goes half the way, which makes it converge (Feydy et al. 2019).
    """
    n = len(cost)
    # Costs of 0 on the diagonal hold every scaling between 1 / sqrt(n) and sqrt(n).
    kernel = cost.div(-epsilon).exp_()
    u = torch.ones_like(cost[0])
    for _ in range(_STEPS):
        leaving = kernel @ u / n
        error = float((u * leaving - 1).abs().mean())
        u = (u / leaving).sqrt()
        if error <= tolerance:
            break
    return epsilon * u.log(), error


def _kernel(cost: Tensor, f: Tensor, g: Tensor, epsilon: float) -> Tensor:
    return torch.sub(f[:, None] + g, cost).div_(epsilon).exp_()


def _divergence(z: Tensor, w: Tensor) -> _Solved:
    costs = _costs(z.float(), w.float())
    return _solve(costs, RELATIVE_EPSILON * _median(costs.across), _TOLERANCE)


def _part(space: Space) -> Part:
    sample, rows = space.sample(SAMPLE)
    z, w, _ = exactly_centred(sample.source, sample.target)
    solved = _divergence(z, w)
    return Part(
        value=solved.value,
        influence=solved.on_source + solved.on_target,
        again=lambda a, b: _divergence(a, b).value,
        offsets=sample.source.double() - sample.target.double(),
        spread=spread(z, w),
        rows=rows,
        notes=solved.notes,
    )


_whole, _centred = split(_part, draws=_DRAWS, purpose="sinkhorn_divergence")

SINKHORN_DIVERGENCE = Probe(
    name="sinkhorn_divergence",
    label="Sinkhorn divergence",
    family="distribution",
    better="lower",
    needs="common space",
    measure=_whole,
    interval=LINEARISED,
    null=SWAPPED,
)

SINKHORN_DIVERGENCE_CENTRED = Probe(
    name="sinkhorn_divergence_centred",
    label="Sinkhorn divergence, centred",
    family="distribution",
    better="lower",
    needs="common space",
    measure=_centred,
    interval=LINEARISED,
    null=SWAPPED,
)
