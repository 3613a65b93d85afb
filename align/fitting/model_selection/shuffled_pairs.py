"""Whether held-out pairs are found more often than by chance, held against shuffled pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from align.adapters.recipes.formulas import rcca_maps
from align.adapters.recipes.moments import Paired
from align.fitting.model_selection.cross_validation import (
    CrossValidation,
    Fold,
    first_of_each,
    others,
)
from align.fitting.model_selection.map_search import NO_ROOTS
from align.fitting.model_selection.outcome import Outcome, score
from align.metrics.chance import AgainstChance, HeldOutRanks

SURE = 10.0  # standard errors above a random order that leave no doubt, whatever was tried
NEVER = 2.0  # standard errors that noise reaches too easily to be worth a closer look
CERTAIN = 3.0  # standard deviations of the shuffled above which true pairs must be
SHUFFLES = 20
RIDGE, POWER = 3.0, 1.0  # a fixed map, so that nothing was chosen for luck


def against_chance(cv: CrossValidation, outcome: Outcome, raw: Outcome | None) -> AgainstChance:
    """Held-out recall of what was chosen, and whether it is better than chance.

    Ranks on folds are no independent draws: what one training pair has in common with a held-out
    pair by accident it has in common with it in the other fold too, so that by accident all folds
    do well together; and the best of many maps does well by accident. So the standard errors of a
    random order decide only where they leave no doubt. In between, one fixed map is cross-validated
    on the true pairs and on shuffled ones, and must do better on the true ones by ``CERTAIN``
    standard deviations of the shuffled. The raw cosine, which learns from no pair, is held against
    a random order by itself; ``raw`` is ``None`` where it is not defined.
    """
    assert outcome.held_out is not None
    above = outcome.held_out.standard_errors(outcome.rounds)
    better = above >= SURE
    if NEVER < above < SURE:
        alone = 0.0
        if raw is not None and raw.held_out is not None:
            alone = raw.held_out.standard_errors(raw.rounds)
        better = alone > CERTAIN or beats_shuffled(cv)
    return outcome.held_out.against_chance(better=better)


def beats_shuffled(cv: CrossValidation) -> bool:
    """Whether a fixed map does better on the true pairs than on shuffled ones, on held-out folds.

    One pair of each group is looked at. Partners are exchanged inside a fold, so that each side of
    a fold stays as it is and is decomposed once.
    """
    folds = [_FoldRows(cv, fold) for fold in cv.folds[: cv.k]]
    generator = torch.Generator().manual_seed(cv.seed)
    rows = torch.arange(len(cv.data))
    true = _standard_errors(cv, folds, rows)
    shuffled = []
    for _ in range(SHUFFLES):
        partner = rows.clone()
        for fold in folds:
            order = torch.randperm(len(fold.inside), generator=generator)
            partner[fold.inside] = fold.inside[order]
        shuffled.append(_standard_errors(cv, folds, partner))
    null = torch.tensor(shuffled, dtype=torch.float64)
    return true > null.mean().item() + CERTAIN * null.std().item()


class _FoldRows:
    """One pair of each group inside and outside of a fold, and the decomposed sides outside."""

    def __init__(self, cv: CrossValidation, fold: Fold) -> None:
        self.inside = first_of_each(cv.codes, others(fold.train, len(cv.data)))
        self.outside = first_of_each(cv.codes, fold.train)
        self.held_out = fold.held_out
        self.sides = [cv.prepared(side, root=False) for side in (0, 1)]
        self.spectra = [side.spectrum(self.outside) for side in self.sides]
        self.coordinates = [
            side.rows @ spectrum.vectors.to(side.rows.dtype)
            for side, spectrum in zip(self.sides, self.spectra, strict=True)
        ]

    def moments(self, cv: CrossValidation, partner: Tensor) -> Paired:
        """Moments of the pairs outside, each source with the target of its partner."""
        x, y = self.coordinates
        n = len(self.outside)
        cross = x[self.outside].T @ y[partner[self.outside]] / n
        source, target = self.spectra
        means = self.sides[0].mean, self.sides[1].mean
        wide = cross.to(source.vectors.dtype)
        return Paired(means, NO_ROOTS, source, target, wide, n, cv.parts)


def _standard_errors(cv: CrossValidation, folds: list[_FoldRows], partner: Tensor) -> float:
    """By how much held-out pairs are found earlier than in a random order."""
    each = []
    for fold in folds:
        maps = rcca_maps(fold.moments(cv, partner), (RIDGE, RIDGE), POWER)
        source = cv.project(maps, fold.held_out)[0]
        target = cv.project(maps, partner[fold.held_out])[1]
        outcome = score((source, target), None)
        assert outcome.held_out is not None
        each.append(outcome.held_out)
    return HeldOutRanks.joined(each).standard_errors()
