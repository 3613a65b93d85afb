"""What a candidate retrieves among held-out pairs, how that is scored, and the gate it passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from align.adapters.card import Candidate
from align.adapters.corrections.hubness import Hubness, InvertedSoftmax, biases
from align.adapters.corrections.reference_set import ROWS, Expansion, ReferenceSet, expanded
from align.data.sides import Side, other_side
from align.fitting.model_selection.cross_validation import CrossValidation, Projected
from align.metrics.chance import HeldOutRanks
from align.metrics.ranks import ranks_of_partners
from align.scoring.inner_products import inner_products, mutual_products
from align.scoring.ties import MEANS

UPPER = 1.645  # standard deviations from the mean to the upper 95 % bound
SCREENING = InvertedSoftmax(10.0)  # maps are compared after a correction, as they will be used


class HeldOutGain(NamedTuple):
    """Mean paired difference in reciprocal rank, and its standard error."""

    mean: float
    error: float

    def exceeds(self, errors: float) -> bool:
        """Whether it is more than this many standard errors, by more than rounding.

        Where a single pair comes out better, gain and error are equal on paper.
        """
        return self.mean > errors * self.error + MEANS

    def may_exceed(self, errors: float, *, share: float) -> bool:
        """Whether the gain over all pairs may still come to more than so many standard errors.

        This is the gain over a ``share`` of the pairs, in (0, 1). What the others will gain is
        predicted from it, and the question is asked of the upper 95 % bound. To stop where the
        answer is no can only lower the odds that a candidate that gains nothing passes the gate.

        Reference:
            Predictive power: Spiegelhalter, Freedman and Blackburn 1986,
            doi:10.1016/0197-2456(86)90003-6.
        """
        # The mean over pairs not seen yet has the predictive error error / sqrt(1 - share).
        upper = self.mean + UPPER * self.error * math.sqrt(1 - share)
        return upper > errors * self.error * math.sqrt(share)

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ± {self.error:.4f}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Held-out results of one candidate: one entry per held-out pair, both directions averaged.

    Each pair is among them ``rounds`` times: folds that are drawn again hold the same pairs, which
    is no further evidence. ``held_out`` are the ranks behind both and their galleries, or ``None``
    where several queries are one entry.
    """

    reciprocal_ranks: Tensor  # (q,) float64
    hits_at_10: Tensor  # (q,) float64
    rounds: float = 1.0
    held_out: HeldOutRanks | None = None

    @classmethod
    def of_ranks(cls, directions: Sequence[Tensor]) -> Outcome:
        """Of the rank of each pair, ``(q,)`` for each direction, among all of them."""
        both = torch.stack(list(directions))
        first = both.double()
        sizes = torch.full((both.shape[1],), both.shape[1])
        return cls(
            first.reciprocal().mean(dim=0),
            (first <= 10).double().mean(dim=0),
            held_out=HeldOutRanks(both.T, sizes),
        )

    @classmethod
    def pooled(cls, outcomes: Sequence[Outcome], *, k: int) -> Outcome:
        """The outcomes of several folds as one; ``k`` folds hold out every group once."""
        held_out = [outcome.held_out for outcome in outcomes if outcome.held_out is not None]
        return cls(
            torch.cat([outcome.reciprocal_ranks for outcome in outcomes]),
            torch.cat([outcome.hits_at_10 for outcome in outcomes]),
            max(1.0, len(outcomes) / k),
            HeldOutRanks.joined(held_out) if len(held_out) == len(outcomes) else None,
        )

    @property
    def mrr(self) -> float:
        """Mean reciprocal rank, in [0, 1]."""
        return self.reciprocal_ranks.mean().item()

    @property
    def standard_error(self) -> float:
        """Standard error of the mean reciprocal rank."""
        return self._error_of(self.reciprocal_ranks)

    def gain_over(self, other: Outcome) -> HeldOutGain:
        """Paired gain over the results of another candidate on the same pairs."""
        difference = self.reciprocal_ranks - other.reciprocal_ranks
        return HeldOutGain(difference.mean().item(), self._error_of(difference))

    def improves_on(self, other: Outcome, *, errors: float = 2.0) -> bool:
        """Whether its gain over ``other`` is more than ``errors`` standard errors."""
        return self.gain_over(other).exceeds(errors)

    def candidate(self, stage: str, name: str, *, chosen: bool) -> Candidate:
        """Entry for the card of an adapter, with a 95 % interval."""
        half, ranked = 1.96 * self.standard_error, self.held_out
        return Candidate(
            stage,
            name,
            self.mrr,
            self.mrr - half,
            self.mrr + half,
            self.hits_at_10.mean().item(),
            chosen,
            None if ranked is None else ranked.mean_reciprocal_rank_at_random,
            None if ranked is None else ranked.recall_at_random(10),
        )

    def first(self, n: int) -> Outcome:
        """The results of the first ``n`` held-out pairs alone."""
        ranked = None if self.held_out is None else self.held_out.first(n)
        return Outcome(self.reciprocal_ranks[:n], self.hits_at_10[:n], held_out=ranked)

    def _error_of(self, values: Tensor) -> float:
        if len(values) < 2:
            return math.inf
        return values.std().item() * math.sqrt(self.rounds / len(values))


