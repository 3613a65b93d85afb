"""What is done to gallery vectors before they are indexed, chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from align.adapters.corrections.hubness import CSLS, NNN, Hubness, InvertedSoftmax
from align.adapters.corrections.reference_set import GalleryExpansion, ReferenceSet
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
)
from align.scoring.ties import first_best

CORRECTIONS: tuple[Hubness, ...] = (
    NNN(16, 0.5),
    NNN(32, 0.75),
    NNN(128, 0.75),
    CSLS(10),
    InvertedSoftmax(5.0),
    InvertedSoftmax(10.0),
    InvertedSoftmax(15.0),
    InvertedSoftmax(20.0),
)
EXPANSIONS = (
    GalleryExpansion(0.15, 20.0),
    GalleryExpansion(0.3, 20.0),
    GalleryExpansion(0.3, 40.0),
)

T = TypeVar("T")


class Step(NamedTuple):
    """One thing that was tried, for the card."""

    stage: str
    name: str
    outcome: Outcome
    chosen: bool


@dataclass(frozen=True, slots=True)
class GalleryChoice:
    """The correction and the expansion that were selected, and what all of them scored."""

    hubness: Hubness | None
    expansion: GalleryExpansion | None
    outcome: Outcome  # held-out results with both
    tried: tuple[Step, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether gallery vectors stay as they are."""
        return self.hubness is None and self.expansion is None

    def evaluated(self, folds: Sequence[Projection], *, k: int) -> Outcome:
        """Held-out results of other projections with this correction and this expansion."""
        each = [score(fold.held_out, self._reference(fold.reference)) for fold in folds]
        return Outcome.pooled(each, k=k)

    def reference(self, cv: CrossValidation, maps: MapPair) -> ReferenceSet | None:
        """All training pairs through the final maps, or a random sample of ``REFERENCE``."""
        if self.is_plain:
            return None
        return self._reference(cv.project(maps, cv.sample()))

    def _reference(self, projected: Projected) -> ReferenceSet | None:
        if self.is_plain:
            return None
        return ReferenceSet(*projected, hubness=self.hubness, expansion=self.expansion)


def choose_gallery(
    cv: CrossValidation, folds: Sequence[Projection], *, query_only: bool
) -> GalleryChoice:
    """The hubness correction and the expansion that each gain more than a standard error.

    A query-only adapter leaves the gallery as it is and gets neither.
    """
    plain = Outcome.pooled([score(fold.held_out, None) for fold in folds], k=cv.k)
    if query_only:
        return GalleryChoice(None, None, plain)

    each = [Similarities.of(*fold).outcomes(CORRECTIONS) for fold in folds]
    corrected = [Outcome.pooled(by_fold, k=cv.k) for by_fold in zip(*each, strict=True)]
    hubness, outcome = _gaining(CORRECTIONS, corrected, plain)

    each = [score_expanded(*fold, hubness, EXPANSIONS) for fold in folds]
    outcomes = [Outcome.pooled(by_fold, k=cv.k) for by_fold in zip(*each, strict=True)]
    chosen, outcome = _gaining(EXPANSIONS, outcomes, outcome)
    tried = [
        Step("hubness", "none", plain, hubness is None),
        *(
            Step("hubness", str(correction), scored, correction is hubness)
            for correction, scored in zip(CORRECTIONS, corrected, strict=True)
        ),
        *(
            Step("expansion", str(expansion), scored, expansion is chosen)
            for expansion, scored in zip(EXPANSIONS, outcomes, strict=True)
        ),
    ]
    return GalleryChoice(hubness, chosen, outcome, tuple(tried))


def _gaining(
    options: Sequence[T], outcomes: Sequence[Outcome], without: Outcome
) -> tuple[T | None, Outcome]:
    """The best option and its outcome, or ``None`` if it gains no more than a standard error."""
    at = first_best([outcome.mrr for outcome in outcomes])
    improves = outcomes[at].improves_on(without, errors=1)
    return (options[at], outcomes[at]) if improves else (None, without)
