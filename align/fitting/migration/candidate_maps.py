"""Closed-form maps from a new encoder's space into an old one, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from align.adapters.maps.linear import AffineMap, IdentityMap, LinearMap, SideMap
from align.adapters.recipes.formulas import forward_weight, procrustes_maps, rcca_maps
from align.adapters.recipes.moments import Paired, Spectrum, second_moment

RIDGES = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LOW_RANK_RIDGES = (0.001, 0.03)
RANKS = (0.25, 0.5)  # shares of the full rank
OLD_RIDGES = (0.3, 1.0, 3.0)  # of the old side, where canonical directions are weighted
NEW_RIDGE = 0.03

Build = Callable[[Paired], SideMap]


def candidate_maps(d_new: int, d_old: int) -> dict[str, Build]:
    """Builders by name; the untouched new vectors are among them where the widths agree."""
    maps: dict[str, Build] = {"procrustes": _procrustes}
    for ridge in RIDGES:
        maps[f"ridge {ridge:g}"] = partial(_affine, ridge=ridge, rank=None)
    ranks = sorted({max(1, round(share * min(d_new, d_old))) for share in RANKS})
    for ridge in LOW_RANK_RIDGES:
        for rank in ranks:
            maps[f"ridge {ridge:g}, rank {rank}"] = partial(_affine, ridge=ridge, rank=rank)
    for ridge in OLD_RIDGES:
        maps[f"rcca, old ridge {ridge:g}"] = partial(_canonical, old_ridge=ridge)
    if d_new == d_old:
        maps["as it is"] = lambda moments: IdentityMap(moments.widths[0])
    return maps


def old_space_moments(x: Tensor, y: Tensor, dtype: torch.dtype) -> Paired:
    """Moments of unit-norm rows ``(n, d)`` less their means, without normalising again.

    The old space stays as it is, so what is to be predicted is the old vector itself.
    """
    means = x.mean(dim=0), y.mean(dim=0)
    a, b = x - means[0], y - means[1]
    sa, sb = Spectrum.of_rows(a, dtype=dtype), Spectrum.of_rows(b, dtype=dtype)
    cross = sa.vectors.T @ (second_moment(a, b) / len(a)).to(dtype) @ sb.vectors
    return Paired(means, (False, False), sa, sb, cross, len(a))


def _procrustes(moments: Paired) -> AffineMap:
    rotated = procrustes_maps(moments)[0]
    return AffineMap(moments.means[0], rotated.weight, moments.means[1])


def _affine(moments: Paired, *, ridge: float, rank: int | None) -> AffineMap:
    """Ridge regression with an offset, of the ``rank`` strongest directions it predicts."""
    weight = forward_weight(moments, ridge)
    if rank is not None:
        scaled = moments.source.values.sqrt()[:, None] * (moments.source.vectors.T @ weight)
        strongest = torch.linalg.svd(scaled, full_matrices=False).Vh[:rank]
        weight = weight @ strongest.T @ strongest
    return AffineMap(moments.means[0], weight.float(), moments.means[1])


def _canonical(moments: Paired, *, old_ridge: float) -> LinearMap:
    """Regularised CCA whose two maps are folded into one, as in ``fit(side="source")``."""
    source, target = rcca_maps(moments, (NEW_RIDGE, old_ridge), 1.0)
    return LinearMap(moments.means[0], source.weight @ target.weight.T)
