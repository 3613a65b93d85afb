"""The search over closed-form maps: which family, which ridge, which weights, alone or blended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.closed_form.moments import Paired
from align.adapters.closed_form.pls import pls_maps
from align.adapters.closed_form.procrustes import procrustes_maps
from align.adapters.closed_form.rcca import canonical, power_weights, rcca_maps
from align.adapters.closed_form.ridge import Direction, ridge_maps
from align.adapters.maps.linear import BlendMap, IdentityMap, LinearMap, SideMap, joined
from align.fitting.model_selection.cross_validation import (
    MAP_REFERENCE,
    CrossValidation,
    Fold,
    Projected,
)
from align.fitting.model_selection.outcome import Outcome, score, screen
from align.scoring.ties import MEANS, falling_order, first_best

START = 3.0
TOGETHER = ((1, 1), (-1, -1))
ALONE = ((1, 0), (-1, 0), (0, 1), (0, -1))
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
POWERS = (0.5, 1.0, 1.5)
FINE_POWERS = (0.25, 0.75, 2.0)
FINALISTS = 4
MAPS_TRIED = 45  # about so many: the median of recorded searches
BLEND_WEIGHTS = (0.25, 0.5)

MapPair = tuple[SideMap, SideMap]
Build = Callable[[Paired], MapPair]
Roots = tuple[bool, bool]
NO_ROOTS: Roots = (False, False)


@dataclass(frozen=True, slots=True)
class MapChoice:
    """A recipe for a pair of maps, and what it scored on held-out pairs.

    ``stage`` is ``"map"`` on the screening folds; ``"final"`` or ``"blend"`` on all folds.
    """

    name: str  # method and settings, in words
    build: Build
    by_fold: Sequence[Outcome]
    outcome: Outcome  # of these folds together
    roots: Roots = NO_ROOTS  # which sides go through the signed square root
    ridge: tuple[float, float] | None = None
    power: float | None = None  # of the weights of directions
    blended: tuple[MapChoice, MapChoice] | None = None
    stage: str = "map"


@dataclass(frozen=True, slots=True)
class MapSearchResult:
    """Everything tried, in order, the best of it, and the best that is no blend."""

    tried: Sequence[MapChoice]
    best: MapChoice
    single: MapChoice


class MapSearch:
    """Tries maps on the screening folds of one cross-validation."""

    def __init__(
        self, cv: CrossValidation, *, query_only: bool, step: Callable[[], None] = lambda: None
    ) -> None:
        self.cv = cv
        self.query_only = query_only
        self.step = step  # called for each map that was tried
        self.tried: list[MapChoice] = []

    def run(self) -> MapSearchResult:
        """Screen families in turn on some folds, then compare the finalists on all of them.

        A blend widens the space, so it must beat the best single map by two standard errors.
        """
        best = self._with_roots(self._search_rcca())
        others = [self._best(choices) for choices in self._families(best)]
        eligible = [c for c in self.tried if c.roots in (best.roots, NO_ROOTS)]
        scores = torch.tensor([choice.outcome.mrr for choice in eligible], dtype=torch.float64)
        finalists = falling_order(scores, within=MEANS)[:FINALISTS].tolist()
        single = self._best([self._on_all_folds(eligible[at]) for at in finalists])
        best = single if self.query_only else self._blended(single, others)
        return MapSearchResult(self.tried, best, single)

    def _on_all_folds(self, choice: MapChoice) -> MapChoice:
        if len(self.cv.screening_folds) == len(self.cv.folds):
            return choice
        others = self.cv.folds[len(self.cv.screening_folds) :]
        by_fold = [*choice.by_fold, *self._outcomes(choice.build, choice.roots, others)]
        outcome = Outcome.pooled(by_fold, k=self.cv.k)
        return self._noted(replace(choice, by_fold=by_fold, outcome=outcome, stage="final"))

    def _noted(self, choice: MapChoice) -> MapChoice:
        self.tried.append(choice)
        self.step()
        return choice

    def _outcomes(self, build: Build, roots: Roots, folds: Iterable[Fold]) -> list[Outcome]:
        return [self._screen(build(self.cv.moments(roots, fold)), fold) for fold in folds]

    def _best(self, choices: Iterable[MapChoice]) -> MapChoice:
        among = list(choices)
        return among[first_best([choice.outcome.mrr for choice in among])]

    def _search_rcca(self) -> MapChoice:
        """Coordinate search over the lattice of ridges, from its middle to better neighbours."""
        grid: dict[tuple[int, int], MapChoice] = {}
        at = (RIDGES.index(START), RIDGES.index(START))
        grid[at] = self._rcca(at, POWERS)
        for steps in (TOGETHER, ALONE):
            while True:
                for i, j in ((at[0] + i, at[1] + j) for i, j in steps):
                    if (i, j) not in grid and 0 <= min(i, j) and max(i, j) < len(RIDGES):
                        grid[i, j] = self._rcca((i, j), POWERS)
                best = list(grid)[first_best([choice.outcome.mrr for choice in grid.values()])]
                if best == at:
                    break
                at = best
        return self._best([grid[at], self._rcca(at, FINE_POWERS)])

    def _rcca(self, at: tuple[int, int], powers: Sequence[float]) -> MapChoice:
        """Best power for one pair of ridges; decomposition and projection serve all powers."""
        ridge = (RIDGES[at[0]], RIDGES[at[1]])
        outcomes: dict[float, list[Outcome]] = {power: [] for power in powers}
        for fold in self.cv.screening_folds:
            moments = self.cv.moments(NO_ROOTS, fold)
            a, s, b = canonical(moments, ridge)
            if self.query_only:
                for power in powers:
                    weight = power_weights(s, power)
                    maps = self._form(moments.maps(a * weight, b * weight))
                    outcomes[power].append(self._screen(maps, fold))
                continue
            maps = moments.maps(a, b)
            held_out, reference = (
                self.cv.project(maps, rows)
                for rows in (fold.held_out, fold.reference[:MAP_REFERENCE])
            )
            for power in powers:
                weight = power_weights(s, power).float()
                weighted = (_reweight(rows, weight) for rows in (held_out, reference))
                outcomes[power].append(screen(*weighted))

        def choice(power: float) -> MapChoice:
            name = f"rcca(ridge=({ridge[0]:g}, {ridge[1]:g}), power={power:g})"
            build = self._formed(partial(rcca_maps, ridge=ridge, power=power))
            outcome = Outcome.pooled(outcomes[power], k=self.cv.k)
            return self._noted(
                MapChoice(name, build, outcomes[power], outcome, ridge=ridge, power=power)
            )

        return self._best(map(choice, powers))

    def _with_roots(self, plain: MapChoice) -> MapChoice:
        """The same map after signed square roots, if that gains more than a standard error."""

        def rooted(roots: Roots) -> MapChoice:
            return self._try(plain.name, plain.build, roots, plain.ridge, plain.power)

        each = [rooted(roots) for roots in ((True, False), (False, True))]
        gaining = [c for c in each if c.outcome.improves_on(plain.outcome, errors=1)]
        if len(gaining) == 2:
            gaining.append(rooted((True, True)))
        return self._best([plain, *gaining])

    def _families(self, best: MapChoice) -> list[list[MapChoice]]:
        """Other closed forms on the same roots."""
        direction: Direction = "forward" if self.query_only else "both"

        def pls(power: float) -> MapChoice:
            build = partial(pls_maps, power=power)
            return self._try(f"pls(power={power:g})", build, best.roots, power=power)

        def ridge(k: float) -> MapChoice:
            build = partial(ridge_maps, ridge=k, direction=direction)
            return self._try(f"ridge({direction}, ridge={k:g})", build, best.roots, (k, k))

        families = [
            [self._try("procrustes", procrustes_maps, best.roots)],
            [pls(power) for power in (0.25, 0.5)],
            [ridge(k) for k in (1.0, 3.0, 10.0)],
        ]
        if self.cv.is_comparable:
            raw = self._try("raw cosine", lambda each: identity_maps(*each.widths), NO_ROOTS)
            centred = self._try("centering", lambda each: each.maps(*each.eyes()), NO_ROOTS)
            families.append([raw, centred])
        return families

    def _blended(self, best: MapChoice, others: Sequence[MapChoice]) -> MapChoice:
        """The best map with a share of the best other family, if that gains two standard errors."""
        suitable = [c for c in others if c.roots == best.roots and c.build is not best.build]
        winner = best
        if not suitable:
            return winner
        other = self._best(suitable)
        by_weight = self._blend_outcomes(best, other)
        for weight, by_fold in zip(BLEND_WEIGHTS, by_weight, strict=True):
            name = f"{1 - weight:g} {best.name} + {weight:g} {other.name}"
            outcome = Outcome.pooled(by_fold, k=self.cv.k)
            build, pair = _blend(best, other, weight), (best, other)
            blend = self._noted(
                MapChoice(name, build, by_fold, outcome, best.roots, blended=pair, stage="blend")
            )
            if outcome.improves_on(best.outcome) and outcome.mrr > winner.outcome.mrr + MEANS:
                winner = blend
        return winner

    def _blend_outcomes(self, best: MapChoice, other: MapChoice) -> list[tuple[Outcome, ...]]:
        """Outcomes on all folds of ``BLEND_WEIGHTS`` of ``other``; projections serve them all."""
        by_fold = []
        for fold in self.cv.folds:
            moments = self.cv.moments(best.roots, fold)
            each = [best.build(moments), other.build(moments)]
            held_out, reference = (
                [self.cv.project(maps, rows) for maps in each]
                for rows in (fold.held_out, fold.reference[:MAP_REFERENCE])
            )
            by_fold.append(
                [
                    screen(_joined(held_out, weight), _joined(reference, weight))
                    for weight in BLEND_WEIGHTS
                ]
            )
        return list(zip(*by_fold, strict=True))

    def _try(
        self,
        name: str,
        build: Build,
        roots: Roots,
        ridge: tuple[float, float] | None = None,
        power: float | None = None,
    ) -> MapChoice:
        """Screen one recipe under a name that says which sides are rooted."""
        formed = self._formed(build)
        rooted = [side for side, root in zip(("source", "target"), roots, strict=True) if root]
        if rooted:
            name = f"{name} after root of {' and '.join(rooted)}"
        by_fold = self._outcomes(formed, roots, self.cv.screening_folds)
        outcome = Outcome.pooled(by_fold, k=self.cv.k)
        return self._noted(MapChoice(name, formed, by_fold, outcome, roots, ridge, power))

    def _formed(self, build: Build) -> Build:
        return lambda moments: self._form(build(moments))

    def _form(self, maps: MapPair) -> MapPair:
        """As they are, or folded into the source so that target vectors stay untouched."""
        if not self.query_only or isinstance(maps[1], IdentityMap):
            return maps
        source, target = maps
        assert isinstance(source, LinearMap) and isinstance(target, LinearMap)
        weight = source.weight @ target.weight.T
        folded = LinearMap(source.mean, weight, root=source.root, parts=source.parts)
        return folded, IdentityMap(target.d_in)

    def _screen(self, maps: MapPair, fold: Fold) -> Outcome:
        held_out = self.cv.project(maps, fold.held_out)
        if self.query_only:
            return score(held_out, None)
        return screen(held_out, self.cv.project(maps, fold.reference[:MAP_REFERENCE]))


def _reweight(sides: Projected, weight: Tensor) -> Projected:
    """Unit-norm rows of both sides with their coordinates weighted, at unit norm again."""
    return F.normalize(sides[0] * weight, dim=1), F.normalize(sides[1] * weight, dim=1)


def identity_maps(d_source: int, d_target: int) -> MapPair:
    """The raw cosine as a pair of maps."""
    return IdentityMap(d_source), IdentityMap(d_target)


def _joined(each: Sequence[Projected], weight: float) -> Projected:
    """What two pairs of maps gave, as their blend gives it; ``weight`` is that of the second."""
    weights = (1 - weight, weight)
    source, target = (joined(side, weights) for side in zip(*each, strict=True))
    return source, target


def _blend(best: MapChoice, other: MapChoice, weight: float) -> Build:
    def build(moments: Paired) -> MapPair:
        pairs = zip(best.build(moments), other.build(moments), strict=True)
        source, target = (BlendMap(parts, (1 - weight, weight)) for parts in pairs)
        return source, target

    return build
