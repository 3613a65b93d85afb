"""Training of the learned similarities on pairs, with all that is chosen chosen on those pairs.

Every plan (start, size, learning rate) is trained on four fifths of the pairs until the mean
reciprocal rank on the rest stops rising; the best plan is then trained again on all pairs, for as
many updates. Everything random comes from generators of one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from align.data.embeddings import PairedEmbeddings
from align.data.splits import group_codes
from align.metrics.ranks import mean_reciprocal_rank
from align.scoring.ties import first_best
from probes.inputs import check_unit
from probes.similarity.learned import LowRankBilinear, PairMLP, PairSimilarity
from probes.similarity.standard import match_ranks

MIN_GROUPS = 20
CHECK_EVERY = 10  # updates between two scorings of the pairs held out
PATIENCE = 8  # scorings without a new best before a plan is given up
HELD_OUT, GALLERY = 0.2, 250  # share of the pairs that plans are scored on, and most of them
WEIGHT_DECAY = 0.1

Start = Callable[[Tensor, Tensor, torch.Generator], PairSimilarity]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One way to train a similarity."""

    name: str  # what a reader sees
    start: Start  # makes it from training sources and targets, (n, d) each, and a generator
    learning_rate: float  # of AdamW, constant
    batch: int  # groups in a batch, one pair of each
    steps: int  # most updates


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a plan came to on the pairs held out."""

    plan: str
    steps: int  # updates after which it was best; 0 is the start
    mean_reciprocal_rank: float  # of both directions; the best of many scorings is too high
    gallery: int  # pairs held out


@dataclass(frozen=True, slots=True, eq=False)
class LearnedSimilarity:
    """A similarity trained on all pairs by the best plan, and what all plans came to, in order."""

    similarity: PairSimilarity
    chosen: Attempt
    tried: tuple[Attempt, ...]

    def to_dict(self) -> dict[str, Any]:
        """How it was chosen, ready for JSON; without the parameters."""
        return {"chosen": asdict(self.chosen), "tried": [asdict(each) for each in self.tried]}


def mlp_plans(d: int) -> tuple[Plan, ...]:
    """Networks with narrow and wide hidden layers on pairs of width ``d``."""

    def start(hidden: int) -> Start:
        return lambda x, y, generator: PairMLP(d, hidden=hidden, generator=generator)

    return tuple(
        Plan(f"{hidden} hidden units", start(hidden), learning_rate=1e-3, batch=64, steps=400)
        for hidden in (16, 64)
    )


def bilinear_plans(d_source: int, d_target: int) -> tuple[Plan, ...]:
    """Forms of rank 128 and of the full rank, or of that alone for widths up to 128.

    Each starts at random and, where the widths agree, at the inner product as well.
    """

    def at_random(rank: int) -> Start:
        return lambda x, y, generator: LowRankBilinear.random(
            d_source, d_target, rank=rank, generator=generator
        )

    def at_inner_product(rank: int) -> Start:
        return lambda x, y, generator: LowRankBilinear.inner_product(torch.cat([x, y]), rank=rank)

    full = min(d_source, d_target)
    plans = []
    for rank in sorted({min(128, full), full}):
        plans.append(Plan(f"rank {rank} from random", at_random(rank), 3e-3, 128, 1000))
        if d_source == d_target:
            plans.append(Plan(f"rank {rank} from cosine", at_inner_product(rank), 1e-3, 128, 1000))
    return tuple(plans)


def learn(train: PairedEmbeddings, plans: tuple[Plan, ...], *, seed: int = 0) -> LearnedSimilarity:
    """The best of some plans, chosen on held-out training pairs and trained on all of them.

    The loss is InfoNCE over all pairs of a batch, in both directions, with one pair per group in a
    batch so that no match counts as a negative. The similarity is in float32, on the CPU. ``seed``
    seeds the split, the starts and the batches. If the space of the pairs was itself fitted on
    pairs, then not on these: there, they look better aligned than any others.

    Raises:
        ValueError: There are no plans, fewer than 20 groups, or rows that are not of unit norm.

    Reference:
        van den Oord et al. 2018, arXiv:1807.03748, eq. 4; made symmetric by Radford et al. 2021,
        arXiv:2103.00020, figure 3.
    """
    _check(train, plans)
    part, held_out = train.split(test=min(HELD_OUT, GALLERY / len(train)), seed=seed)
    pairs = _Pairs(part)
    tried = [_attempt(plan, pairs, held_out, seed) for plan in plans]
    best = first_best([attempt.mean_reciprocal_rank for attempt in tried])
    checks = tried[best].steps // CHECK_EVERY
    (similarity,) = islice(_descent(plans[best], _Pairs(train), seed), checks, checks + 1)
    return LearnedSimilarity(similarity, tried[best], tuple(tried))


class _Pairs:
    """Training pairs, sorted by group so that batches of different groups are quickly drawn."""

    def __init__(self, train: PairedEmbeddings) -> None:
        codes = torch.from_numpy(group_codes(train.groups))
        order = codes.argsort(stable=True)
        self.source, self.target = train.source.float()[order], train.target.float()[order]
        self.sizes = torch.bincount(codes)
        self.begin = self.sizes.cumsum(0) - self.sizes

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One pair of each of ``size`` groups, or of every group if there are fewer."""
        groups = torch.randperm(len(self.sizes), generator=generator)[:size]
        draws = torch.randint(1 << 40, groups.shape, generator=generator)
        rows = self.begin[groups] + draws % self.sizes[groups]
        return self.source[rows], self.target[rows]


def _descent(plan: Plan, pairs: _Pairs, seed: int) -> Iterator[PairSimilarity]:
    """The similarity at its start, and the same one after every ``CHECK_EVERY`` updates."""
    generator = torch.Generator().manual_seed(seed)
    similarity = plan.start(pairs.source, pairs.target, generator)
    optimiser = torch.optim.AdamW(
        similarity.parameters(), lr=plan.learning_rate, weight_decay=WEIGHT_DECAY
    )
    yield similarity
    for step in range(1, plan.steps + 1):
        logits = similarity.all_pairs(*pairs.batch(plan.batch, generator))
        own = torch.arange(len(logits))
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step % CHECK_EVERY == 0:
            yield similarity


def _attempt(plan: Plan, pairs: _Pairs, held_out: PairedEmbeddings, seed: int) -> Attempt:
    """Train until the held-out pairs are ranked no better for ``PATIENCE`` scorings."""
    codes = torch.from_numpy(group_codes(held_out.groups))
    best, best_check = -1.0, 0
    for check, similarity in enumerate(_descent(plan, pairs, seed)):
        ranks = match_ranks(
            similarity.scores, held_out.source.float(), held_out.target.float(), codes
        )
        score = mean_reciprocal_rank(ranks.flatten())
        if score > best:
            best, best_check = score, check
        if check - best_check >= PATIENCE:
            break
    return Attempt(plan.name, best_check * CHECK_EVERY, best, len(held_out))


def _check(train: PairedEmbeddings, plans: tuple[Plan, ...]) -> None:
    check_unit("source", train.source)
    check_unit("target", train.target)
    groups = len(set(train.groups))
    if groups < MIN_GROUPS:
        raise ValueError(
            f"a similarity can be learned from at least {MIN_GROUPS} groups of pairs; got "
            f"{len(train)} pairs in {groups}. Add pairs."
        )
    if not plans:
        raise ValueError(
            "at least one plan is needed; got none. Pass mlp_plans(...) or bilinear_plans(...)."
        )
