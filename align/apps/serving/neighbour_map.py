"""A query and its hits in two dimensions, for a picture of who lies beside whom."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from align.scoring.ties import first_largest

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class NeighbourMap:
    """Principal components of a query and its hits; the farthest coordinate is 1 or -1."""

    query: Point
    hits: tuple[Point, ...]
    explained: float  # share of variance on the two axes, in [0, 1]; 1 where all points are one


def neighbour_map(query: Tensor, hits: Tensor) -> NeighbourMap:
    """The first two principal components of a query ``(d,)`` and hits ``(k, d)`` at unit norm.

    Both axes have one scale.

    Reference:
        Jolliffe 2002, Principal Component Analysis, 2nd edition, section 1.1.
    """
    rows = F.normalize(torch.cat([query[None], hits]).double(), dim=1)
    u, s, _ = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    points = torch.zeros(len(rows), 2, dtype=rows.dtype)
    points[:, : s[:2].numel()] = u[:, :2] * s[:2]
    # A component has no sign: let its farthest point lie on the right and at the top.
    # Two points lie equally far out on both sides, and rounding must not turn the picture over.
    farthest = points.gather(0, first_largest(points.abs().T, within=1e-6)[None])
    points = torch.where(farthest < 0, -points, points)
    spread, kept_variance, rest = points.abs().max(), s[:2].square().sum(), s[2:].square().sum()
    if kept_variance < 1e-12:  # the points are one, up to round-off
        return NeighbourMap((0.0, 0.0), ((0.0, 0.0),) * len(hits), 1.0)
    query_at, *hits_at = [(x, y) for x, y in (points / spread).tolist()]
    return NeighbourMap(query_at, tuple(hits_at), float(kept_variance / (kept_variance + rest)))
