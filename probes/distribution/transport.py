"""Exact transport: squared Wasserstein distance in one space, Gromov-Wasserstein between two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._checks import check_at_least
from probes.distribution.clouds import Clouds
from probes.distribution.sinkhorn import potentials
from probes.distribution.squared_distance import CentredDistance, squared_distance_probes
from probes.estimates import Measured, Null
from probes.inputs import Matrix, common_space, directions, near_one, pairs
from probes.medians import median_of
from probes.space import Probe, Space, whole_groups

Array = np.ndarray[Any, Any]

_SUBSETS = 4  # disjoint parts of the pairs that Gromov-Wasserstein is averaged over, at most
_SUBSET = 200  # pairs in each: from three starts this takes some 0.2 s; the value falls with it
_T = {2: 12.706, 3: 4.303, 4: 3.182}  # 97.5 % points of Student's t for a mean of so many values


def exact_wasserstein(source: Matrix, target: Matrix) -> float:
    """Squared Wasserstein distance of both clouds as they are; lower is better.

    The least mean squared distance between partners over all one-to-one assignments of source to
    target items, in squared units of the embeddings; pairing plays no part. It is exactly the
    squared gap of the centroids plus ``exact_wasserstein(*centred(source, target))``.

    At least 0, and 0 only for equal clouds. Two samples of one law of dimension ``d`` give much
    more than 0, with a bias that shrinks only like ``n^(-2/d)``: the value means something only
    against the same with the sides swapped, at the same ``n``. Rotation and a common shift change
    nothing; scaling both sides by ``c`` gives ``c²`` as much. The assignment is the best in the
    precision given, at least float32. Cost ``O(n² d)`` and, at worst, ``O(n³)`` for the assignment:
    some 0.1 s for 1,000 pairs.

    Norms: as they are; the value grows with the square of the scale of all rows.

    Args:
        source: Source embeddings, ``(n, d)`` with ``n >= 2``.
        target: Target embeddings of the same pairs, ``(n, d)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with two rows.

    Meaning:
        The least mean squared distance at which the items of both sides can be matched one to one;
        centred, once the means agree.

    Beware:
        In many dimensions samples of one law lie far apart, with a bias that hardly shrinks as
        pairs are added: only the distance to its null means something.

    Range:
        In [0, 4], centred [0, 2]; the value of swapped sides with nothing there; lower is better.

    Reference:
        Peyré and Cuturi 2019, arXiv:1803.00567, proposition 2.1: an assignment is an optimal plan
        between uniform weights. The bias is Fournier and Guillin 2015,
        doi:10.1007/s00440-014-0583-7, theorem 1.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(20, 4, generator=rng), dim=1)
        >>> abs(round(probes.exact_wasserstein(x, x.flip(0)), 6))
        0.0
    """
    (x, y), scale = near_one(*common_space(source, target))
    clouds = Clouds.of(x, y, x.dtype)
    return (float(clouds.gap.square().sum()) + _assigned(clouds)[0]) * scale * scale


def _assigned(clouds: Clouds, *, tolerance: float = 1e-2) -> tuple[float, Tensor]:
    """Least mean squared distance of partners, and what each pair adds to it ``(n,)``.

    The tolerance is that of what each pair adds; the assignment does not depend on it.
    """
    from scipy.optimize import linear_sum_assignment

    cost = clouds.across
    level = float(cost.mean())
    if level == 0:
        return 0.0, torch.zeros_like(cost[0])
    # Entropic potentials are taken off the cost first. That moves every assignment by the same
    # amount, and leaves the solver little to search, which saves most of its time. Their sums are
    # also the derivative of the cost with respect to the weights (del Barrio and Loubes 2019,
    # arXiv:1705.01299, for exact potentials, which are noisier at the same n).
    f, g, _ = potentials(cost, 0.02 * level, tolerance=tolerance, steps=200)
    _, partners = linear_sum_assignment((cost - f[:, None] - g).numpy())
    apart = clouds.source - clouds.target[torch.from_numpy(partners)]
    return float(apart.square().sum(dim=1).mean()), f + g


def _solve(clouds: Clouds) -> CentredDistance:
    def again(swapped: Clouds) -> float:
        # Rough potentials, at two fifths of the time, take nearly as much off the search.
        return _assigned(swapped, tolerance=0.1)[0]

    return CentredDistance(*_assigned(clouds), again)


# 19 swaps are the fewest for a p of 0.05; each solves an assignment.
EXACT_WASSERSTEIN, EXACT_WASSERSTEIN_CENTRED = squared_distance_probes(
    "exact_wasserstein", ("W²", "W², centred"), exact_wasserstein, _solve, draws=19
)


def gromov_wasserstein(
    source: Matrix, target: Matrix, *, restarts: int = 3, seed: int = 0
) -> float:
    """Squared Gromov-Wasserstein discrepancy of the angles within each side; lower is better.

    The least mean of ``(A[i, k] - B[j, l])²`` over plans that move items ``i`` to ``j`` and ``k``
    to ``l``, where ``A`` and ``B`` are the angles between items of a side divided by their median.
    It asks whether the clouds have one shape; sides need no common space, and pairing plays no
    part. Without unit, in float64; at least 0, and 0 where some assignment keeps all angles. The
    independent plan, which knows nothing of the shapes, gives the mean of ``A²`` plus that of
    ``B²`` less twice the product of their means. Rotation and scaling of either side change
    nothing. The value falls with ``n``: compare only at one ``n``.

    The problem is not convex: what comes out is the best local optimum found, an upper bound. The
    first start matches items whose angles to the others are spread alike (the third lower bound of
    Mémoli), the second is the independent plan, and further ones are random. Cost ``O(n³)`` for
    each of some ten steps from each start; meant for ``n`` up to 500.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings without zero rows, ``(n, d_source)`` with ``n >= 3``.
        target: Target embeddings of the same pairs without zero rows, ``(n, d_target)``.
        restarts: Starts in all, at least 1.
        seed: Seeds the random starts.

    Raises:
        ValueError: The sides are not row-matched finite matrices with three rows, a row is zero,
            more than half of the angles of a side are 0, or ``restarts`` is below 1.

    Meaning:
        How well the distances within one side can be matched with those within the other, whichever
        item goes to which.

    Beware:
        A local optimum is found, and symmetric clouds match in the wrong way at no cost: a low
        value is no pairing.

    Range:
        At least 0; the cost of matching everything with everything with nothing there; lower is
        better.

    Reference:
        Mémoli 2011, doi:10.1007/s10208-011-9093-5; Peyré, Cuturi and Solomon 2016, ICML, for the
        square loss; conditional gradient of Vayer et al. 2019, arXiv:1805.09114, in POT.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(30, 4, generator=rng), dim=1)
        >>> abs(round(probes.gromov_wasserstein(x, -x), 6))
        0.0
    """
    check_at_least("restarts", restarts, 1)
    x, y = pairs(source, target, least=3)
    return _discrepancy(_angles("source", x), _angles("target", y), restarts, seed)


def _angles(name: str, x: Tensor) -> Array:
    """Angles between rows divided by their median, ``(n, n)`` float64."""
    unit = directions(name, x.double())
    # Rounding takes the cosine of equal rows beyond 1, where no angle exists.
    angles = (unit @ unit.T).clamp_(-1, 1).arccos_()
    median = median_of(angles[torch.ones_like(angles, dtype=torch.bool).triu_(1)])
    # Angles below this, in radians, are the rounding of float32 directions.
    if median < 1e-6:
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
    from scipy.optimize import linear_sum_assignment

    n = len(a)
    alike = torch.cdist(torch.from_numpy(np.sort(a)), torch.from_numpy(np.sort(b))).square()
    plan = np.zeros((n, n))
    plan[linear_sum_assignment(alike.numpy())] = 1 / n
    yield plan
    independent = np.full((n, n), 1 / n**2)
    rng = np.random.default_rng(seed)
    for start in range(1, restarts):
        yield independent if start == 1 else (independent + np.eye(n)[rng.permutation(n)] / n) / 2


def _subsets(space: Space) -> list[Tensor]:
    """Rows of disjoint random parts of a space, whole groups."""
    left, subsets = torch.arange(space.n), []
    generator = space.generator("gromov_wasserstein")
    for _ in range(min(_SUBSETS, max(1, space.n // _SUBSET))):
        codes = torch.unique(space.codes[left], return_inverse=True)[1]
        drawn = whole_groups(codes, _SUBSET, generator)
        subsets.append(left[drawn])
        left = left[~torch.isin(torch.arange(len(left)), drawn)]
    return subsets


def _measure_gromov_wasserstein(space: Space) -> Measured:
    subsets = _subsets(space)
    values, independent = [], []
    for rows in subsets:
        a, b = _angles("source", space.source[rows]), _angles("target", space.target[rows])
        values.append(_discrepancy(a, b, restarts=3, seed=0))
        independent.append(float((a**2).mean() + (b**2).mean() - 2 * a.mean() * b.mean()))
    count = len(values)
    mean, interval = float(np.mean(values)), None
    notes: tuple[str, ...] = ()
    if count > 1:
        half = _T[count] * float(np.std(values, ddof=1)) / count**0.5
        interval = (mean - half, mean + half)
    else:
        notes = (
            f"{space.n} pairs make one subset of {len(subsets[0])} for Gromov-Wasserstein, and the "
            f"interval needs two: {2 * _SUBSET} pairs.",
        )
    null = Null(sum(independent) / count)
    rows = torch.cat(subsets).sort().values
    return Measured(mean, interval=interval, null=null, rows=rows, notes=notes)


GROMOV_WASSERSTEIN = Probe(
    name="gromov_wasserstein",
    label="Gromov-Wasserstein",
    extreme=0.0,
    function=gromov_wasserstein,
    family="structure",
    better="lower",
    needs="sides",
    measure=_measure_gromov_wasserstein,
    interval="Student's t over disjoint subsets",
    null="independent plan",
)
