"""Pairs that do not belong together, by adapters that were fitted without them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from align._display.lines import count, one_line, percent
from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.paired_arguments import as_pairs
from align.data.splits import deal, group_codes
from align.scoring.inner_products import inner_products

RIDGE = 3.0
POWER = 1.0
ROWS = 1024
CUT = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Mismatches:
    """How well each pair fits, by maps fitted to the others.

    Attributes:
        chance: Share of false pairs with the same source or the same target that score at least as
            high as the pair, ``(n,)`` float64 in (0, 1]. Near 0 for a pair that fits; spread evenly
            over (0, 1] for items that have nothing to do with each other.
        suspects: Rows with a ``chance`` of at least ``cut``, least fitting first, int64.
        share: Estimated share of mismatched pairs, in [0, 1]: where true pairs are learned badly it
            is too high. About ``share * cut * n`` mismatches hide below the cut.
        cut: Where suspicion begins.
    """

    chance: Tensor
    suspects: Tensor
    share: float
    cut: float

    def __repr__(self) -> str:
        return one_line(
            "Mismatches",
            count(len(self.chance), "pair"),
            count(len(self.suspects), "suspect"),
            f"about {percent(self.share)} mismatched",
        )


@torch.no_grad()
def mismatches(
    pairs: PairedEmbeddings | Vectors,
    target: Vectors | None = None,
    *,
    cut: float = CUT,
    folds: int = 5,
    seed: int = 0,
) -> Mismatches:
    """Score each pair with regularised CCA fitted on folds that do not hold it.

    The ridge (3 mean eigenvalues a side) and the power (1) are fixed: a strong ridge keeps the few
    mismatches among the training pairs from being learned. Mismatches cannot vouch for each other,
    since domains and groups stay in one fold.

    A suspect is a pair that does no better than a random one: a question to a person, as hard or
    unusual true pairs are among them. Lower ``cut`` to find more mismatches among more true pairs.

    Args:
        pairs: Pairs to score, some hundreds at least; or their sources, in any form that
            ``PairedEmbeddings.from_arrays`` takes.
        target: Their targets, ``(n, d_target)``, unless ``pairs`` holds both sides.
        cut: Least ``chance`` of a suspect, in (0, 1].
        folds: Parts that the groups are dealt into, >= 2.
        seed: Seeds the folds.

    Raises:
        TypeError: There is one side alone, or a side does not hold numbers.
        ValueError: The sides do not fit together, ``cut`` or ``folds`` is out of range, a row
            is zero or not finite, or a fold holds a single group.

    Reference:
        The share is the estimate of Storey 2002, doi:10.1111/1467-9868.00346, with lambda = 1/2:
        mismatches are as often above one half as below.
    """
    pairs = as_pairs(pairs, target)
    if not 0 < cut <= 1:
        raise ValueError(f"cut must lie in (0, 1]; got {cut}. Pass 0.5, or less to find more.")
    codes = torch.from_numpy(group_codes(pairs.groups))
    chance = torch.ones(len(pairs), dtype=torch.float64)
    for number, (outside, inside) in enumerate(deal(pairs.group_key, folds, seed=seed)):
        if codes[inside].min() == codes[inside].max():
            raise ValueError(
                "every fold needs pairs of two groups, to have false pairs; fold "
                f"{number} holds {len(inside)} pairs of one. Use fewer folds, or give more groups."
            )
        rest = pairs.take(outside)
        adapter = rcca(rest.source, rest.target, ridge=(RIDGE, RIDGE), power=POWER)
        x, y = adapter.source(pairs.source[inside]), adapter.target(pairs.target[inside])
        both = _beaten_by(x, y, codes[inside]), _beaten_by(y, x, codes[inside])
        chance[inside] = (both[0] + both[1]) / 2
    falling = chance.argsort(descending=True, stable=True)
    suspects = falling[chance[falling] >= cut]
    share = min(1.0, 2 * (chance > 0.5).double().mean().item())
    return Mismatches(chance, suspects, share, cut)


def _beaten_by(queries: Tensor, gallery: Tensor, codes: Tensor) -> Tensor:
    """Share of rows of other groups that score at least as high as a query's own; ``(n,)``.

    The own row counts on both sides of the fraction, so that the share is never 0.
    """
    shares = []
    for block in torch.split(torch.arange(len(queries)), ROWS):
        scores = inner_products(queries[block], gallery)
        own = scores.gather(1, block[:, None])
        false = codes[block, None] != codes
        higher = ((scores >= own) & false).sum(dim=1)
        shares.append((1 + higher).double() / (1 + false.sum(dim=1)))
    return torch.cat(shares)
