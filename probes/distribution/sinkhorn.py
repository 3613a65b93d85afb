"""Sinkhorn divergence: transport with entropy, less what transport to itself costs each cloud."""

from __future__ import annotations

import torch
from torch import Tensor

from align._checks import check_positive
from probes.distribution.clouds import Clouds
from probes.distribution.squared_distance import CentredDistance, squared_distance_probes
from probes.estimates import SmoothEstimate
from probes.inputs import Matrix, announce, common_space, near_one
from probes.medians import median_of

RELATIVE_EPSILON = 0.2
"""Of the median cost. At the usual 0.05 a cloud of a thousand items in hundreds of dimensions is
transported to itself by leaving everything in place, so that nothing is debiased."""

_TOLERANCE = 1e-4  # mean relative error of marginals; the error of the value is of its square
_STEPS = 2_000
_LIMIT = 20.0  # scalings beyond exp(20) go into the potentials, far from where float32 overflows
_STAYS = 0.5  # share of self-transport in place, beyond which debiasing has little to take away


def sinkhorn_divergence(
    source: Matrix, target: Matrix, *, relative_epsilon: float = RELATIVE_EPSILON
) -> float:
    """Debiased entropic transport cost between both clouds; lower is better.

    ``OT(z, w) - OT(z, z) / 2 - OT(w, w) / 2`` where ``OT`` is the least
    ``<P, C> + epsilon KL(P | product)`` over plans ``P`` between the clouds, for squared Euclidean
    costs ``C``. Pairing plays no part. ``epsilon`` is ``relative_epsilon`` times the median cost
    between the centred clouds, so it does not grow with the gap, and the divergence is exactly the
    squared gap of the centroids plus ``sinkhorn_divergence(*centred(source, target))``.

    In squared units of the embeddings; at least 0, and 0 only for equal clouds. Two samples of one
    law give more than 0, and in many dimensions much more unless ``epsilon`` is large: where a
    point's nearest neighbours are many ``epsilon`` away, transport of a cloud to itself leaves
    everything in place, and nothing is debiased. Read the value against the same with the sides
    swapped. Rotation and a common shift change nothing; scaling both sides by ``c`` gives ``c²`` as
    much. In the precision given, at least float32, until the marginals of each plan are off by at
    most 1e-4 of their mass. Cost ``O(n² d)`` and ``O(n²)`` for each of some tens of steps.

    Norms: as they are; the value grows with the square of the scale of all rows.

    Args:
        source: Source embeddings, ``(n, d)`` with ``n >= 2``.
        target: Target embeddings of the same pairs, ``(n, d)``.
        relative_epsilon: Strength of the entropy, above 0. Towards 0 the value becomes the squared
            Wasserstein distance, with its bias; for large values it sees little but centroids.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with two rows,
            ``relative_epsilon`` is not above 0, or the median cost is 0.

    Warns:
        UnreliableEstimate: ``epsilon`` is too small to debias, or steps did not suffice.

    Meaning:
        What it costs to carry one cloud onto the other, item by item, without regard to partners;
        centred, what is left of that once the means agree.

    Beware:
        Clouds can coincide while partners are shuffled, and two samples of one law give more than
        0: read it against its null.

    Range:
        In [0, 4], centred [0, 2]; the value of swapped sides with nothing there; lower is better.

    Reference:
        Feydy et al. 2019, arXiv:1810.08278, for the divergence, its sign and the averaged steps of
        a cloud to itself; scalings are moved into the potentials as in Schmitzer 2019,
        arXiv:1610.06519. There ``epsilon`` is free; tying it to the centred clouds is ours.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(40, 4, generator=rng), dim=1)
        >>> abs(round(probes.sinkhorn_divergence(x, x.flip(0)), 4))
        0.0
    """
    check_positive("relative_epsilon", relative_epsilon)
    (x, y), scale = near_one(*common_space(source, target))
    clouds = Clouds.of(x, y, x.dtype)
    solved = _divergence(clouds, relative_epsilon)
    announce(solved.notes)
    return float(clouds.gap.square().sum() + solved.value) * scale * scale


def _divergence(clouds: Clouds, relative_epsilon: float) -> SmoothEstimate:
    cost = clouds.across
    median = median_of(cost)
    if median == 0:
        raise ValueError(
            "the median cost between the centred clouds sets epsilon and must be above 0; got 0: "
            f"most of the {len(cost)} items of either side are equal. Drop repeated items."
        )
    epsilon = relative_epsilon * median
    f, g, error = potentials(cost, epsilon, tolerance=_TOLERANCE, steps=_STEPS)
    p, p_error = _own_potential(clouds.within_source, epsilon)
    q, q_error = _own_potential(clouds.within_target, epsilon)
    # The derivative with respect to the weights is the difference of the potentials, epsilon held
    # (Mena and Niles-Weed 2019, arXiv:1905.11882; Feydy et al. 2019).
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
    if worst > _TOLERANCE:
        notes.append(
            f"Sinkhorn iterations stopped after {_STEPS} steps with marginals off by {worst:.1e} "
            f"of the mass, above {_TOLERANCE:.0e}: the value is too low. Raise relative_epsilon."
        )
    value = float(on_source.double().mean() + on_target.double().mean())
    return SmoothEstimate(value, on_source + on_target, tuple(notes))


def potentials(
    cost: Tensor, epsilon: float, *, tolerance: float, steps: int
) -> tuple[Tensor, Tensor, float]:
    """Potentials of entropic transport between uniform weights for a cost ``(n, m)``.

    Stops where the mean relative error of the marginal is within ``tolerance``, or after so many
    steps. Returns ``f`` ``(n,)`` and ``g`` ``(m,)``, whose means add up to the least cost, and the
    error.
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


def _kernel(cost: Tensor, f: Tensor, g: Tensor, epsilon: float) -> Tensor:
    return torch.sub(f[:, None] + g, cost).div_(epsilon).exp_()


def _own_potential(cost: Tensor, epsilon: float) -> tuple[Tensor, float]:
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
        if error <= _TOLERANCE:
            break
    return epsilon * u.log(), error


def _solve(clouds: Clouds) -> CentredDistance:
    value, influence, notes = _divergence(clouds, RELATIVE_EPSILON)

    def again(swapped: Clouds) -> float:
        return _divergence(swapped, RELATIVE_EPSILON).value

    return CentredDistance(value, influence, again, notes=notes)


# 19 swaps are the fewest for a p of 0.05; each solves three transports.
SINKHORN_DIVERGENCE, SINKHORN_DIVERGENCE_CENTRED = squared_distance_probes(
    "sinkhorn_divergence",
    ("Sinkhorn divergence", "Sinkhorn divergence, centred"),
    sinkhorn_divergence,
    _solve,
    draws=19,
)
