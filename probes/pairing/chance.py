"""Retrieval where partners are drawn at random: the ranks that a recall has to beat."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from align.data.random_pairings import random_pairings
from probes.space import Space, once_per_space

DRAWS = 199  # random pairings behind a p-value, whose floor is 1 / 200
_ENTRIES = 1 << 22  # scores of random partners held at a time


@once_per_space
def random_ranks(space: Space) -> Tensor:
    """Rank of the best partner of each query where groups are paired at random.

    Each item keeps its neighbours and each group its size; only who belongs to whom is drawn. So
    the tightness of groups counts as it does for the true pairs: captions of one photo that lie
    together are found together or not at all, and one of them does better by chance alone only
    where they are far apart. A random order of the gallery knows nothing of that.

    Returns:
        ``(DRAWS, 2 n)`` int32: of targets searched by sources, and of sources searched by targets.
    """
    pairings = random_pairings(space.codes, DRAWS, space.generator("random partners"))
    forth, back = space.scores
    back_ranks = _first_ranks(back, space.codes, pairings.argsort(dim=1), turned=True)
    return torch.cat([_first_ranks(forth, space.codes, pairings), back_ranks], dim=1)


def partner_groups(
    codes: Tensor, pairings: Tensor, *, turned: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Who the group of each row is paired with, some rows at a time, for ``(draws, n)`` pairings.

    Where they are ``turned``, partners are of the side that groups are named by: those of a row
    are then the group of its own partner, and else the partners of its own group.

    Yields:
        Rows ``(b,)``; their partners ``(draws, b, r)`` int64, filled up to the largest group; and
        which of these are there, of the same shape.
    """
    sizes = torch.bincount(codes)
    by_group = torch.split(codes.argsort(stable=True), sizes.tolist())
    members = pad_sequence(list(by_group), batch_first=True)
    draws, most = len(pairings), members.shape[1]
    is_there = torch.arange(most) < sizes[:, None]
    rows = max(1, _ENTRIES // (draws * most + len(codes)))
    for block in torch.split(torch.arange(len(codes)), rows):
        if turned:
            groups = codes[pairings[:, block]]
            yield block, members[groups], is_there[groups]
        else:
            there = is_there[codes[block]].expand(draws, -1, -1)
            yield block, pairings[:, members[codes[block]]], there


def _first_ranks(every: Tensor, codes: Tensor, pairings: Tensor, *, turned: bool = False) -> Tensor:
    """Rank of the best of the rows that a query is paired with, ``(draws, n)`` int32.

    ``every`` holds the scores of each query, ``(n, n)``.
    """
    n = len(codes)
    ranks = torch.empty(len(pairings), n, dtype=torch.int32)
    for block, partners, there in partner_groups(codes, pairings, turned=turned):
        scores = every[block]
        rising = torch.from_numpy(np.sort(scores.numpy(), axis=1))
        own = scores[torch.arange(len(block))[None, :, None], partners]
        own = own.masked_fill(~there, -torch.inf)
        best = own.amax(dim=2)
        below = torch.searchsorted(rising, best.T.contiguous()).T
        # All that score at least as high, less the partners among them, and the best one itself.
        ranks[:, block] = (n - below - (own == best[:, :, None]).sum(dim=2) + 1).int()
    return ranks
