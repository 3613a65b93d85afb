"""Wasserstein distance seen along random lines, where transport is a matter of sorting."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_at_least
from probes.distribution.clouds import Clouds, exactly_centred
from probes.distribution.squared_distance import CentredDistance, squared_distance_probes
from probes.inputs import Matrix, common_space, near_one

DIRECTIONS = 500


def sliced_wasserstein(
    source: Matrix, target: Matrix, *, directions: int = DIRECTIONS, seed: int = 0
) -> float:
    """Squared sliced Wasserstein distance times ``d``; lower is better.

    The mean over random lines of the squared Wasserstein distance between the projections, in
    squared units of the embeddings. Times ``d``, a shift by ``m`` gives ``||m||²`` in every
    dimension, as for the distance that is not sliced. Pairing plays no part. The share of the
    centroids, ``||m||²``, is put in exactly; only the centred part,
    ``sliced_wasserstein(*centred(source, target))``, rests on the lines drawn: with 500 of them its
    standard error is a few per cent of it.

    At least 0, and 0 only for equal clouds. Two samples of one law give more than 0, with a bias
    that shrinks like ``1 / n``: read it against the same with the sides swapped. Rotation changes
    nothing but the lines; scaling both sides by ``c`` gives ``c²`` as much. Cost
    ``O(n d p + p n log n)`` for ``p`` lines.

    Norms: as they are; the value grows with the square of the scale of all rows.

    Args:
        source: Source embeddings, ``(n, d)`` with ``n >= 2``.
        target: Target embeddings of the same pairs, ``(n, d)``.
        directions: Lines drawn.
        seed: Seeds the lines.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with two rows, or
            ``directions`` is below 1.

    Meaning:
        The distance of both clouds as seen along random lines, put on the scale of the whole space;
        centred, once the means agree.

    Beware:
        A difference in a few of many dimensions is diluted over all lines.

    Range:
        In [0, 4], centred [0, 2]; the value of swapped sides with nothing there;
        lower is better.

    Reference:
        Bonneel et al. 2015, doi:10.1007/s10851-014-0506-3. The factor ``d`` and the exact share of
        the centroids are ours.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(40, 4, generator=rng), dim=1)
        >>> abs(round(probes.sliced_wasserstein(x, x.flip(0)), 6))
        0.0
    """
    check_at_least("directions", directions, 1)
    (x, y), scale = near_one(*common_space(source, target))
    z, w, gap = exactly_centred(x, y)
    lines = _lines(z.shape[1], directions, seed)
    along = z.shape[1] * _along(*(_sort(lines @ side.T).rising for side in (z, w)))
    return float(gap.square().sum() + along) * scale * scale


class _Sorted(NamedTuple):
    """A cloud along random lines: coordinates in order, and the rows they are of, ``(p, n)``."""

    rising: Tensor
    order: Tensor


def _sort(x: Tensor) -> _Sorted:
    # NumPy sorts by vector instructions, PyTorch one number at a time.
    order = torch.from_numpy(np.argsort(x.numpy(), axis=1))
    return _Sorted(x.gather(1, order), order)


def _lines(d: int, directions: int, seed: int) -> Tensor:
    """Unit vectors of random directions, ``(p, d)`` float64."""
    generator = torch.Generator().manual_seed(seed)
    lines = torch.randn(directions, d, generator=generator, dtype=torch.float64)
    unit: Tensor = lines / torch.linalg.vector_norm(lines, dim=1, keepdim=True)
    return unit


def _along(rising_z: Tensor, rising_w: Tensor) -> Tensor:
    """Mean squared distance of sorted centred projections ``(p, n)``."""
    return (rising_z - rising_w).square().mean(dtype=torch.float64)


def _influence(z: _Sorted, w: _Sorted) -> Tensor:
    """What each pair contributes to ``_along`` to first order, ``(n,)``."""
    # The derivative with respect to the weights is the sum of the two potentials. Along a line the
    # slope of a potential at x is 2 (x - T(x)) for the map T that keeps the order (Santambrogio
    # 2015, doi:10.1007/978-3-319-20828-2, section 2.1).
    slope = z.rising - w.rising
    slopes = slope[:, 1:] + slope[:, :-1]
    total = torch.zeros(slope.shape[1]).to(slope)
    for side, sign in ((z, 1), (w, -1)):
        steps = side.rising.diff(dim=1).mul_(slopes).mul_(sign)
        potential = F.pad(steps.cumsum(dim=1), (1, 0))
        potential -= potential.mean(dim=1, keepdim=True)
        total.index_add_(0, side.order.flatten(), potential.flatten())
    return total / len(slope)


def _solve(clouds: Clouds) -> CentredDistance:
    d = clouds.source.shape[1]
    lines = _lines(d, DIRECTIONS, 0)
    z, w = (_sort(lines @ side.T) for side in (clouds.source, clouds.target))

    def again(swapped: Clouds) -> float:
        along = (
            np.sort(side.float().T.contiguous().numpy(), axis=1)
            for side in (swapped.source, swapped.target)
        )
        return d * float(_along(*map(torch.from_numpy, along)))

    value = d * float(_along(z.rising, w.rising))
    return CentredDistance(value, d * _influence(z, w), again, axes=lines.T)


# 19 swaps are the fewest for a p of 0.05; each goes through all directions.
SLICED_WASSERSTEIN, SLICED_WASSERSTEIN_CENTRED = squared_distance_probes(
    "sliced_wasserstein",
    ("Sliced W², times d", "Sliced W², centred"),
    sliced_wasserstein,
    _solve,
    draws=19,
)
