"""Pairs put together anew at random: the null of whatever asks who belongs to whom."""

from __future__ import annotations

import torch
from torch import Tensor


def random_pairings(codes: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Target row that each source row is paired with in random pairings, ``(draws, n)`` int64.

    ``codes`` are the group codes of pairs, ``(n,)`` int64 in ``0 .. g - 1``.
    Groups are put in a random order and keep the order of their rows, so that groups of one size
    are exchanged whole: the captions of a photo do not pass for independent evidence.
    """
    keys = torch.rand(draws, int(codes.max()) + 1, generator=generator, dtype=torch.float64)
    drawn = torch.empty(draws, len(codes), dtype=torch.int64)
    drawn[:, codes.argsort(stable=True)] = keys[:, codes].argsort(dim=1, stable=True)
    return drawn
