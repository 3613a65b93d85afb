"""Recall of each kind of pair by itself: an average can hide a kind that is not found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from align._checks import check_length
from align._display.lines import count, one_line, percent
from align.data.splits import names_of
from align.metrics.bootstrap import resamples, weighted_mean
from align.metrics.chance import RandomOrder
from align.metrics.estimates import CUT_OFFS, MEANS, Estimate, mean_values

DRAWS = 1000
FEW = 5  # groups of pairs; of fewer no interval can be told from draws
MOST = 100  # labels; more are names of items, not of kinds


@dataclass(frozen=True, slots=True)
class Subgroup:
    """The pairs of one label among all others: means of both directions, in [0, 1].

    Queries are those of the label, the gallery is that of all pairs. A query that belongs to pairs
    of several labels counts in each.

    Attributes:
        label: What its pairs have in common.
        pairs: How many there are.
        metrics: Recall at 1, 5 and 10 and mean reciprocal rank with their 95 % bootstrap interval,
            groups of pairs drawn whole; of fewer than five groups the interval is all of [0, 1].
        source_to_target: The same of its source queries alone.
        target_to_source: The same of its target queries alone.
        chance: The same where the gallery is in a random order, exactly.
        minus_others: ``metrics`` minus those of all other pairs. These intervals are wider, so that
            all subgroups together are right in 95 % of cases (Bonferroni).
    """

    label: str
    pairs: int
    metrics: dict[str, Estimate]
    source_to_target: dict[str, Estimate]
    target_to_source: dict[str, Estimate]
    chance: dict[str, float]
    minus_others: dict[str, Estimate]

    def __repr__(self) -> str:
        found, chance = self.metrics["recall_at_10"], self.chance["recall_at_10"]
        told = f"recall@10 {percent(found.value)} (chance {percent(chance)})"
        return one_line("Subgroup", self.label, count(self.pairs, "pair"), told)

    @property
    def stands_out(self) -> bool:
        """Whether its reciprocal rank differs from that of the others, all subgroups considered."""
        found = self.minus_others["mean_reciprocal_rank"]
        return not found.low <= 0 <= found.high

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class RankedQueries:
    """One direction of a search, query by query.

    Attributes:
        ranks: Of the best match of each query, ``(q,)`` int64, 1 is best.
        groups: Group code of each query, ``(q,)`` int64.
        positives: Right items of each query in the gallery, ``(q,)`` int64.
        gallery: Items searched.
        of_pairs: The query of each pair, ``(n,)`` int64.
    """

    ranks: Tensor
    groups: Tensor
    positives: Tensor
    gallery: int
    of_pairs: Tensor


def checked_labels(labels: Iterable[object], n: int) -> tuple[str, ...]:
    """Labels of ``n`` pairs as texts.

    Raises:
        ValueError: There are not ``n``, one is missing, all are the same, or more than 100 differ.
    """
    texts = names_of("by", labels)
    check_length("by", texts, n)
    different = len(set(texts))
    if not 2 <= different <= MOST:
        raise ValueError(
            f"by must tell 2 to {MOST} kinds of pairs apart; got {different:,} for {n:,} pairs. "
            "Pass a coarser label, such as a category, or leave it out."
        )
    return texts


def subgroups(
    labels: Sequence[str], forth: RankedQueries, back: RankedQueries, *, seed: int = 0
) -> tuple[Subgroup, ...]:
    """One subgroup per label, the largest first, of one size by name.

    Args:
        labels: Of the pairs, as ``checked_labels`` gives them.
        forth: Target items retrieved by source queries.
        back: Source items retrieved by target queries.
        seed: Seeds the bootstrap.
    """
    sizes = {label: labels.count(label) for label in set(labels)}
    in_order = sorted(sizes, key=lambda label: (-sizes[label], label))
    critical = NormalDist().inv_cdf(1 - 0.025 / len(in_order))
    return tuple(_subgroup(name, labels, (forth, back), critical, seed) for name in in_order)


def _subgroup(
    name: str,
    labels: Sequence[str],
    directions: tuple[RankedQueries, RankedQueries],
    critical: float,
    seed: int,
) -> Subgroup:
    inside = torch.tensor([label == name for label in labels])
    own, other = (
        [_Part.of(direction, rows) for direction in directions] for rows in (inside, ~inside)
    )
    generator = torch.Generator().manual_seed(seed)
    ours, rest = _drawn(own, generator), _drawn(other, generator)
    value, others = ours[0].mean(dim=0), rest[0].mean(dim=0)
    difference = value - others
    spread = critical * (ours[1].mean(dim=0) - rest[1].mean(dim=0)).std(dim=0)
    if min(ours[2], rest[2]) < FEW:
        spread = torch.full_like(spread, math.inf)
    low, high = (difference - spread).clamp(min=-1), (difference + spread).clamp(max=1)
    forth, back = (_estimates(ours[0][at], ours[1][at], ours[2]) for at in range(2))
    chances = [part.chance for part in own]
    return Subgroup(
        name,
        int(inside.sum()),
        _estimates(value, ours[1].mean(dim=0), ours[2]),
        forth,
        back,
        {metric: sum(chance[metric] for chance in chances) / 2 for metric in MEANS},
        _named(difference, low, high),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Queries of one direction that belong to some of the pairs."""

    values: Tensor  # (q, c)
    groups: Tensor  # (q,)
    chance: dict[str, float]

    @classmethod
    def of(cls, direction: RankedQueries, pairs: Tensor) -> _Part:
        queries = torch.unique(direction.of_pairs[pairs])
        order = RandomOrder.of(direction.positives[queries], direction.gallery)
        chance = [*(order.recall_at_k(k) for k in CUT_OFFS), order.mean_reciprocal_rank]
        ranks = direction.ranks.cpu()[queries]
        values = mean_values(ranks).double()
        return cls(values, direction.groups.cpu()[queries], dict(zip(MEANS, chance, strict=True)))


def _drawn(parts: Sequence[_Part], generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """Means of each direction ``(2, c)``, the same in each draw ``(2, b, c)``, and the groups."""
    groups = torch.unique(torch.cat([part.groups for part in parts]), return_inverse=True)[1]
    weights = torch.cat(list(resamples(groups, DRAWS, generator)))
    split = torch.split(weights, [len(part.values) for part in parts], dim=1)
    means = torch.stack([part.values.mean(dim=0) for part in parts])
    draws = [weighted_mean(part.values, drawn) for part, drawn in zip(parts, split, strict=True)]
    return means, torch.stack(draws), int(groups.max()) + 1


def _estimates(value: Tensor, draws: Tensor, groups: int) -> dict[str, Estimate]:
    if groups < FEW:
        return _named(value, torch.zeros_like(value), torch.ones_like(value))
    low, high = draws.quantile(draws.new_tensor([0.025, 0.975]), dim=0)
    return _named(value, low, high)


def _named(value: Tensor, low: Tensor, high: Tensor) -> dict[str, Estimate]:
    bounds = zip(value.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(*bound) for name, bound in zip(MEANS, bounds, strict=True)}
