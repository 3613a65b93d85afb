"""Mutual nearest neighbours of many pairs of encoders, against the best that chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from align.data.random_pairings import random_pairings
from align.scoring.neighbourhoods import shared, shared_under

K = 10  # neighbours
ROWS = 1000  # pairs: the overlap falls as they grow, and 1,000 is what papers report
DRAWS = 199  # random pairings
LEVEL = 0.95


class Agreement(NamedTuple):
    """How far two encoders agree on who is near whom.

    Attributes:
        overlap: Mean share of each item's ``K`` nearest neighbours that are the same on both
            sides, in [0, 1].
        calibrated: The same from what the luckiest of all candidates reaches in 19 of 20 random
            pairings, 0, to full agreement, 1; 0 where it is less.
        p: Share of random pairings, the true one among them, in which any candidate stands out as
            far as this one; in (0, 1].
    """

    overlap: float
    calibrated: float
    p: float


def agreements(
    neighbour_sets: Sequence[tuple[Tensor, Tensor]], codes: Tensor, *, seed: int
) -> list[Agreement]:
    """Agreement of each of several candidates, whose neighbour sets ``(n, K)`` are given.

    The largest of many overlaps is large by luck alone, and the more so the more layers are looked
    at. So each is measured from its mean in random pairings, in their standard deviations, and held
    against the largest such value of all candidates in each pairing: the null of the maximum. All
    candidates see the same pairings, so that what they have in common is taken account of.

    Args:
        neighbour_sets: Of each candidate the neighbours of its source and of its target side.
        codes: Group codes of the pairs, ``(n,)`` int64; groups are paired whole.
        seed: Of the random pairings.

    Reference:
        Huh et al. 2024, arXiv:2405.07987, appendix A, for the overlap; Groeger, Wen and Brbic 2026,
        arXiv:2602.14486, for scores calibrated by permutation and the null of the maximum over
        layers; Westfall and Young 1993, for the maximum of standardised statistics.
    """
    pairings = random_pairings(codes, DRAWS, torch.Generator().manual_seed(seed))
    slots = codes.numel() * K
    seen = torch.tensor(
        [int(shared(x, y).sum()) / slots for x, y in neighbour_sets], dtype=torch.float64
    )
    drawn = torch.stack([shared_under(x, y, pairings) / slots for x, y in neighbour_sets]).double()
    means, spread = drawn.mean(dim=1), drawn.std(dim=1).clamp_min(1 / slots)
    largest = ((drawn - means[:, None]) / spread[:, None]).amax(dim=0)
    bars = means + spread * torch.quantile(largest, LEVEL)
    stand_out = (seen - means) / spread
    p = ((largest[None] >= stand_out[:, None]).sum(dim=1) + 1) / (DRAWS + 1)
    calibrated = ((seen - bars) / (1 - bars)).clamp_min(0)
    return [
        Agreement(*values)
        for values in zip(seen.tolist(), calibrated.tolist(), p.tolist(), strict=True)
    ]
