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
    Average,
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
SHARES = (0.25, 0.5, 0.75)  # of RCCA in an average with another closed form
BOLDER = 3  # ridges at which RCCA is averaged: its own and the next smaller ones

Roots = tuple[bool, bool]
Ridges = tuple[float, float]
NO_ROOTS: Roots = (False, False)


@dataclass(frozen=True, slots=True)
class MapChoice:
    """A recipe for a pair of maps, and what it scored on held-out pairs.

    ``stage`` is ``"map"`` on the screening folds; ``"final"`` or ``"average"`` on all folds.
    """

    name: str  # method and settings, in words
    build: Recipe
    by_fold: Sequence[Outcome]
    outcome: Outcome  # of these folds together
    roots: Roots = NO_ROOTS  # which sides go through the signed square root
    ridge: Ridges | None = None
    power: float | None = None  # of the weights of directions
    stage: str = "map"


@dataclass(frozen=True, slots=True)
class MapSearchResult:
    """Everything tried, in order, and the best of it."""

    tried: Sequence[MapChoice]
    best: MapChoice
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
        """Screen families in turn on some folds, then compare the finalists on all of them."""
        best = self._with_roots(self._search_rcca())
        self._families(best)
        eligible = [c for c in self.tried if c.roots in (best.roots, NO_ROOTS)]
        scores = torch.tensor([choice.outcome.mrr for choice in eligible], dtype=torch.float64)
        finalists = falling_order(scores, within=MEANS)[:FINALISTS].tolist()
        found = self._best(self._on_all_folds([eligible[at] for at in finalists]))
        if not self.query_only:
            found = self._best([found, *self._averaged(best, found)])
        self._projections.clear()
        self.cv.keep_only(found.roots)
        return MapSearchResult(self.tried, found, self._projected(found))

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
            recipe = RCCA(ridge, power)
            name, build = f"{recipe}{_after(roots)}", self._formed(recipe)
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
            projected = self._canonical_projections(number, roots).at(ridge, powers)
            by_fold.append([screen(held_out, reference) for held_out, reference in projected])
        return [list(outcomes) for outcomes in zip(*by_fold, strict=True)]

    def _canonical_projections(self, number: int, roots: Roots) -> CanonicalProjections:
        """What RCCA at all ridges shares on the fold of this number, computed once."""
        if (number, roots) not in self._projections:
            fold = self.cv.folds[number]
            self._projections[number, roots] = CanonicalProjections(self.cv, roots, fold)
        return self._projections[number, roots]

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

    def _families(self, best: MapChoice) -> None:
        """Try other closed forms on the same roots, and the cosines where they are defined."""
        direction: Direction = "forward" if self.query_only else "both"
        self._try(Procrustes(), best.roots)
        for power in (0.25, 0.5):
            self._try(PLS(power), best.roots, power=power)
        for k in (1.0, 3.0, 10.0):
            self._try(Ridge(k, direction), best.roots, (k, k))
        if self.cv.is_comparable:
            self._try(RawCosine(), NO_ROOTS)
            self._try(Centering(), NO_ROOTS)

    def _averaged(self, best: MapChoice, found: MapChoice) -> list[MapChoice]:
        """RCCA averaged with a form that learns less, on all folds, if the screening prefers it.

        ``best`` is the best RCCA and ``found`` the best map so far. In an average RCCA may be
        bolder, so smaller ridges are tried too. The screening takes the mean of two cosines for the
        cosine under the average, which differs only in how rows are normalised and needs no
        decomposition for each.
        """
        roots = found.roots
        assert best.ridge is not None and best.power is not None
        at = [RIDGES.index(ridge) for ridge in best.ridge]
        lower = [(RIDGES[max(0, at[0] - i)], RIDGES[max(0, at[1] - i)]) for i in range(BOLDER)]
        members = [RCCA(ridge, best.power) for ridge in dict.fromkeys(lower)]
        anchor = Centering() if self.cv.is_comparable else Procrustes()
        recipes = [Average(anchor, member, share) for member in members for share in SHARES]
        by_fold = []
        for number, fold in enumerate(self.cv.screening_folds):
            one = self._similarities(anchor(self.cv.moments(roots, fold)), fold)
            canonical = self._canonical_projections(number, roots)
            blends = []
            for member in members:
                (projected,) = canonical.at(member.ridge, (member.power,))
                two = Similarities.of(*projected)
                blends += [one.blended(two, share).outcome(SCREENING) for share in SHARES]
            by_fold.append(blends)
        screened = [Outcome.pooled(each, k=self.cv.k) for each in zip(*by_fold, strict=True)]
        at_best = first_best([outcome.mrr for outcome in screened])
        so_far = Outcome.pooled(found.by_fold[: len(by_fold)], k=self.cv.k)
        if screened[at_best].mrr <= so_far.mrr + MEANS:
            return []
        recipe = recipes[at_best]
        on_all = self._outcomes(recipe, roots, self.cv.folds)
        outcome = Outcome.pooled(on_all, k=self.cv.k)
        name = f"{recipe}{_after(roots)}"
        return [self._noted(MapChoice(name, recipe, on_all, outcome, roots, stage="average"))]

    def _try(
        self,
        recipe: Recipe,
        roots: Roots,
        ridge: Ridges | None = None,
        power: float | None = None,
    ) -> None:
        """Screen one recipe; its name says which sides are rooted."""
        formed = self._formed(recipe)
        by_fold = self._outcomes(formed, roots, self.cv.screening_folds)
        outcome = Outcome.pooled(by_fold, k=self.cv.k)
        name = f"{recipe}{_after(roots)}"
        self._noted(MapChoice(name, formed, by_fold, outcome, roots, ridge, power))

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
