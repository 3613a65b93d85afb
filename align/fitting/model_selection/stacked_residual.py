"""Training on top of a closed form, on vectors of pairs that the closed form has not seen.

Beside its own training pairs a closed form looks better than it is, and gradient steps taken there
have nothing left to learn but noise. So each pair is mapped by a closed form fitted without its
fold, turned into the space of the final one, and the shift is learned beside that: stacking, as in
Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1. The first layer of the shift is random and fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap, SideMap
from align.adapters.maps.residual import Delta, LinearDelta, MLPDelta, ResidualMap
from align.adapters.recipes.recipe import MapPair
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import (
    REFERENCE,
    CrossValidation,
    Fold,
    Projected,
    Projection,
    others,
)
from align.fitting.model_selection.gallery_correction import GalleryChoice
from align.fitting.model_selection.map_search import MapChoice
from align.fitting.model_selection.outcome import HeldOutGain
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import Batch, contrastive
from align.fitting.training.train import train
from align.metrics.chance import without_chance_warnings

ENOUGH = 2000  # pairs from which "auto" tries: with fewer, what it could learn is mostly noise
FEWEST_FOLDS = 3  # one is held out, and every other is mapped without both
HIDDEN = 1024
BATCH = 1000
FOLDS = 3  # folds held out to evaluate it: each costs as much as the refinement itself
ANCHOR = 0.3  # weight of the squared distance from where vectors start
CONFIG = TrainConfig(steps=30, learning_rate=6e-5, weight_decay=0.0)


class CrossFitted(SideMap):
    """A mapped vector and a learned shift of it: rows ``[z ; h]`` to ``norm(z + h W)``.

    ``z`` ``(n, dim)`` has unit norm and comes from a map that has not seen the pair; ``h`` are the
    hidden units of its shift. Only the ratio of the two counts, as a row may come at another
    length. ``weight`` is ``None`` for a side that stays as it is, whose rows are ``z`` alone.
    """

    def __init__(self, dim: int, hidden: int, weight: LinearDelta | None) -> None:
        super().__init__()
        self.dim, self.d_in = dim, dim + hidden
        self.weight = weight

    def project(self, x: Tensor) -> Tensor:
        """Rows ``(n, dim + hidden)`` before the last normalisation, ``(n, dim)``."""
        z = x[:, : self.dim]
        length = torch.linalg.vector_norm(z, dim=1, keepdim=True)
        if self.weight is None:
            unmoved: Tensor = z / length
            return unmoved
        moved: Tensor = (z + self.weight(x[:, self.dim :])) / length
        return moved

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``(n, dim + hidden)`` to unit-norm ``(n, dim)``."""
        return F.normalize(self.project(x), dim=1)


class Unseen(NamedTuple):
    """Pairs, and a fold whose maps have not seen them."""

    rows: Tensor  # (n,) int64, none of them among fold.train
    fold: Fold


class Refinement(NamedTuple):
    """Training on top: its outcome with the closed form's gallery, and its gain over that form."""

    gallery: GalleryChoice
    gain: HeldOutGain
    whole: bool  # whether all of FOLDS were evaluated, or the first showed that it is no use
    projected: Sequence[Projection]  # folds that were evaluated, through the maps of each

    @property
    def improves(self) -> bool:
        """Whether it gains two standard errors over all of the folds."""
        return self.whole and self.gain.exceeds(2)


def judge(
    cv: CrossValidation,
    best: MapChoice,
    closed: GalleryChoice,
    *,
    step: Callable[[], None] = lambda: None,
) -> Refinement:
    """What refining ``best`` gains on held-out pairs over the closed form, both with ``closed``.

    It must gain two standard errors over ``FOLDS`` folds, with the gallery correction that was
    chosen for the closed form: one chosen on these folds would be a gain of its own. The first fold
    is a screen: where even the upper 95 % bound of what it lets expect of all folds would not do,
    the others are not evaluated. A refinement that passes the screen is held to the same gate over
    all folds, the first included, as it would be without a screen; so the screen passes nothing
    that the gate would not.
    """
    projected: list[Projection] = []

    def so_far(*, whole: bool) -> Refinement:
        outcome = closed.evaluated(projected, k=cv.k)
        gain = outcome.gain_over(closed.outcome.first(len(outcome.reciprocal_ranks)))
        return Refinement(replace(closed, outcome=outcome), gain, whole, projected)

    for fold in held_out_projections(cv, best, step):
        projected.append(fold)
        if len(projected) == 1 < FOLDS:
            screened = so_far(whole=False)
            if not screened.gain.may_exceed(2, share=1 / FOLDS):
                return screened
    return so_far(whole=True)


def refinement_steps(cv: CrossValidation) -> int:
    """How often ``judge`` counts a step if it looks at every fold."""
    return FOLDS * cv.k


