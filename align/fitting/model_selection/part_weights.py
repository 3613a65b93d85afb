"""Weights of the parts of a vector, where several encoders stand side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from align.adapters.maps.parts import Parts, present
from align.adapters.recipes.formulas import rcca_maps
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import MAP_REFERENCE, CrossValidation
from align.fitting.model_selection.gallery_correction import Step
from align.fitting.model_selection.map_search import NO_ROOTS, START
from align.fitting.model_selection.outcome import Outcome, screen

SidesParts = tuple[Parts | None, Parts | None]

SAMPLE = 2000  # pairs on which weights are compared
FOLDS = 2
FAVOURED = 3.0  # how many times the weight of the others one part gets
ALONE = 1e-6  # weight of parts that are as good as left out


def choose_parts(
    train: PairedEmbeddings,
    *,
    folds: int,
    seed: int,
    weigh: bool,
    step: Callable[[], None] = lambda: None,
) -> tuple[SidesParts, list[Step]]:
    """Part weights that rank held-out pairs best under one plain regularised CCA, and the trials.

    Even weights stay unless others gain more than a standard error: one part favoured, or nearly
    alone. Without ``weigh`` they stay even, and so does a side of which most items have one part
    alone: that has a block for each kind of item. ``step`` is called for each trial.
    """
    sample = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:SAMPLE]
    data = train.take(sample.sort().values)
    folds = min(folds, len(set(data.group_key)))  # a sample may miss a small group
    chosen: SidesParts = _even(train.source_parts), _even(train.target_parts)
    tried: list[Step] = []
    for side, name in enumerate(("source", "target")):
        even = chosen[side]
        if not weigh or folds < 2 or even is None or not are_views(data, side):
            continue
        best, outcome = even, _outcome(data, chosen, folds, seed)
        scored = [(even, outcome)]
        for option in _options(even):
            other = _outcome(data, _with(chosen, side, option), folds, seed)
            scored.append((option, other))
            step()
            if other.improves_on(outcome, errors=1):
                best, outcome = option, other
        chosen = _with(chosen, side, best)
        for option, other in scored:
            shares = ", ".join(f"{share:.2g}" for share in option.shares)
            tried.append(Step("shares", f"{name} parts at ({shares})", other, option is best))
    return chosen, tried


def are_views(pairs: PairedEmbeddings, side: int) -> bool:
    """Whether most items of a side (0 source, 1 target) have several parts.

    Where each has one alone, parts are kinds of items and not views of one: weights change nothing.
    """
    rows, widths = ((pairs.source, pairs.source_parts), (pairs.target, pairs.target_parts))[side]
    if widths is None or len(widths) < 2:
        return False
    parts = torch.stack([present(part) for part in torch.split(rows, list(widths), dim=1)])
    return bool((parts.sum(dim=0) > 1).float().mean() > 0.5)


def _even(widths: tuple[int, ...] | None) -> Parts | None:
    return None if widths is None else Parts.even(widths)


def _options(even: Parts) -> Iterator[Parts]:
    for favoured in range(len(even.widths)):
        for others in (1 / FAVOURED, ALONE):
            weights = [1.0 if part == favoured else others for part in range(len(even.widths))]
            yield Parts(even.widths, tuple(weight / sum(weights) for weight in weights))


def _outcome(data: PairedEmbeddings, parts: SidesParts, folds: int, seed: int) -> Outcome:
    cv = CrossValidation(data, folds_wanted=folds, seed=seed, parts=parts)
    each = []
    for fold in cv.folds[:FOLDS]:
        maps = rcca_maps(cv.moments(NO_ROOTS, fold), (START, START), 1.0)
        reference = cv.project(maps, fold.reference[:MAP_REFERENCE])
        each.append(screen(cv.project(maps, fold.held_out), reference))
    return Outcome.pooled(each, k=cv.k)


def _with(parts: SidesParts, side: int, one: Parts) -> SidesParts:
    return (one, parts[1]) if side == 0 else (parts[0], one)
