"""The search over closed-form maps: which family, which ridge, which weights, alone or blended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from align.adapters.maps.linear import IdentityMap
from align.adapters.recipes.formulas import Direction, canonical, power_weights
from align.adapters.recipes.recipe import (
    PLS,
    RCCA,
    Blend,
    Centering,
    MapPair,
    Procrustes,
    QueryOnly,
    RawCosine,
    Recipe,
    Ridge,
    folded,
)
from align.fitting.model_selection.canonical_projections import CanonicalProjections
from align.fitting.model_selection.cross_validation import (
    MAP_REFERENCE,
    CrossValidation,
    Fold,
    Projection,
)
from align.fitting.model_selection.outcome import (
    SCREENING,
    Outcome,
    Similarities,
    score,
    screen,
)
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

Roots = tuple[bool, bool]
Ridges = tuple[float, float]
NO_ROOTS: Roots = (False, False)


@dataclass(frozen=True, slots=True)
class MapChoice:
    """A recipe for a pair of maps, and what it scored on held-out pairs.

    ``stage`` is ``"map"`` on the screening folds; ``"final"`` or ``"blend"`` on all folds.
    """

    name: str  # method and settings, in words
    build: Recipe
    by_fold: Sequence[Outcome]
    outcome: Outcome  # of these folds together
    roots: Roots = NO_ROOTS  # which sides go through the signed square root
    ridge: Ridges | None = None
    power: float | None = None  # of the weights of directions
    blended: tuple[MapChoice, MapChoice] | None = None
    stage: str = "map"


@dataclass(frozen=True, slots=True)
class MapSearchResult:
    """Everything tried, in order, the best of it, and the best that is no blend."""

    tried: Sequence[MapChoice]
    best: MapChoice
    single: MapChoice
    projections: Sequence[Projection]  # every fold through its own maps, made as ``best``


class MapSearch:
    """Tries maps on the screening folds of one cross-validation."""

    def __init__(
        self, cv: CrossValidation, *, query_only: bool, step: Callable[[], None] = lambda: None
    ) -> None:
        self.cv = cv
        self.query_only = query_only
        self.step = step  # called for each map that was tried
        self.tried: list[MapChoice] = []
        self._projections: dict[tuple[int, Roots], CanonicalProjections] = {}  # by number of fold

    def run(self) -> MapSearchResult:
        """Screen families in turn on some folds, then compare the finalists on all of them.

        A blend widens the space, so it must beat the best single map by two standard errors.
        """
        best = self._with_roots(self._search_rcca())
        others = [self._best(choices) for choices in self._families(best)]
        eligible = [c for c in self.tried if c.roots in (best.roots, NO_ROOTS)]
        scores = torch.tensor([choice.outcome.mrr for choice in eligible], dtype=torch.float64)
        finalists = falling_order(scores, within=MEANS)[:FINALISTS].tolist()
        single = self._best(self._on_all_folds([eligible[at] for at in finalists]))
        self._projections.clear()
        self.cv.keep_only(single.roots)
        projected = self._projected(single)
        best = single if self.query_only else self._blended(single, others, projected)
        if best is not single:
            projected = self._projected(best)
        return MapSearchResult(self.tried, best, single, projected)

    def _projected(self, choice: MapChoice) -> list[Projection]:
        folds = self.cv.folds
        maps = (choice.build(self.cv.moments(choice.roots, fold)) for fold in folds)
        return [self.cv.projection(*each) for each in zip(maps, folds, strict=True)]

    def _on_all_folds(self, choices: Sequence[MapChoice]) -> list[MapChoice]:
        first, last = len(self.cv.screening_folds), len(self.cv.folds)
        if first == last:
            return list(choices)
        canonical: dict[tuple[Roots, Ridges], list[MapChoice]] = {}
        by_name: dict[str, list[Outcome]] = {}
        for choice in choices:
            if choice.ridge is not None and choice.power is not None:  # RCCA alone has both
                canonical.setdefault((choice.roots, choice.ridge), []).append(choice)
            else:
                folds = self.cv.folds[first:]
                by_name[choice.name] = self._outcomes(choice.build, choice.roots, folds)
        for (roots, ridge), alike in canonical.items():
            powers = [choice.power for choice in alike if choice.power is not None]
            further = self._canonical_outcomes(ridge, powers, roots, range(first, last))
            by_name |= zip((choice.name for choice in alike), further, strict=True)
        finals = []
        for choice in choices:
            by_fold = [*choice.by_fold, *by_name[choice.name]]
            outcome = Outcome.pooled(by_fold, k=self.cv.k)
            finals.append(replace(choice, by_fold=by_fold, outcome=outcome, stage="final"))
        return [self._noted(final) for final in finals]

    def _noted(self, choice: MapChoice) -> MapChoice:
        self.tried.append(choice)
        self.step()
        return choice

    def _outcomes(self, build: Recipe, roots: Roots, folds: Iterable[Fold]) -> list[Outcome]:
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
        return self._best(self._canonical(ridge, powers, NO_ROOTS))

    def _canonical(self, ridge: Ridges, powers: Sequence[float], roots: Roots) -> list[MapChoice]:
        """RCCA of one pair of ridges with each power, screened."""
        folds = range(len(self.cv.screening_folds))
        choices = []
        by_power = self._canonical_outcomes(ridge, powers, roots, folds)
        for power, by_fold in zip(powers, by_power, strict=True):
            name = f"rcca(ridge=({ridge[0]:g}, {ridge[1]:g}), power={power:g}){_after(roots)}"
            build = self._formed(RCCA(ridge, power))
            outcome = Outcome.pooled(by_fold, k=self.cv.k)
            choice = MapChoice(name, build, by_fold, outcome, roots, ridge=ridge, power=power)
            choices.append(self._noted(choice))
        return choices

    def _canonical_outcomes(
        self, ridge: Ridges, powers: Sequence[float], roots: Roots, folds: Iterable[int]
    ) -> list[list[Outcome]]:
        """Outcomes of RCCA on the folds of these numbers, by power."""
        by_fold = []
        for number in folds:
            fold = self.cv.folds[number]
            if self.query_only:
                moments = self.cv.moments(roots, fold)
                a, s, b = canonical(moments, ridge)
                weights = [power_weights(s, power) for power in powers]
                each = [folded(moments.maps(a * weight, b * weight)) for weight in weights]
                by_fold.append([self._screen(maps, fold) for maps in each])
                continue
            if (number, roots) not in self._projections:
                self._projections[number, roots] = CanonicalProjections(self.cv, roots, fold)
            projected = self._projections[number, roots].at(ridge, powers)
            by_fold.append([screen(held_out, reference) for held_out, reference in projected])
        return [list(outcomes) for outcomes in zip(*by_fold, strict=True)]

    def _with_roots(self, plain: MapChoice) -> MapChoice:
        """The same map after signed square roots, if that gains more than a standard error."""

        def rooted(roots: Roots) -> MapChoice:
            assert plain.ridge is not None and plain.power is not None
            return self._canonical(plain.ridge, (plain.power,), roots)[0]

        each = [rooted(roots) for roots in ((True, False), (False, True))]
        gaining = [c for c in each if c.outcome.improves_on(plain.outcome, errors=1)]
        if len(gaining) == 2:
            gaining.append(rooted((True, True)))
        return self._best([plain, *gaining])

    def _families(self, best: MapChoice) -> list[list[MapChoice]]:
        """Other closed forms on the same roots."""
        direction: Direction = "forward" if self.query_only else "both"

        def pls(power: float) -> MapChoice:
            return self._try(f"pls(power={power:g})", PLS(power), best.roots, power=power)

        def ridge(k: float) -> MapChoice:
            build = Ridge(k, direction)
            return self._try(f"ridge({direction}, ridge={k:g})", build, best.roots, (k, k))

        families = [
            [self._try("procrustes", Procrustes(), best.roots)],
            [pls(power) for power in (0.25, 0.5)],
            [ridge(k) for k in (1.0, 3.0, 10.0)],
        ]
        if self.cv.is_comparable:
            raw = self._try("raw cosine", RawCosine(), NO_ROOTS)
            centred = self._try("centering", Centering(), NO_ROOTS)
            families.append([raw, centred])
        return families

    def _blended(
        self, best: MapChoice, others: Sequence[MapChoice], projected: Sequence[Projection]
    ) -> MapChoice:
        """The best map with a share of the best other family, if that gains two standard errors."""
        suitable = [c for c in others if c.roots == best.roots and c.build is not best.build]
        winner = best
        if not suitable:
            return winner
        other = self._best(suitable)
        by_weight = self._blend_outcomes(projected, other)
        for weight, by_fold in zip(BLEND_WEIGHTS, by_weight, strict=True):
            name = f"{1 - weight:g} {best.name} + {weight:g} {other.name}"
            outcome = Outcome.pooled(by_fold, k=self.cv.k)
            build, pair = Blend(best.build, other.build, weight), (best, other)
            blend = self._noted(
                MapChoice(name, build, by_fold, outcome, best.roots, blended=pair, stage="blend")
            )
            if outcome.improves_on(best.outcome) and outcome.mrr > winner.outcome.mrr + MEANS:
                winner = blend
        return winner

    def _blend_outcomes(
        self, best: Sequence[Projection], other: MapChoice
    ) -> list[tuple[Outcome, ...]]:
        """Outcomes on all folds of ``BLEND_WEIGHTS`` of ``other``, whose cosines serve them all."""
        by_fold = []
        for fold, (held_out, reference) in zip(self.cv.folds, best, strict=True):
            few = reference[0][:MAP_REFERENCE], reference[1][:MAP_REFERENCE]
            one = Similarities.of(held_out, few)
            two = self._similarities(other.build(self.cv.moments(other.roots, fold)), fold)
            blends = [one.blended(two, weight) for weight in BLEND_WEIGHTS]
            by_fold.append([blend.outcome(SCREENING) for blend in blends])
        return list(zip(*by_fold, strict=True))

    def _try(
        self,
        name: str,
        build: Recipe,
        roots: Roots,
        ridge: Ridges | None = None,
        power: float | None = None,
    ) -> MapChoice:
        """Screen one recipe under a name that says which sides are rooted."""
        formed = self._formed(build)
        by_fold = self._outcomes(formed, roots, self.cv.screening_folds)
        outcome = Outcome.pooled(by_fold, k=self.cv.k)
        name += _after(roots)
        return self._noted(MapChoice(name, formed, by_fold, outcome, roots, ridge, power))

    def _formed(self, build: Recipe) -> Recipe:
        return QueryOnly(build) if self.query_only else build

    def _screen(self, maps: MapPair, fold: Fold) -> Outcome:
        if self.query_only:
            return score(self.cv.project(maps, fold.held_out), None)
        return self._similarities(maps, fold).outcome(SCREENING)

    def _similarities(self, maps: MapPair, fold: Fold) -> Similarities:
        held_out = self.cv.project(maps, fold.held_out)
        return Similarities.of(held_out, self.cv.project(maps, fold.reference[:MAP_REFERENCE]))


def _after(roots: Roots) -> str:
    """What a name says of the sides that are rooted."""
    rooted = [side for side, root in zip(("source", "target"), roots, strict=True) if root]
    return f" after root of {' and '.join(rooted)}" if rooted else ""


def identity_maps(d_source: int, d_target: int) -> MapPair:
    """The raw cosine as a pair of maps."""
    return IdentityMap(d_source), IdentityMap(d_target)
