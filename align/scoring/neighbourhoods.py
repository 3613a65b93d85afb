"""Who is near whom within one side, and on how many of its neighbours two sides agree."""

from __future__ import annotations

import torch
from torch import Tensor

from align._checks import check_k
from align.scoring.inner_products import inner_products
from align.scoring.ties import PRODUCTS, largest_first

_SCORES = 2**24  # cosines held at a time


def neighbours(unit: Tensor, codes: Tensor, k: int) -> Tensor:
    """The ``k`` rows of other groups that are closest in cosine, best first, ``(n, k)`` int64.

    Rows are of unit norm. Of those equally close, up to 1e-6, the lower index comes first.
    """
    largest = int(torch.bincount(codes).max())
    check_k(k, len(unit) - largest, of="the pairs outside the largest group")
    nearest = []
    for rows in torch.split(torch.arange(len(unit)), max(1, _SCORES // len(unit))):
        scores = inner_products(unit[rows], unit)
        scores.masked_fill_(codes[rows, None] == codes, -torch.inf)
        nearest.append(largest_first(scores, k, within=PRODUCTS))
    return torch.cat(nearest)


def shared(x: Tensor, y: Tensor) -> Tensor:
    """Size of the intersection of two neighbour sets of each row, ``(n,)`` int64."""
    return (x[:, :, None] == y[:, None, :]).sum(dim=(1, 2))


def shared_under(x: Tensor, y: Tensor, pairings: Tensor) -> Tensor:
    """What ``shared(x, y)`` sums to under each of some pairings, ``(draws,)`` int64.

    ``pairings``, ``(draws, n)``, name the target row of each source row.
    """
    n = len(x)
    # Row i keeps its source neighbours; a pairing says under which target rows they are looked up.
    near = torch.zeros(n, n, dtype=torch.bool).scatter_(1, y, True).flatten()
    return near[pairings[:, :, None] * n + pairings[:, x]].sum(dim=(1, 2))