def refine(
    cv: CrossValidation,
    best: MapChoice,
    final: MapPair,
    *,
    unseen: Sequence[Unseen] | None = None,
    step: Callable[[], None] = lambda: None,
) -> MapPair:
    """The final maps of the closed form ``best`` with shifts learned from ``unseen`` pairs.

    These are all pairs of ``cv`` if left out. A target side that is the identity stays so. ``step``
    is called after each fold and at the end.
    """
    if unseen is None:
        unseen = [Unseen(others(fold.train, len(cv.data)), fold) for fold in cv.folds[: cv.k]]
    by_fold = []
    for part in unseen:
        by_fold.append(_cross_fitted(cv, best, final, part))
        step()
    rows = torch.cat([part.rows for part in unseen])
    mapped = [torch.cat(side) for side in zip(*by_fold, strict=True)]
    deltas = _learn(cv, best.roots, final, rows, mapped)
    step()

    def on_top(side: int) -> SideMap:
        delta, root = deltas[side], best.roots[side]
        if delta is None:
            return final[side]
        mean = cv.prepared(side, root).mean
        return ResidualMap(final[side], delta, mean, root=root, parts=cv.parts[side])

    return on_top(0), on_top(1)


def held_out_projections(
    cv: CrossValidation, best: MapChoice, step: Callable[[], None] = lambda: None
) -> Iterator[Projection]:
    """Held-out pairs of the first folds, each through maps refined without it, start to end.

    Everything is done anew without the fold, its cross-fitting included. Cheaper would be to learn
    beside the vectors that are there already; but the maps that gave them have seen the fold, and
    what is learned beside them does worse on it than on pairs that are new. What is left without
    the fold is the other folds, and each of these is mapped without both. Maps without two folds
    serve the evaluation of either.
    """
    without_both: dict[frozenset[int], Fold] = {}
    left_out = [others(fold.train, len(cv.data)) for fold in cv.folds[: cv.k]]
    for at, fold in enumerate(cv.folds[:FOLDS]):
        unseen = []
        for other, rows in enumerate(left_out):
            if other == at:
                continue
            both = frozenset((at, other))
            if both not in without_both:
                train = others(torch.cat([left_out[at], rows]), len(cv.data))
                without_both[both] = Fold(train, rows, train[:REFERENCE])
            unseen.append(Unseen(rows, without_both[both]))
        final = best.build(cv.moments(best.roots, fold))
        maps = refine(cv, best, final, unseen=unseen, step=step)
        yield cv.projection(maps, fold)


def _cross_fitted(
    cv: CrossValidation, best: MapChoice, final: MapPair, unseen: Unseen
) -> Projected:
    """Unseen rows through the maps of their fold, turned into the space of the final ones."""
    maps = best.build(cv.moments(best.roots, unseen.fold))
    z, w = cv.project(maps, unseen.rows)
    if isinstance(maps[1], IdentityMap):
        return z, w  # the target side is the space
    sample = unseen.fold.train[:REFERENCE]
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
    """Both shifts, learned from the pairs at ``rows`` beside their mapped vectors.

    Their first layer is random and stays so: what it gives is computed once, and a step costs two
    products with the second layer (Rahimi and Recht 2008, arXiv:1011.4088 has the idea).
    """
    generator = torch.Generator().manual_seed(cv.seed)
    firsts: list[Tensor | None] = []
    starts, sides = [], []
    for side, z in enumerate(mapped):
        if isinstance(final[side], IdentityMap):
            firsts.append(None)
            starts.append(CrossFitted(z.shape[1], 0, None))
            sides.append(z)
            continue
        seen = cv.prepared(side, roots[side]).rows
        first = torch.randn(seen.shape[1], HIDDEN, generator=generator)
        firsts.append(first)
        second = LinearDelta(torch.zeros(HIDDEN, z.shape[1]))
        starts.append(CrossFitted(z.shape[1], HIDDEN, second))
        sides.append(torch.cat([z, F.gelu(seen.index_select(0, rows) @ first)], dim=1))
    groups = [cv.data.groups[row] for row in rows.tolist()]
    pairs = PairedEmbeddings.from_arrays(sides[0], sides[1], groups=groups)
    card = Card("cross-fitted", len(rows), sides[0].shape[1], sides[1].shape[1])
    config = replace(CONFIG, seed=cv.seed, batch_size=min(BATCH, len(rows)))
    with torch.enable_grad(), without_chance_warnings():
        learned = train(Adapter(starts[0], starts[1], card), pairs, loss=anchored, config=config)
    deltas: list[Delta | None] = []
    for first_layer, side_map in zip(firsts, (learned.source_map, learned.target_map), strict=True):
        assert isinstance(side_map, CrossFitted)
        if first_layer is None or side_map.weight is None:
            deltas.append(None)
            continue
        second_layer = side_map.weight.weight.detach()
        bias = torch.zeros(HIDDEN)
        deltas.append(MLPDelta(first_layer, bias, second_layer, dropout=0.0))
    return deltas[0], deltas[1]


def anchored(batch: Batch) -> Tensor:
    """``contrastive`` and a share of the mean squared distance by which the shifts move vectors."""
    dim = batch.source_projected.shape[1]
    sides = (batch.source_input, batch.source), (batch.target_input, batch.target)
    moved = [
        (after - F.normalize(before[:, :dim], dim=1)).square().sum(dim=1).mean()
        for before, after in sides
    ]
    return contrastive(batch) + ANCHOR * (moved[0] + moved[1]) / 2
