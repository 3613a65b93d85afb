"""Sides paired anew at random: what a probe gives where they have nothing in common."""

from __future__ import annotations

import torch
from torch import Tensor


def random_pairings(codes: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Target row that each source row is paired with in random pairings, ``(draws, n)`` int64.

    Groups are put in a random order and keep the order of their rows, so that groups of one size
    are exchanged whole: the captions of a photo do not pass for independent evidence.

    Args:
        codes: Group code of each pair, ``(n,)`` int64 in ``0 .. g - 1``.
        draws: Number of pairings.
        generator: Source of the pairings.
    """
    keys = torch.rand(draws, int(codes.max()) + 1, generator=generator, dtype=torch.float64)
    drawn = torch.empty(draws, len(codes), dtype=torch.int64)
    drawn[:, codes.argsort(stable=True)] = keys[:, codes].argsort(dim=1, stable=True)
    return drawn


def matrix_products(a: Tensor, b: Tensor, pairings: Tensor) -> Tensor:
    """Sum of ``a`` times ``b``, entry by entry, with rows and columns of ``b`` paired anew.

    The statistic of the Mantel test, up to a constant.

    Args:
        a: One entry per two rows of the source, ``(n, n)``.
        b: The same of the target, ``(n, n)``.
        pairings: ``(draws, n)`` int64, as ``random_pairings`` gives them.

    Returns:
        ``(draws,)`` float64.

    Reference:
        Mantel 1967, Cancer Research 27:209-220.
    """
    flat = a.flatten()
    # index_select is six times faster than b[rows][:, rows].
    sums = [
        torch.dot(flat, b.index_select(0, rows).index_select(1, rows).flatten())
        for rows in pairings
    ]
    return torch.stack(sums).double()
