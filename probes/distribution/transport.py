"""Exact transport: squared Wasserstein distance in one space, Gromov-Wasserstein between two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._checks import check_at_least
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
from probes.distribution.sinkhorn import potentials
from probes.estimates import Measured, Null
from probes.inputs import Matrix, common_space, directions, near_one, pairs
from probes.space import Probe, Space, whole_groups

Array = np.ndarray[Any, Any]

_DRAWS = 19
"""Swaps of the null, the fewest for a p of 0.05; each solves an assignment."""

_SMOOTHING = 0.02
"""Entropy, in units of the mean cost, of the potentials that an assignment starts from."""

_TOLERANCE = 1e-2
"""Mean relative error of the marginals of those potentials, if reached within so many steps."""

_STEPS = 200

_SUBSETS = 4
"""Disjoint parts of the pairs that Gromov-Wasserstein is averaged over, at most."""

_SUBSET = 200
"""Pairs in each: from three starts this size takes some 0.2 s. The value falls with it."""

_SAME = 1e-6
"""Angles below this, in radians, are the rounding of float32 directions."""

_T = {2: 12.706, 3: 4.303, 4: 3.182}
"""97.5 % points of Student's t for a mean of so many values."""


def exact_wasserstein(source: Matrix, target: Matrix) -> float:
    """Squared Wasserstein distance of both clouds as they are; lower is better.

    The least mean squared distance between partners over all one-to-one assignments of source to
    target items. Pairing plays no part. It is exactly the squared gap of the centroids plus the
    distance of the centred clouds, which ``exact_wasserstein(*centred(source, target))`` gives
    alone.

    At least 0, and 0 only for equal clouds. Two samples of one law of dimension ``d`` give much
    more than 0, with a bias that shrinks only like ``n^(-2/d)``: the value means something only
    against the same with the sides swapped, at the same ``n``. Rotation and a common shift change
    nothing; scaling both sides by ``c`` gives ``c²`` as much.

    Cost ``O(n² d)`` and, at worst, ``O(n³)`` for the assignment: some 0.1 s for 1,000 pairs.

    Args:
        source: Source embeddings, ``(n, d)`` with ``n >= 2``.
        target: Target embeddings of the same pairs, ``(n, d)``.

    Returns:
        Squared distance in the units of the embeddings; the assignment is the best in the precision
        given, at least float32, and its cost is in float64.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with two rows.

    Reference:
        Peyré and Cuturi 2019, arXiv:1803.00567, proposition 2.1: an assignment is an
        optimal plan between uniform weights. The bias is Fournier and Guillin 2015,
        doi:10.1007/s00440-014-0583-7, theorem 1.
    """
    (x, y), scale = near_one(*common_space(source, target))
    z, w, gap = exactly_centred(x, y)
    value = float(gap.square().sum()) + _assigned(z.to(x.dtype), w.to(x.dtype))[0]
    return value * scale * scale


def _assigned(z: Tensor, w: Tensor) -> tuple[float, Tensor]:
    """Least mean squared distance of partners, and what each pair adds to it ``(n,)``.

    Entropic potentials are taken off the cost first. That moves every assignment by the same
    amount, and it leaves the solver little to search, which saves most of its time. Their sums are
    also the derivative of the cost with respect to the weights (del Barrio and Loubes 2019,
    arXiv:1705.01299, for exact potentials, which are noisier at the same ``n``).
    """
    cost = squared_distances(z, w)
    level = float(cost.mean())
    if level == 0:
        return 0.0, torch.zeros_like(cost[0])
    f, g, _ = potentials(cost, _SMOOTHING * level, tolerance=_TOLERANCE, steps=_STEPS)
    return _least_cost(cost - f[:, None] - g, z, w), f + g


def _least_cost(cost: Tensor, z: Tensor, w: Tensor) -> float:
    """Mean squared distance of the partners that ``cost`` ``(n, n)`` assigns."""
    from scipy.optimize import linear_sum_assignment

    _, partners = linear_sum_assignment(cost.numpy())
    return float((z - w[torch.from_numpy(partners)]).double().square().sum(dim=1).mean())


def _part(space: Space) -> Part:
    sample, rows = space.sample(SAMPLE)
    z, w, _ = exactly_centred(sample.source, sample.target)
    value, influence = _assigned(z.float(), w.float())
    return Part(
        value=value,
        influence=influence,
        again=lambda a, b: _least_cost(squared_distances(a.float(), b.float()), a, b),
        offsets=sample.source.double() - sample.target.double(),
        spread=spread(z, w),
        rows=rows,
    )


_whole, _centred = split(_part, draws=_DRAWS, purpose="exact_wasserstein")

EXACT_WASSERSTEIN = Probe(
    name="exact_wasserstein",
    label="W²",
    family="distribution",
    better="lower",
    needs="common space",
    measure=_whole,
    interval=LINEARISED,
    null=SWAPPED,
)

EXACT_WASSERSTEIN_CENTRED = Probe(
    name="exact_wasserstein_centred",
    label="W², centred",
    family="distribution",
    better="lower",
    needs="common space",
    measure=_centred,
    interval=LINEARISED,
    null=SWAPPED,
)


