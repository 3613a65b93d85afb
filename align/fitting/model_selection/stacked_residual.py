"""Training on top of a closed form, on vectors of pairs that the closed form has not seen.

Beside its own training pairs a closed form looks better than it is, and gradient steps taken there
have nothing left to learn but noise. So each pair is mapped by a closed form fitted without its
fold, turned into the space of the final one, and the shift is learned beside that: stacking, as in
Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap, SideMap
from align.adapters.maps.residual import Delta, MLPDelta, ResidualMap
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import (
    REFERENCE,
    CrossValidation,
    Fold,
    Projected,
    others,
)
from align.fitting.model_selection.gallery_correction import Projection
from align.fitting.model_selection.map_search import MapChoice, MapPair
from align.fitting.training.config import TrainConfig
from align.fitting.training.train import train
from align.metrics.chance import without_chance_warnings

ENOUGH = 2000  # pairs from which "auto" tries: with fewer, what it could learn is mostly noise
HIDDEN = 1024
DROPOUT = 0.2
BATCH = 1000
FOLDS = 2  # folds held out to evaluate it: each costs as much as the refinement itself
CONFIG = TrainConfig(steps=50, learning_rate=4e-5, weight_decay=0.0, anchor=0.3)


class CrossFitted(SideMap):
    """A mapped vector and a learned shift of it: rows ``[z ; c]`` to ``norm(z + delta(c))``.

    ``z`` ``(n, dim)`` comes from a map that has not seen the pair, ``c`` is the input of the shift;
    each is brought to unit norm first.
    """

    def __init__(self, dim: int, d_shift: int, delta: Delta | None) -> None:
        super().__init__()
        self.dim, self.d_in = dim, dim + d_shift
        self.delta = delta

    def project(self, x: Tensor) -> Tensor:
        """Rows ``(n, dim + d_shift)`` before the last normalisation, ``(n, dim)``."""
        z = F.normalize(x[:, : self.dim], dim=1)
        if self.delta is None:
            return z
        shift: Tensor = self.delta(F.normalize(x[:, self.dim :], dim=1))
        return z + shift

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``(n, dim + d_shift)`` to unit-norm ``(n, dim)``."""
        return F.normalize(self.project(x), dim=1)


def refine(cv: CrossValidation, best: MapChoice, final: MapPair) -> MapPair:
    """The final maps of the closed form ``best`` with shifts learned from all pairs of ``cv``.

    A target side that is the identity stays so.
    """
    folds = cv.folds[: cv.k]
    rows = torch.cat([others(fold.train, len(cv.data)) for fold in folds])
    by_fold = [_cross_fitted(cv, best, final, fold) for fold in folds]
    mapped = [torch.cat(side) for side in zip(*by_fold, strict=True)]
    deltas = _learn(cv, best.roots, final, rows, mapped)

    def on_top(side: int) -> SideMap:
        delta, root = deltas[side], best.roots[side]
        if delta is None:
            return final[side]
        mean = cv.prepared(side, root).mean
        return ResidualMap(final[side], delta, mean, root=root, parts=cv.parts[side])

    return on_top(0), on_top(1)


def can_cross_fit(cv: CrossValidation) -> bool:
    """Whether every fold leaves two groups or more, so that the rest can be folded again."""
    names = cv.data.group_key
    return all(len({names[row] for row in f.train.tolist()}) > 1 for f in cv.folds[:FOLDS])


def held_out_projections(cv: CrossValidation, best: MapChoice) -> list[Projection]:
    """Held-out pairs of the first folds through maps refined without them, start to end.

    Everything is done anew without the fold, its cross-fitting included. Cheaper would be to learn
    beside the vectors that are there already; but the maps that gave them have seen the fold, and
    what is learned beside them does worse on it than on pairs that are new. Where the other folds
    hold fewer groups than there are folds, they are dealt into as many as there are groups.
    """
    projected = []
    for fold in cv.folds[:FOLDS]:
        rest = cv.data.take(fold.train)
        without = CrossValidation(
            rest,
            folds_wanted=min(cv.k, len(set(rest.group_key))),
            seed=cv.seed,
            unpaired=cv.unpaired,
            parts=cv.parts,
        )
        source, target = refine(without, best, best.build(without.moments(best.roots)))
        sides = [cv.raw_rows(fold.held_out), cv.raw_rows(fold.reference)]
        projected.append(Projection(*((source(x), target(y)) for x, y in sides)))
    return projected


def _cross_fitted(cv: CrossValidation, best: MapChoice, final: MapPair, fold: Fold) -> Projected:
    """The fold's unseen rows through its own maps, turned into the space of the final ones."""
    maps = best.build(cv.moments(best.roots, fold))
    z, w = cv.project(maps, others(fold.train, len(cv.data)))
    if isinstance(maps[1], IdentityMap):
        return z, w  # the target side is the space
    sample = fold.train[:REFERENCE]
    here, there = cv.project(maps, sample), cv.project(final, sample)
    overlap = here[0].T @ there[0] + here[1].T @ there[1]
    u, _, vt = torch.linalg.svd(overlap, full_matrices=False)  # a fold may have fewer directions
    rotation = u @ vt
    return z @ rotation, w @ rotation


def _learn(
    cv: CrossValidation,
    roots: tuple[bool, bool],
    final: MapPair,
    rows: Tensor,
    mapped: Sequence[Tensor],
) -> tuple[Delta | None, Delta | None]:
    """Both shifts, learned from the pairs at ``rows`` beside their mapped vectors."""
    generator = torch.Generator().manual_seed(cv.seed)
    starts, sides = [], []
    for side, z in enumerate(mapped):
        seen = cv.prepared(side, roots[side]).rows[rows]
        fixed = isinstance(final[side], IdentityMap)
        delta = None if fixed else _zero_shift(seen.shape[1], z.shape[1], generator)
        starts.append(CrossFitted(z.shape[1], seen.shape[1], delta))
        sides.append(torch.cat([z, seen], dim=1))
    groups = [cv.data.groups[row] for row in rows.tolist()]
    pairs = PairedEmbeddings.from_arrays(sides[0], sides[1], groups=groups)
    card = Card("cross-fitted", len(rows), sides[0].shape[1], sides[1].shape[1])
    config = replace(CONFIG, seed=cv.seed, batch_size=min(BATCH, len(rows)))
    with torch.enable_grad(), without_chance_warnings():
        learned = train(Adapter(starts[0], starts[1], card), pairs, config=config)
    source, target = learned.source_map, learned.target_map
    assert isinstance(source, CrossFitted) and isinstance(target, CrossFitted)
    return source.delta, target.delta


def _zero_shift(d_in: int, dim: int, generator: torch.Generator) -> MLPDelta:
    """A shift of unit-norm rows ``(n, d_in)`` that starts at zero."""
    first = torch.randn(d_in, HIDDEN, generator=generator)
    second = torch.zeros(HIDDEN, dim)
    return MLPDelta(first, torch.zeros(HIDDEN), second, dropout=DROPOUT)