class Similarities(NamedTuple):
    """Cosines of held-out pairs with each other, and with a reference set of training pairs."""

    between: Tensor  # of held-out sources with held-out targets, (q, q)
    of_sources: Tensor  # of held-out sources with targets of the reference, (q, r)
    of_targets: Tensor  # of held-out targets with sources of the reference, (q, r)

    @classmethod
    def of(cls, held_out: Projected, reference: Projected) -> Similarities:
        """Of unit-norm rows in the shared space."""
        x, y = held_out
        return cls(mutual_products(x, y), x @ reference[1].T, y @ reference[0].T)

    def blended(self, other: Similarities, weight: float) -> Similarities:
        """Those of a blend with this ``weight`` of what gave ``other``."""
        return Similarities(*(torch.lerp(*two, weight) for two in zip(self, other, strict=True)))

    def less(self, handicaps: tuple[Tensor, Tensor]) -> Similarities:
        """Those with the reference less what its sources and its targets are handicapped by."""
        of_sources, of_targets = handicaps
        return Similarities(
            self.between, self.of_sources - of_targets, self.of_targets - of_sources
        )

    def outcome(self, correction: Hubness) -> Outcome:
        """Of ranking each pair among the others under a hubness correction."""
        return self.outcomes((correction,))[0]

    def outcomes(self, corrections: Sequence[Hubness]) -> list[Outcome]:
        """``outcome`` under each of several corrections."""
        of_targets = _biases(self.of_targets, corrections)
        of_sources = _biases(self.of_sources, corrections)
        return [
            Outcome.of_ranks(
                [ranks_of_partners(self.between - t), ranks_of_partners(self.between.T - s)]
            )
            for t, s in zip(of_targets, of_sources, strict=True)
        ]


def screen(held_out: Projected, reference: Projected) -> Outcome:
    """Outcome of projected held-out pairs under the screening correction."""
    return Similarities.of(held_out, reference).outcome(SCREENING)


def score(held_out: Projected, reference: ReferenceSet | None) -> Outcome:
    """Outcome of projected held-out pairs, each the only match of its partner."""
    if reference is None:
        between = mutual_products(*held_out)
        return Outcome.of_ranks([ranks_of_partners(between), ranks_of_partners(between.T)])
    return score_expanded(held_out, reference, (reference.expansion,))[0]


def score_expanded(
    held_out: Projected, reference: ReferenceSet, expansions: Sequence[Expansion | None]
) -> list[Outcome]:
    """Outcome with each of several expansions of the gallery in place of the one of the set."""
    by_side = []
    for asking, queries, gallery in _directions(held_out):
        asked = other_side(asking)
        asks = reference.expanded_queries(queries, side=asking)
        found = []
        for vectors in _each_expanded(gallery, reference.pairs_of(asked), expansions):
            scores = inner_products(asks, vectors)
            if reference.hubness is not None:
                scores -= reference.bias(vectors, side=asked)
            found.append(ranks_of_partners(scores))
        by_side.append(found)
    return [Outcome.of_ranks(both) for both in zip(*by_side, strict=True)]


def score_expanded_queries(
    held_out: Projected, reference: ReferenceSet, expansions: Sequence[Expansion]
) -> list[Outcome]:
    """Outcome with each of several expansions of the queries in place of the one of the set."""
    by_side = []
    for asking, queries, gallery in _directions(held_out):
        vectors = reference.gallery(gallery, side=other_side(asking))
        ones = queries.new_ones(len(queries), vectors.shape[1] - queries.shape[1])
        by_side.append(
            [
                ranks_of_partners(inner_products(torch.cat([asks, ones], dim=1), vectors))
                for asks in expanded(queries, *reference.pairs_of(asking), expansions)
            ]
        )
    return [Outcome.of_ranks(both) for both in zip(*by_side, strict=True)]


def _directions(held_out: Projected) -> Iterator[tuple[Side, Tensor, Tensor]]:
    """The side that asks, its held-out items, and those of the other side; each side in turn."""
    source, target = held_out
    yield "source", source, target
    yield "target", target, source


def _each_expanded(
    z: Tensor, pairs: Projected, expansions: Sequence[Expansion | None]
) -> list[Tensor]:
    wanted = [each for each in expansions if each is not None]
    found = iter(expanded(z, *pairs, wanted) if wanted else ())
    return [z if each is None else next(found) for each in expansions]


def score_raw(cv: CrossValidation) -> Outcome | None:
    """Held-out results of the raw cosine, or ``None`` where the widths of the sides differ."""
    if not cv.is_comparable:
        return None
    each = [score(cv.identity(fold.held_out), None) for fold in cv.folds]
    return Outcome.pooled(each, k=cv.k)


def _biases(similarities: Tensor, corrections: Sequence[Hubness]) -> list[Tensor]:
    """Bias of each row of similarities ``(q, r)`` under each correction, ``(q,)``."""
    blocks = torch.split(similarities, ROWS)  # a whole set is more than a cache holds
    each = [biases(block, corrections) for block in blocks]
    return [torch.cat(parts) for parts in zip(*each, strict=True)]
