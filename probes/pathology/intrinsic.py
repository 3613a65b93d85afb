"""Intrinsic dimension of one side, from the distances to two nearest neighbours."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from align.data.sides import Side
from align.scoring.topk import nearest
from probes.estimates import Measured
from probes.inputs import Matrix, matrix, near_one
from probes.space import Probe, Space, for_each_side

SAMPLE = 2000
"""Pairs measured on: the cost grows with the square, and the error is then about 2 % already."""

_BLOCK = 1024  # rows whose neighbours are looked up at a time
_EQUAL = 0.25  # most of the rows that may be as far from the second neighbour as from the first


def two_nn(x: Matrix) -> float:
    """Dimension of the surface that the rows lie on, as their nearest neighbours see it.

    With ``r1`` and ``r2`` the distances of a row to its two nearest neighbours, ``r2 / r1`` has
    the law ``F = 1 - (r2 / r1)^-dimension`` wherever the density is even over that range. The
    dimension is the slope of the line through the origin fitted to ``-log(1 - i / n)`` over the
    sorted ``log(r2 / r1)``, without the largest tenth: a positive number, not bounded by ``d``.
    Neither direction is better, and there is no null. It looks at the scale of neighbours, which
    shrinks as rows are added: compare it at equal ``n`` only. Above about 10 dimensions it reads
    low, as edges are near everywhere. Invariant to rotation, shift and scale. Costs O(n^2 d), in
    blocks.

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        x: One embedding per row, ``(n, d)``, ``n >= 3``, no two rows equal.

    Raises:
        ValueError: ``x`` is not a finite matrix of at least three rows, a row is as good as equal
            to another, or more than a quarter of the rows have two neighbours at the very same
            distance.

    Meaning:
        How many dimensions the surface has on which the items of one side lie.

    Beware:
        It reads low above about 10 dimensions and changes as items are added; repeated items spoil
        it.

    Range:
        Positive; no value with nothing there; neither is better.

    Reference:
        Facco et al. 2017, doi:10.1038/s41598-017-11873-y, eq. 5 and the algorithm after it. The
        maximum of the likelihood, ``n`` over the sum of the logarithms, uses all ratios; a few
        pairs of almost equal rows are enough to spoil it.

    Examples:
        >>> import torch, probes
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.rand(2000, 2, generator=rng)  # a plane in five dimensions
        >>> round(probes.two_nn(torch.cat([x, torch.zeros(2000, 3)], dim=1)))
        2
    """
    (rows,), _ = near_one(matrix("x", x, least=3))
    logs = _log_ratios(rows).sort().values
    return _slopes(logs, torch.ones(1, len(logs), dtype=torch.float64)).item()


def _log_ratios(x: Tensor) -> Tensor:
    """Logarithm of the ratio of the distances to the two neighbours, ``(n,)`` float64."""
    rows = x.double()
    centred = rows - rows.mean(dim=0)
    scale = centred.abs().max()
    _check_apart(scale.expand(len(rows)))
    centred = centred / scale
    # An inner product that orders as the distance does: x·y - y·y / 2.
    halves = centred.square().sum(dim=1, keepdim=True) / 2
    queries = torch.cat([centred, torch.ones_like(halves)], dim=1)
    gallery = torch.cat([centred, -halves], dim=1)
    blocks = []
    for block in torch.split(torch.arange(len(rows)), _BLOCK):
        near = nearest(queries[block], gallery, k=3).indices
        # The products only name the neighbours: close rows cancel in them, but not in a difference.
        gaps = torch.linalg.vector_norm((rows[block, None] - rows[near]) / scale, dim=2)
        gaps.masked_fill_(near == block[:, None], torch.inf)
        blocks.append(gaps.sort(dim=1).values[:, :2])
    first, second = torch.cat(blocks).unbind(dim=1)
    _check_apart(first)
    logs = (second / first).log()
    equal = int((logs == 0).sum())
    if equal > _EQUAL * len(logs):
        raise ValueError(
            "the two nearest neighbours of a row must lie at two distances for a dimension to "
            f"show; for {equal} of {len(logs)} rows it is one distance. The rows form a grid or a "
            "simplex and no cloud: leave this probe out."
        )
    return logs


def _check_apart(first: Tensor) -> None:
    zero = first == 0
    if zero.any():
        at = zero.nonzero().flatten().tolist()
        raise ValueError(
            f"every row must lie apart from its nearest neighbour; {len(at)} of {len(first)} rows "
            f"have another at distance 0, the first at {at[:5]}. Pass each distinct row once, for "
            "example x.unique(dim=0)."
        )


def _slopes(logs: Tensor, weights: Tensor) -> Tensor:
    """Slope of the fit when the ``i``-th smallest of ``logs`` comes ``weights[:, i]`` times."""
    total = weights.sum(dim=1, keepdim=True)
    most = (9 * total / 10).floor()
    upto = torch.minimum(weights.cumsum(dim=1), most)
    # Sum of -log(1 - i / total) over i = 1 .. upto.
    heights = upto * total.log() - torch.lgamma(total) + torch.lgamma(total - upto)
    start = torch.zeros_like(total)
    rises, counts = heights.diff(dim=1, prepend=start), upto.diff(dim=1, prepend=start)
    return (rises @ logs) / (counts @ logs.square())


def _measure(space: Space, *, side: Side) -> Measured:
    sample, rows = space.sample(SAMPLE)
    x = sample.side(side)
    distinct = torch.from_numpy(np.unique(x.numpy(), axis=0, return_index=True)[1]).sort().values
    logs, order = _log_ratios(matrix(f"the distinct rows of {side}", x[distinct], least=3)).sort()
    in_order = distinct[order]
    repeats = len(x) - len(distinct)
    notes = (
        f"{repeats} of {len(x)} rows of {side} repeat another row; each distinct row was taken "
        "once, since a repeat has its neighbour at distance 0.",
    )
    return Measured(
        _slopes(logs, torch.ones(1, len(logs), dtype=torch.float64)).item(),
        lambda weights: _slopes(logs, weights[:, in_order]),
        rows=None if sample is space else rows,
        notes=notes if repeats else (),
    )


TWO_NN_SOURCE, TWO_NN_TARGET = for_each_side(
    partial(
        Probe,
        family="pathology",
        better="neither",
        needs="sides",
        interval="bootstrap over pairs, neighbours held: a little narrow",
        function=two_nn,
    ),
    "two_nn",
    "Intrinsic dimension (TwoNN),",
    _measure,
)
