"""One row through a linear map and an expansion by NumPy, which takes a third of PyTorch's time."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from align.adapters.maps.linear import SHORTEST, AffineMap, LinearMap, SideMap

_SQUARES = 1e-30, 1e30  # squared lengths whose terms surely lie in the range of float32


def map_one_row(side_map: SideMap, x: Tensor, *, ones: int = 0) -> Tensor | None:
    """What a ``LinearMap`` or an ``AffineMap`` gives for one row, equal but for rounding.

    In a batch of one, calling operators costs more than what they compute. The length of the row,
    which the map needs, also says that it is finite and has a direction.

    Args:
        side_map: The map.
        x: A row for it, ``(1, d_in)``.
        ones: Columns of ones to add.

    Returns:
        ``(1, dim + ones)``, unit norm but for the ones. ``None`` where nothing was computed and the
        map must be called: it is of another kind or of several parts, not everything is on the CPU,
        ``x`` is not float32 ``(1, d_in)``, requires a gradient, has no direction, or is so long or
        so short that squares leave float32.
    """
    if not isinstance(side_map, (LinearMap, AffineMap)) or x.shape != (1, side_map.d_in):
        return None
    weight = side_map.weight
    if isinstance(side_map, LinearMap) and side_map.parts is not None:
        return None
    plain = x.dtype == weight.dtype == torch.float32 and x.is_cpu and weight.is_cpu
    if not plain or x.requires_grad:
        return None
    row = x.numpy()[0]
    if isinstance(side_map, LinearMap) and side_map.root:
        row = np.copysign(np.sqrt(np.abs(row)), row)
    with np.errstate(over="ignore"):  # what is too long is seen below
        squares = row.dot(row)
    if not _SQUARES[0] < squares < _SQUARES[1]:
        return None
    row = row / np.float32(math.sqrt(squares))
    row -= side_map.mean.numpy()
    found = np.empty((1, side_map.dim + ones), np.float32)
    mapped = found[0, : side_map.dim]
    np.dot(row, weight.numpy(), out=mapped)
    found[0, side_map.dim :] = 1
    if isinstance(side_map, AffineMap):
        mapped += side_map.offset.numpy()
    mapped /= np.float32(max(math.sqrt(mapped.dot(mapped)), SHORTEST))
    return torch.from_numpy(found)


def expand_one_row(
    z: Tensor, own: Tensor, other: Tensor, *, weight: float, sharpness: float
) -> Tensor | None:
    """What an ``Expansion`` of a reference set gives for one row, equal but for rounding.

    Args:
        z: A unit-norm row in the shared space, ``(1, d)``.
        own: Unit-norm reference items of its side, ``(rows, d)``.
        other: Their partners, ``(rows, d)``.
        weight: Of the expansion.
        sharpness: Of the expansion.

    Returns:
        ``(1, d)``, unit norm; ``None`` where nothing was computed, since there are several rows,
        not everything is float32 on the CPU, or a gradient is required.
    """
    tensors = z, own, other
    plain = all(each.is_cpu and each.dtype == torch.float32 for each in tensors)
    if len(z) != 1 or not plain or any(each.requires_grad for each in tensors):
        return None
    row = z.numpy()[0]
    weights = np.vecdot(own.numpy(), row)
    weights -= weights.max()
    weights *= np.float32(sharpness)
    np.exp(weights, out=weights)
    # Threads of NumPy's library would wait for each other here, long on a busy machine.
    partner = torch.mv(other.T, torch.from_numpy(weights)).numpy()
    partner *= np.float32(weight / max(math.sqrt(partner.dot(partner)), SHORTEST))
    partner += row
    partner /= np.float32(max(math.sqrt(partner.dot(partner)), SHORTEST))
    return torch.from_numpy(partner[None])
