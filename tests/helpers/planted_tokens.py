"""Pairs that one token among noise decides, beside pooled vectors that know next to nothing."""

from __future__ import annotations

import torch

from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from tests.helpers.planted import shared_factors, unit

CODE = 8


def needles(n=240, *, tokens=4, mark=0.5, seed=0, groups=None):
    """``n`` pairs; of each item's ``tokens`` one, marked in its first coordinate, tells the pair.

    The others have the opposite mark and random codes.
    """
    rng = torch.Generator().manual_seed(seed)
    codes = unit(torch.randn(n, CODE, generator=rng))
    sides = []
    for _ in range(2):
        told = torch.randn(n, tokens, CODE, generator=rng)
        told = told / told.norm(dim=2, keepdim=True)
        marks = torch.full((n, tokens, 1), -mark)
        at = torch.randint(tokens, (n,), generator=rng)
        told[torch.arange(n), at] = codes
        marks[torch.arange(n), at] = mark
        states = torch.cat([marks, told], dim=2)
        states = states + 0.05 * torch.randn(states.shape, generator=rng)
        sides.append(MultiVector.from_equal(states))
    x, y = shared_factors(n, (40, 32), shared=4, noise=6.0, seed=seed + 1)
    return TokenPairs(PairedEmbeddings.from_arrays(x, y, groups=groups), *sides)
