"""Which pairs a learning curve is fitted to and judged on: nested samples beside one gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align.data.embeddings import PairedEmbeddings
from align.data.splits import deal, group_codes
from align.fitting.model_selection.cross_validation import GALLERY, first_of_each
from align.fitting.model_selection.fit import MIN_PAIRS

SHARES = (0.125, 0.25, 0.5)  # of all pairs; the last sample is all that a fold leaves
QUERIES = 2000  # held-out pairs that are enough: further folds are left out
FEWEST_UNITS = 10  # groups of a sample, which the folds of its fit share


@dataclass(frozen=True, slots=True)
class Round:
    """One fold: what is held out, and samples of the rest, each part of the next."""

    held_out: Tensor  # the gallery, rows of distinct groups, (m,) int64
    samples: tuple[Tensor, ...]  # rows to fit on, rising sizes


def deal_rounds(train: PairedEmbeddings, *, folds: int, seed: int) -> list[Round]:
    """The folds of a learning curve, all with a gallery of one size.

    Whole groups (domains, where there are any) are held out or trained on. Samples are taken group
    by group in a random order.
    """
    codes = torch.from_numpy(group_codes(train.groups))
    units = torch.from_numpy(group_codes(train.group_key))
    generator = torch.Generator().manual_seed(seed)
    sizes = [size for share in SHARES if (size := round(share * len(train))) >= MIN_PAIRS]
    dealt = []
    for rest, inside in deal(train.group_key, folds, seed=seed):
        shuffled = inside[torch.randperm(len(inside), generator=generator)]
        order = torch.randperm(int(units.max()) + 1, generator=generator)
        ordered = rest[order[units[rest]].argsort(stable=True)]
        samples = [*_samples(ordered, units, sizes), rest]
        dealt.append((first_of_each(codes, shuffled), tuple(samples)))
    gallery = min(GALLERY, *(len(held_out) for held_out, _ in dealt))
    enough = max(2, -(-QUERIES // gallery))
    return [Round(held_out[:gallery], samples) for held_out, samples in dealt[:enough]]


def _samples(ordered: Tensor, units: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The first whole groups of an order that hold ``sizes`` rows, at least ``FEWEST_UNITS``."""
    ends = torch.unique_consecutive(units[ordered], return_counts=True)[1].cumsum(0)
    samples = []
    for size in sizes:
        at = max(int(torch.searchsorted(ends, size)), FEWEST_UNITS - 1)
        samples.append(ordered[: ends[at]].sort().values)
    return samples
