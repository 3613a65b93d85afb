"""Closed forms with their settings, as values: moments in, the maps of the two sides out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from align.adapters.maps.linear import IdentityMap, LinearMap, SideMap
from align.adapters.recipes.formulas import (
    Direction,
    averaged_maps,
    pls_maps,
    procrustes_maps,
    rcca_maps,
    ridge_maps,
)
from align.adapters.recipes.moments import Paired

MapPair = tuple[SideMap, SideMap]
Recipe = Callable[[Paired], MapPair]
"""One of the classes below, or another function, which a saved adapter cannot remember."""


@dataclass(frozen=True, slots=True)
class RCCA:
    """Regularised canonical correlation analysis, directions weighted by a power."""

    ridge: tuple[float, float]
    power: float

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return rcca_maps(moments, self.ridge, self.power)

    def __str__(self) -> str:
        return f"rcca(ridge=({self.ridge[0]:g}, {self.ridge[1]:g}), power={self.power:g})"


@dataclass(frozen=True, slots=True)
class Ridge:
    """Ridge regression one way or both ways."""

    ridge: float
    direction: Direction

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return ridge_maps(moments, self.ridge, self.direction)

    def __str__(self) -> str:
        return f"ridge({self.direction}, ridge={self.ridge:g})"


@dataclass(frozen=True, slots=True)
class PLS:
    """Partial least squares, directions weighted by a power."""

    power: float

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return pls_maps(moments, self.power)

    def __str__(self) -> str:
        return f"pls(power={self.power:g})"


@dataclass(frozen=True, slots=True)
class Procrustes:
    """The best rigid map."""

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return procrustes_maps(moments)

    def __str__(self) -> str:
        return "procrustes"


@dataclass(frozen=True, slots=True)
class Centering:
    """Each side without its mean, and nothing else."""

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return moments.maps(*moments.eyes())

    def __str__(self) -> str:
        return "centering"


@dataclass(frozen=True, slots=True)
class RawCosine:
    """Both sides as their encoders left them."""

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        source, target = (IdentityMap(width) for width in moments.widths)
        return source, target

    def __str__(self) -> str:
        return "raw cosine"


@dataclass(frozen=True, slots=True)
class Average:
    """Two linear recipes as one, their bilinear forms averaged; ``weight`` of the second, (0, 1).

    Beside the centred cosine this shrinks what was learned towards the encoders as they are: the
    fewer the pairs, the more of them is noise.
    """

    first: Recipe
    second: Recipe
    weight: float

    def __post_init__(self) -> None:
        for recipe in (self.first, self.second):
            if not isinstance(recipe, RCCA | PLS | Procrustes | Centering):
                raise ValueError(
                    "an average needs recipes that make one linear map a side: RCCA, PLS, "
                    f"Procrustes or Centering; got {recipe}. Average those, or use it alone."
                )

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        forms, identity = [], 0.0
        for recipe, weight in ((self.first, 1 - self.weight), (self.second, self.weight)):
            if isinstance(recipe, Centering):
                identity += weight
                continue
            source, target = recipe(moments)
            assert isinstance(source, LinearMap) and isinstance(target, LinearMap)
            forms.append((weight, source.weight, target.weight))
        return averaged_maps(moments, forms, identity=identity)

    def __str__(self) -> str:
        return f"{1 - self.weight:g} {self.first} + {self.weight:g} {self.second}"


@dataclass(frozen=True, slots=True)
class QueryOnly:
    """A recipe whose target map is folded into the source, so that targets stay untouched."""

    recipe: Recipe

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return folded(self.recipe(moments))


def folded(maps: MapPair) -> MapPair:
    """Linear maps as one of the source alone, into the space of the targets as they are."""
    source, target = maps
    if isinstance(target, IdentityMap):
        return maps
    assert isinstance(source, LinearMap) and isinstance(target, LinearMap)
    weight = source.weight @ target.weight.T
    whole = LinearMap(source.mean, weight, root=source.root, parts=source.parts)
    return whole, IdentityMap(target.d_in)