def gromov_wasserstein(
    source: Matrix, target: Matrix, *, restarts: int = 3, seed: int = 0
) -> float:
    """Squared Gromov-Wasserstein discrepancy of the angles within each side; lower is better.

    The least mean of ``(A[i, k] - B[j, l])²`` over plans that move items ``i`` to ``j`` and ``k``
    to ``l``, where ``A`` and ``B`` are the angles between items of a side divided by their median.
    It asks whether the clouds have one shape; sides need no common space, and pairing plays no
    part.

    At least 0; 0 where some assignment keeps all angles. The independent plan, which knows nothing
    of the shapes, gives the mean of ``A²`` plus that of ``B²`` less twice the product of their
    means. The problem is not convex: what comes out is the best local optimum found, an upper
    bound. The first start matches items whose angles to the others are spread alike (the third
    lower bound of Mémoli), the second is the independent plan, and further ones are random. The
    value falls with ``n``: compare only at one ``n``. Rotation and scaling of either side change
    nothing.

    Cost ``O(n³)`` for each of some ten steps from each start; meant for ``n`` up to 500.

    Args:
        source: Source embeddings without zero rows, ``(n, d_source)`` with ``n >= 3``.
        target: Target embeddings of the same pairs without zero rows, ``(n, d_target)``.
        restarts: Starts in all, at least 1.
        seed: Seeds the random starts.

    Returns:
        The discrepancy, without unit, computed in float64.

    Raises:
        ValueError: The sides are not row-matched finite matrices with three rows, a row is zero,
            more than half of the angles of a side are 0, or ``restarts`` is below 1.

    Reference:
        Mémoli 2011, doi:10.1007/s10208-011-9093-5; Peyré, Cuturi and Solomon 2016, ICML, for the
        square loss; conditional gradient of Vayer et al. 2019, arXiv:1805.09114, in POT.
    """
    check_at_least("restarts", restarts, 1)
    x, y = pairs(source, target, least=3)
    return _discrepancy(_angles("source", x), _angles("target", y), restarts, seed)


def _angles(name: str, x: Tensor) -> Array:
    """Angles between rows divided by their median, ``(n, n)`` float64."""
    unit = directions(name, x.double())
    # Rounding takes the cosine of equal rows beyond 1, where no angle exists.
    angles = (unit @ unit.T).clamp_(-1, 1).arccos_()
    median = angles[torch.ones_like(angles, dtype=torch.bool).triu_(1)].median()
    if median < _SAME:
        raise ValueError(
            f"the median angle within {name} sets its scale and must be above 0; more than half "
            f"of the angles between its {len(x)} rows are 0. Drop repeated items."
        )
    scaled: Array = (angles / median).numpy()
    return scaled


def _discrepancy(a: Array, b: Array, restarts: int, seed: int) -> float:
    from ot.gromov import gromov_wasserstein2

    uniform = np.full(len(a), 1 / len(a))
    return min(
        float(gromov_wasserstein2(a, b, uniform, uniform, G0=start, symmetric=True))
        for start in _starts(a, b, restarts, seed)
    )


def _starts(a: Array, b: Array, restarts: int, seed: int) -> Iterator[Array]:
    """Plans between uniform weights to start from, ``(n, n)`` each, ``restarts`` of them."""
    n = len(a)
    independent = np.full((n, n), 1 / n**2)
    alike = torch.cdist(torch.from_numpy(np.sort(a)), torch.from_numpy(np.sort(b)))
    yield _plan(alike.square())
    rng = np.random.default_rng(seed)
    for start in range(1, restarts):
        yield independent if start == 1 else (independent + np.eye(n)[rng.permutation(n)] / n) / 2


def _plan(cost: Tensor) -> Array:
    from scipy.optimize import linear_sum_assignment

    plan = np.zeros(cost.shape)
    plan[linear_sum_assignment(cost.numpy())] = 1 / len(cost)
    return plan


def _independent(a: Array, b: Array) -> float:
    return float((a**2).mean() + (b**2).mean() - 2 * a.mean() * b.mean())


def _subsets(space: Space) -> list[Tensor]:
    """Rows of disjoint random parts of a space, whole groups."""
    left, found = torch.arange(space.n), []
    generator = space.generator("gromov_wasserstein")
    for _ in range(min(_SUBSETS, max(1, space.n // _SUBSET))):
        codes = torch.unique(space.codes[left], return_inverse=True)[1]
        drawn = whole_groups(codes, _SUBSET, generator)
        found.append(left[drawn])
        left = left[~torch.isin(torch.arange(len(left)), drawn)]
    return found


def _measure_gromov_wasserstein(space: Space) -> Measured:
    subsets = _subsets(space)
    values, independent = [], []
    for rows in subsets:
        a, b = _angles("source", space.source[rows]), _angles("target", space.target[rows])
        values.append(_discrepancy(a, b, restarts=3, seed=0))
        independent.append(_independent(a, b))
    found = torch.tensor(values, dtype=torch.float64)
    count = len(found)
    interval: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    if count > 1:
        half = _T[count] * found.std().item() / count**0.5
        interval = (found.mean().item() - half, found.mean().item() + half)
    else:
        notes = (
            f"{space.n} pairs make one subset of {len(subsets[0])} for Gromov-Wasserstein, and the "
            f"interval needs two: {2 * _SUBSET} pairs.",
        )
    return Measured(
        found.mean().item(),
        interval=interval,
        null=Null(sum(independent) / count),
        rows=torch.cat(subsets).sort().values,
        notes=notes,
    )


GROMOV_WASSERSTEIN = Probe(
    name="gromov_wasserstein",
    label="Gromov-Wasserstein",
    family="structure",
    better="lower",
    needs="sides",
    measure=_measure_gromov_wasserstein,
    interval="Student's t over disjoint subsets",
    null="independent plan",
)
