"""Scores of projected held-out pairs, with or without a correction of the gallery."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from align.adapters.corrections.hubness import Hubness, InvertedSoftmax
from align.adapters.corrections.reference_set import ReferenceSet
from align.fitting.model_selection.cross_validation import CrossValidation, Projected
from align.fitting.model_selection.outcome import Outcome
from align.metrics.ranks import ranks

SCREENING = InvertedSoftmax(10.0)  # maps are compared after a correction, as they will be used


def screen(held_out: Projected, reference: Projected) -> Outcome:
    """Outcome of projected held-out pairs under the screening correction."""
    return score(held_out, ReferenceSet(*reference, expansion=None, hubness=SCREENING))


def score(held_out: Projected, reference: ReferenceSet | None) -> Outcome:
    """Outcome of projected held-out pairs, each the only match of its partner."""
    x, y = held_out
    if reference is None:
        return _outcome((x, y), (y, x))
    return _outcome(
        (_with_one(x), _with_one(y)),
        (reference.gallery(y, side="target"), reference.gallery(x, side="source")),
    )


def score_each(
    held_out: Projected, reference: Projected, corrections: Sequence[Hubness]
) -> list[Outcome]:
    """``score`` under each correction without expansion; the similarities serve them all."""
    x, y = held_out
    near_target, near_source = y @ reference[0].T, x @ reference[1].T
    outcomes = []
    for correction in corrections:
        target = torch.cat([y, -correction(near_target)[:, None]], dim=1)
        source = torch.cat([x, -correction(near_source)[:, None]], dim=1)
        outcomes.append(_outcome((_with_one(x), _with_one(y)), (target, source)))
    return outcomes


def score_raw(cv: CrossValidation) -> Outcome | None:
    """Held-out results of the raw cosine, or ``None`` where the widths of the sides differ."""
    if not cv.is_comparable:
        return None
    each = [score(cv.identity(fold.held_out), None) for fold in cv.folds]
    return Outcome.pooled(each, k=cv.k)


def _with_one(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(len(z), 1)], dim=1)


def _outcome(queries: Projected, galleries: Projected) -> Outcome:
    """Rank row-matched queries and galleries in both directions and average the two."""
    pairs = zip(queries, galleries, strict=True)
    return Outcome.of_ranks([ranks(q[:, : g.shape[1]], g) for q, g in pairs])
