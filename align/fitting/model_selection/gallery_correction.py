"""What is done to gallery vectors before they are indexed, chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from align.adapters.corrections.hubness import CSLS, NNN, Hubness, InvertedSoftmax
from align.adapters.corrections.reference_set import GalleryExpansion, ReferenceSet
from align.fitting.model_selection.cross_validation import (
    REFERENCE,
    CrossValidation,
    Outcome,
    Projected,
    pooled,
    score,
    score_each,
)
from align.fitting.model_selection.map_search import Choice, Maps
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
Step = tuple[str, str, Outcome, bool]  # stage, name, held-out results, chosen


@dataclass(frozen=True, slots=True)
class GalleryChoice:
    """The correction and the expansion that earned their place, and what all of them scored.

    Attributes:
        hubness: The hubness correction, or ``None``.
        expansion: The expansion, or ``None``.
        outcome: Held-out results with both.
        tried: Stage, name, results and whether it was chosen, of each step tried.
    """

    hubness: Hubness | None
    expansion: GalleryExpansion | None
    outcome: Outcome
    tried: tuple[Step, ...] = ()

    def reference(self, cv: CrossValidation, maps: Maps) -> ReferenceSet | None:
        """All training pairs through the final maps, or a random sample of ``REFERENCE``."""
        if self.hubness is None and self.expansion is None:
            return None
        rows = torch.randperm(len(cv.data), generator=torch.Generator().manual_seed(cv.seed))
        source, target = cv.project(maps, rows[:REFERENCE].sort().values)
        return ReferenceSet(source, target, hubness=self.hubness, expansion=self.expansion)


@dataclass(frozen=True, slots=True)
class Projection:
    """One fold through its own maps: held-out pairs, and a reference set of training pairs."""

    held_out: Projected
    reference: Projected


def projections(cv: CrossValidation, best: Choice) -> list[Projection]:
    """Every fold through its own maps."""
    found = []
    for fold in cv.folds:
        maps = best.build(cv.moments(best.roots, fold))
        projected = cv.project(maps, fold.held_out)
        found.append(Projection(projected, cv.project(maps, fold.reference)))
    return found


def choose_gallery(
    cv: CrossValidation, folds: Sequence[Projection], *, query_only: bool
) -> GalleryChoice:
    """The hubness correction and the expansion that each gain more than a standard error.

    A query-only adapter leaves the gallery as it is and gets neither.
    """
    plain = pooled([score(fold.held_out, None) for fold in folds], k=cv.k)
    if query_only:
        return GalleryChoice(None, None, plain)

    each = [score_each(fold.held_out, fold.reference, CORRECTIONS) for fold in folds]
    corrected = [pooled(found, k=cv.k) for found in zip(*each, strict=True)]
    hubness, outcome = _gaining(CORRECTIONS, corrected, plain)
    tried: list[Step] = [("hubness", "none", plain, hubness is None)]
    for correction, found in zip(CORRECTIONS, corrected, strict=True):
        tried.append(("hubness", str(correction), found, correction is hubness))

    expanded = []
    for expansion in EXPANSIONS:
        reference_sets = [
            ReferenceSet(*fold.reference, hubness=hubness, expansion=expansion) for fold in folds
        ]
        scored = [
            score(fold.held_out, reference)
            for fold, reference in zip(folds, reference_sets, strict=True)
        ]
        expanded.append(pooled(scored, k=cv.k))
    chosen, outcome = _gaining(EXPANSIONS, expanded, outcome)
    for expansion, found in zip(EXPANSIONS, expanded, strict=True):
        tried.append(("expansion", str(expansion), found, expansion is chosen))
    return GalleryChoice(hubness, chosen, outcome, tuple(tried))


def _gaining(
    options: Sequence[T], outcomes: list[Outcome], without: Outcome
) -> tuple[T | None, Outcome]:
    """The best option and its outcome, or ``None`` if it gains no more than a standard error."""
    at = first_best([outcome.mrr for outcome in outcomes])
    return (options[at], outcomes[at]) if outcomes[at].gains(without) else (None, without)
