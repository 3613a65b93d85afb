"""What share of the norm each part of a vector gets, where several encoders stand side by side."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from align.adapters.closed_form.rcca import rcca_maps
from align.adapters.maps.parts import Parts, present
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import (
    MAP_REFERENCE,
    CrossValidation,
    Outcome,
    Unpaired,
    pooled,
    screen,
)
from align.fitting.model_selection.map_search import START

SidesParts = tuple[Parts | None, Parts | None]

SAMPLE = 2000  # pairs on which shares are compared
FOLDS = 2
LEAN = 3.0  # how many times the share of the others a part gets that is leaned on
ALONE = 1e-6  # share of parts that are as good as left out


def choose_parts(
    train: PairedEmbeddings, *, folds: int, seed: int, weigh: bool
) -> tuple[SidesParts, list[tuple[str, Outcome, bool]]]:
    """Shares that rank held-out pairs best under one plain regularised CCA, side by side.

    Even shares stay unless others gain more than a standard error: one part leaned on, or nearly
    alone. Without ``weigh`` they stay even, and so does a side where an item lacks a part: that has
    a block for each kind of item.

    Returns:
        The parts of both sides; and what was tried: name, held-out results, whether chosen.
    """
    sample = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:SAMPLE]
    data = train.take(sample.sort().values)
    folds = min(folds, len(set(data.group_key)))  # a sample may miss a small group
    chosen: SidesParts = _even(train.source_parts), _even(train.target_parts)
    tried: list[tuple[str, Outcome, bool]] = []
    for side, name in enumerate(("source", "target")):
        even = chosen[side]
        if (
            not weigh
            or folds < 2
            or even is None
            or len(even.widths) == 1
            or _is_mixed(data, side, even)
        ):
            continue
        best, outcome = even, _outcome(data, chosen, folds, seed)
        found = [(even, outcome)]
        for option in _options(even):
            other = _outcome(data, _with(chosen, side, option), folds, seed)
            found.append((option, other))
            if other.gains(outcome):
                best, outcome = option, other
        chosen = _with(chosen, side, best)
        for option, other in found:
            shares = ", ".join(f"{share:.2g}" for share in option.shares)
            tried.append((f"{name} parts at ({shares})", other, option is best))
    return chosen, tried


def _even(widths: tuple[int, ...] | None) -> Parts | None:
    return None if widths is None else Parts.even(widths)


def _options(even: Parts) -> Iterator[Parts]:
    for leaned in range(len(even.widths)):
        for others in (1 / LEAN, ALONE):
            weights = [1.0 if part == leaned else others for part in range(len(even.widths))]
            yield Parts(even.widths, tuple(weight / sum(weights) for weight in weights))


def _outcome(data: PairedEmbeddings, parts: SidesParts, folds: int, seed: int) -> Outcome:
    cv = CrossValidation(data, folds_wanted=folds, seed=seed, unpaired=Unpaired(), parts=parts)
    found = []
    for fold in cv.folds[:FOLDS]:
        maps = rcca_maps(cv.moments((False, False), fold), (START, START), 1.0)
        reference = cv.project(maps, fold.reference[:MAP_REFERENCE])
        found.append(screen(cv.project(maps, fold.held_out), reference))
    return pooled(found, k=cv.k)


def _with(parts: SidesParts, side: int, one: Parts) -> SidesParts:
    return (one, parts[1]) if side == 0 else (parts[0], one)


def _is_mixed(data: PairedEmbeddings, side: int, parts: Parts) -> bool:
    """Whether an item of one side lacks a part."""
    rows = (data.source, data.target)[side]
    return not all(
        bool(present(part).all()) for part in torch.split(rows, list(parts.widths), dim=1)
    )
