"""Recall of held-out pairs through one fixed map, each side of the pairs prepared by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.maps.parts import Parts
from align.adapters.recipes.formulas import canonical
from align.adapters.recipes.moments import Paired, Spectrum
from align.fitting.model_selection.cross_validation import (
    MAP_REFERENCE,
    CrossValidation,
    Fold,
    PreparedSide,
)
from align.fitting.model_selection.map_search import NO_ROOTS, START
from align.fitting.model_selection.outcome import Outcome, screen
from align.fitting.scouting.candidates import Candidate


@dataclass(frozen=True, slots=True)
class _InFold:
    """Rows of one side in the eigenbasis of the training rows of a fold."""

    spectrum: Spectrum  # its vectors are the identity
    train: Tensor  # (n, r)
    held_out: Tensor  # (m, r)
    reference: Tensor  # (up to MAP_REFERENCE, r)


class FoldedSide:
    """A candidate of one side, normalised, centred, and decomposed once per fold.

    Neither knows of the other side, so one serves all candidates of that.
    """

    def __init__(self, candidate: Candidate, folds: Sequence[Fold]) -> None:
        widths = candidate.widths
        self.candidate, self.folds = candidate, folds
        self.parts = None if widths is None else Parts.even(widths)
        self._prepared = PreparedSide(candidate.vectors, None, root=False, parts=self.parts)
        self._in_fold: dict[int, _InFold] = {}

    @property
    def mean(self) -> Tensor:
        """Mean direction of the rows, ``(d,)``."""
        return self._prepared.mean

    @property
    def rows(self) -> Tensor:
        """Normalised and centred rows of unit norm, ``(n, d)``."""
        return self._prepared.rows

    def in_fold(self, number: int) -> _InFold:
        """Rows in the eigenbasis of a fold; computed once."""
        if number not in self._in_fold:
            fold = self.folds[number]
            spectrum = self._prepared.spectrum(fold.train)
            inside = replace(spectrum, vectors=torch.eye(spectrum.vectors.shape[1]))
            rows = (fold.train, fold.held_out, fold.reference[:MAP_REFERENCE])
            self._in_fold[number] = _InFold(
                inside, *(self.rows[at] @ spectrum.vectors for at in rows)
            )
        return self._in_fold[number]


def held_out_recall(cv: CrossValidation, source: FoldedSide, target: FoldedSide) -> Outcome:
    """Held-out ranks through a plain regularised CCA with its screening correction.

    It is the map from whose ridges ``fit`` begins, at power 1: one for all candidates, so that none
    has more maps to be lucky with.
    """
    outcomes = []
    for number, fold in enumerate(cv.folds):
        x, y = source.in_fold(number), target.in_fold(number)
        n = len(fold.train)
        moments = Paired(
            (source.mean, target.mean), NO_ROOTS, x.spectrum, y.spectrum, x.train.T @ y.train / n, n
        )
        a, correlations, b = canonical(moments, (START, START))
        weight = correlations.clamp_max(1)
        source_map, target_map = a * weight, b * weight
        held_out, reference = (
            (F.normalize(one @ source_map, dim=1), F.normalize(two @ target_map, dim=1))
            for one, two in ((x.held_out, y.held_out), (x.reference, y.reference))
        )
        outcomes.append(screen(held_out, reference))
    return Outcome.pooled(outcomes, k=cv.k)
