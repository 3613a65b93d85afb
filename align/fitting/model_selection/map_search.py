"""The search over closed-form maps: which family, which ridge, which weights, alone or blended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.closed_form.moments import Paired
from align.adapters.closed_form.pls import pls_maps
from align.adapters.closed_form.procrustes import procrustes_maps
from align.adapters.closed_form.rcca import canonical, power_weights, rcca_maps
from align.adapters.closed_form.ridge import Direction, ridge_maps
from align.adapters.maps.linear import BlendMap, IdentityMap, LinearMap
from align.fitting.model_selection.cross_validation import (
    MAP_REFERENCE,
    CrossValidation,
    Fold,
    Outcome,
    Projected,
    pooled,
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
BLEND_WEIGHTS = (0.25, 0.5)

Maps = tuple[nn.Module, nn.Module]


@dataclass(frozen=True, slots=True)
class Choice:
    """A recipe for a pair of maps, and what it scored on held-out pairs.

    Attributes:
        name: Method and settings, in words.
        roots: Which sides go through the signed square root.
        build: Makes the two maps from moments.
        outcome: Held-out results; on which folds, ``stage`` says.
        stage: ``"map"`` on the screening folds; ``"final"`` or ``"blend"`` on all folds.
    """

    name: str
    roots: tuple[bool, bool]
    build: Callable[[Paired], Maps]
    outcome: Outcome
    stage: str = "map"


@dataclass(frozen=True, slots=True)
class Search:
    """Everything tried, in order, the best of it, and the best that is no blend."""

    tried: Sequence[Choice]
    best: Choice
    single: Choice


class MapSearch:
    """Tries maps on the screening folds of one cross-validation."""

    def __init__(self, cv: CrossValidation, *, query_only: bool) -> None:
        self.cv = cv
        self.query_only = query_only
        self.tried: list[Choice] = []

    def run(self) -> Search:
        """Screen families in turn on some folds, then let the finalists meet on all of them.

        A blend widens the space, so it must beat the best single map by two standard errors.
        """
        best = self._with_roots(self._search_rcca())
        others = [self._best(choices) for choices in self._families(best)]
        fit_for_final = [c for c in self.tried if c.roots in (best.roots, (False, False))]
        scores = torch.tensor([choice.outcome.mrr for choice in fit_for_final], dtype=torch.float64)
        finalists = falling_order(scores, within=MEANS)[:FINALISTS].tolist()
        single = self._best([self._on_all_folds(fit_for_final[at]) for at in finalists])
        best = single if self.query_only else self._blended(single, others)
        return Search(self.tried, best, single)

    def _on_all_folds(self, choice: Choice) -> Choice:
        if len(self.cv.screening_folds) == len(self.cv.folds):
            return choice
        outcome = self._outcome(choice.build, choice.roots, self.cv.folds)
        final = replace(choice, outcome=outcome, stage="final")
        self.tried.append(final)
        return final

    def _outcome(
        self, build: Callable[[Paired], Maps], roots: tuple[bool, bool], folds: Sequence[Fold]
    ) -> Outcome:
        found = [self._screen(build(self.cv.moments(roots, fold)), fold) for fold in folds]
        return pooled(found, k=self.cv.k)

    def _best(self, choices: Iterable[Choice]) -> Choice:
        among = list(choices)
        return among[first_best([choice.outcome.mrr for choice in among])]

    def _search_rcca(self) -> Choice:
        """Walk over the lattice of ridges from the middle, to better neighbours till none is."""
        grid: dict[tuple[int, int], Choice] = {}
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

    def _rcca(self, at: tuple[int, int], powers: Sequence[float]) -> Choice:
        """Best power for one pair of ridges; decomposition and projection serve all powers."""
        ridge, roots = (RIDGES[at[0]], RIDGES[at[1]]), (False, False)
        outcomes: dict[float, list[Outcome]] = {power: [] for power in powers}
        for fold in self.cv.screening_folds:
            moments = self.cv.moments(roots, fold)
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
        choices = []
        for power, found in outcomes.items():
            build = partial(rcca_maps, ridge=ridge, power=power)
            name = f"rcca(ridge=({ridge[0]:g}, {ridge[1]:g}), power={power:g})"
            choices.append(Choice(name, roots, self._formed(build), pooled(found, k=self.cv.k)))
        self.tried += choices
        return self._best(choices)

    def _with_roots(self, plain: Choice) -> Choice:
        """The same map after signed square roots, if that gains more than a standard error."""
        gaining = []
        for roots in ((True, False), (False, True)):
            rooted = self._try(plain.name, plain.build, roots)
            if rooted.outcome.gains(plain.outcome):
                gaining.append(rooted)
        if len(gaining) == 2:
            gaining.append(self._try(plain.name, plain.build, (True, True)))
        return self._best([plain, *gaining])

    def _families(self, best: Choice) -> list[list[Choice]]:
        """Other closed forms on the same roots."""
        direction: Direction = "forward" if self.query_only else "both"
        found = [
            [self._try("procrustes", procrustes_maps, best.roots)],
            [
                self._try(f"pls(power={power:g})", partial(pls_maps, power=power), best.roots)
                for power in (0.25, 0.5)
            ],
            [
                self._try(
                    f"ridge({direction}, ridge={ridge:g})",
                    partial(ridge_maps, ridge=ridge, direction=direction),
                    best.roots,
                )
                for ridge in (1.0, 3.0, 10.0)
            ],
        ]
        if self.cv.raw[0].shape[1] == self.cv.raw[1].shape[1]:
            found.append(
                [
                    self._try("raw cosine", _identity_maps, (False, False)),
                    self._try("centering", _centering_maps, (False, False)),
                ]
            )
        return found

    def _blended(self, best: Choice, others: Sequence[Choice]) -> Choice:
        """The best map with a share of the best other family, if that gains two standard errors."""
        fitting = [other for other in others if other.roots == best.roots]
        fitting = [other for other in fitting if other.build is not best.build]
        winner = best
        for weight in BLEND_WEIGHTS if fitting else ():
            other = self._best(fitting)
            name = f"{1 - weight:g} {best.name} + {weight:g} {other.name}"
            build = _blend(best, other, weight)
            outcome = self._outcome(build, best.roots, self.cv.folds)
            blend = Choice(name, best.roots, build, outcome, "blend")
            self.tried.append(blend)
            gain, error = blend.outcome.gain_over(best.outcome)
            if gain > 2 * error and blend.outcome.mrr > winner.outcome.mrr + MEANS:
                winner = blend
        return winner

    def _try(self, name: str, build: Callable[[Paired], Maps], roots: tuple[bool, bool]) -> Choice:
        """Screen one recipe under a name that says which sides are rooted."""
        formed = self._formed(build)
        rooted = [side for side, root in zip(("source", "target"), roots, strict=True) if root]
        if rooted:
            name = f"{name} after root of {' and '.join(rooted)}"
        outcome = self._outcome(formed, roots, self.cv.screening_folds)
        choice = Choice(name, roots, formed, outcome)
        self.tried.append(choice)
        return choice

    def _formed(self, build: Callable[[Paired], Maps]) -> Callable[[Paired], Maps]:
        return lambda moments: self._form(build(moments))

    def _form(self, maps: Maps) -> Maps:
        """As they are, or folded into the source so that target vectors stay untouched."""
        if not self.query_only or isinstance(maps[1], IdentityMap):
            return maps
        source, target = maps
        assert isinstance(source, LinearMap) and isinstance(target, LinearMap)
        weight = source.weight @ target.weight.T
        folded = LinearMap(source.mean, weight, root=source.root, parts=source.parts)
        return folded, IdentityMap(target.d_in)

    def _screen(self, maps: Maps, fold: Fold) -> Outcome:
        held_out = self.cv.project(maps, fold.held_out)
        if self.query_only:
            return score(held_out, None)
        return screen(held_out, self.cv.project(maps, fold.reference[:MAP_REFERENCE]))


def _reweight(sides: Projected, weight: Tensor) -> Projected:
    """Unit-norm rows of both sides with their coordinates weighted, at unit norm again."""
    return F.normalize(sides[0] * weight, dim=1), F.normalize(sides[1] * weight, dim=1)


def _identity_maps(moments: Paired) -> Maps:
    return IdentityMap(moments.widths[0]), IdentityMap(moments.widths[1])


def _centering_maps(moments: Paired) -> Maps:
    return moments.maps(*moments.eyes())


def _blend(best: Choice, other: Choice, weight: float) -> Callable[[Paired], Maps]:
    def build(moments: Paired) -> Maps:
        pairs = zip(best.build(moments), other.build(moments), strict=True)
        source, target = (BlendMap(parts, (1 - weight, weight)) for parts in pairs)
        return source, target

    return build
