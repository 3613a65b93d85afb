"""What is done to gallery vectors and to queries after their maps, chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from align.adapters.corrections.hubness import CSLS, NNN, BalancedSoftmax, Hubness
from align.adapters.corrections.reference_set import Expansion, ReferenceSet, both_handicaps
from align.adapters.recipes.recipe import MapPair
from align.fitting.model_selection.cross_validation import (
    CrossValidation,
    Projected,
    Projection,
)
from align.fitting.model_selection.outcome import (
    Outcome,
    Similarities,
    score,
    score_expanded,
    score_expanded_queries,
)
from align.scoring.ties import first_best

NEAREST: tuple[Hubness, ...] = (NNN(16, 0.5), NNN(32, 0.75), NNN(128, 0.75), CSLS(10))
BALANCED = (BalancedSoftmax(10.0), BalancedSoftmax(15.0))
EXPANSIONS = (
    Expansion(0.15, 20.0),
    Expansion(0.3, 20.0),
    Expansion(0.3, 40.0),
)
QUERY_EXPANSIONS = (Expansion(0.1, 20.0), Expansion(0.15, 20.0))

T = TypeVar("T")


class Step(NamedTuple):
    """One thing that was tried, for the card."""

    stage: str
    name: str
    outcome: Outcome
    chosen: bool


@dataclass(frozen=True, slots=True)
class GalleryChoice:
    """The correction and the expansions that were selected, and what all of them scored."""

    hubness: Hubness | None
    expansion: Expansion | None
    outcome: Outcome  # held-out results with all of them
    tried: tuple[Step, ...] = ()
    query_expansion: Expansion | None = None

    @property
    def is_plain(self) -> bool:
        """Whether vectors stay as the maps give them."""
        return all(each is None for each in (self.hubness, self.expansion, self.query_expansion))

    def evaluated(self, folds: Sequence[Projection], *, k: int) -> Outcome:
        """Held-out results of other projections with this correction and these expansions."""
        each = [score(fold.held_out, self.reference_of(fold.reference)) for fold in folds]
        return Outcome.pooled(each, k=k)

    def reference(self, cv: CrossValidation, maps: MapPair) -> ReferenceSet | None:
        """All training pairs through the final maps, or a random sample of ``REFERENCE``."""
        if self.is_plain:
            return None
        return self.reference_of(cv.project(maps, cv.sample()))

    def reference_of(self, projected: Projected) -> ReferenceSet | None:
        """These pairs with what was selected, or ``None`` if that is nothing."""
        if self.is_plain:
            return None
        return ReferenceSet(
            *projected,
            hubness=self.hubness,
            expansion=self.expansion,
            query_expansion=self.query_expansion,
        )


def choose_gallery(
    cv: CrossValidation, folds: Sequence[Projection], *, query_only: bool, expand_queries: bool
) -> GalleryChoice:
    """The hubness correction and the expansions that each gain enough.

    A correction need only gain: a gallery of a fold has fewer hubs than a larger one, where it
    gains more. An expansion of the gallery must gain more than a standard error. One of the
    queries, tried last where ``expand_queries``, costs time at each of them and must gain more than
    two. A query-only adapter leaves the gallery as it is and gets neither correction nor expansion
    of it.
    """
    outcome = Outcome.pooled([score(fold.held_out, None) for fold in folds], k=cv.k)
    tried: list[Step] = []
    hubness = expansion = query_expansion = None
    if not query_only:
        each = [_corrected(fold) for fold in folds]
        corrected = [Outcome.pooled(by_fold, k=cv.k) for by_fold in zip(*each, strict=True)]
        corrections = (*NEAREST, *BALANCED)
        plain = outcome
        hubness, outcome = _gaining(corrections, corrected, plain, errors=0)
        tried.append(Step("hubness", "none", plain, hubness is None))
        tried += _steps("hubness", corrections, corrected, hubness)

    def expanded(
        scored: Callable[[Projected, ReferenceSet, Sequence[Expansion]], list[Outcome]],
        expansions: Sequence[Expansion],
    ) -> list[Outcome]:
        each = []
        for fold in folds:
            reference = ReferenceSet(*fold.reference, hubness=hubness, expansion=expansion)
            each.append(scored(fold.held_out, reference, expansions))
        return [Outcome.pooled(by_fold, k=cv.k) for by_fold in zip(*each, strict=True)]

    if not query_only:
        outcomes = expanded(score_expanded, EXPANSIONS)
        expansion, outcome = _gaining(EXPANSIONS, outcomes, outcome, errors=1)
        tried += _steps("expansion", EXPANSIONS, outcomes, expansion)
    if expand_queries:
        outcomes = expanded(score_expanded_queries, QUERY_EXPANSIONS)
        query_expansion, outcome = _gaining(QUERY_EXPANSIONS, outcomes, outcome, errors=2)
        tried += _steps("query expansion", QUERY_EXPANSIONS, outcomes, query_expansion)
    return GalleryChoice(hubness, expansion, outcome, tuple(tried), query_expansion)


def _corrected(fold: Projection) -> list[Outcome]:
    """Outcomes of one fold under ``NEAREST`` and ``BALANCED``."""
    similarities = Similarities.of(*fold)
    balanced = [
        similarities.less(both_handicaps(each, fold.reference)).outcome(each) for each in BALANCED
    ]
    return [*similarities.outcomes(NEAREST), *balanced]


def _steps(
    stage: str, options: Sequence[T], outcomes: Sequence[Outcome], chosen: T | None
) -> list[Step]:
    return [
        Step(stage, str(option), outcome, option is chosen)
        for option, outcome in zip(options, outcomes, strict=True)
    ]


def _gaining(
    options: Sequence[T], outcomes: Sequence[Outcome], without: Outcome, *, errors: float
) -> tuple[T | None, Outcome]:
    """The best option and its outcome, or ``None`` if it gains no more than so many errors."""
    at = first_best([outcome.mrr for outcome in outcomes])
    improves = outcomes[at].improves_on(without, errors=errors)
    return (options[at], outcomes[at]) if improves else (None, without)
