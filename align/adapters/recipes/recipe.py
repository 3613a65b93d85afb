"""Closed forms with their settings, as values: moments in, the maps of the two sides out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from align.adapters.maps.linear import BlendMap, IdentityMap, LinearMap, SideMap
from align.adapters.recipes.formulas import (
    Direction,
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


@dataclass(frozen=True, slots=True)
class Ridge:
    """Ridge regression one way or both ways."""

    ridge: float
    direction: Direction

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return ridge_maps(moments, self.ridge, self.direction)


@dataclass(frozen=True, slots=True)
class PLS:
    """Partial least squares, directions weighted by a power."""

    power: float

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return pls_maps(moments, self.power)


@dataclass(frozen=True, slots=True)
class Procrustes:
    """The best rigid map."""

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return procrustes_maps(moments)


@dataclass(frozen=True, slots=True)
class Centering:
    """Each side without its mean, and nothing else."""

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        return moments.maps(*moments.eyes())


@dataclass(frozen=True, slots=True)
class RawCosine:
    """Both sides as their encoders left them."""

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        source, target = (IdentityMap(width) for width in moments.widths)
        return source, target


@dataclass(frozen=True, slots=True)
class Blend:
    """Two recipes side by side; ``weight`` is that of the second, in (0, 1)."""

    first: Recipe
    second: Recipe
    weight: float

    def __call__(self, moments: Paired) -> MapPair:
        """The two maps."""
        pairs = zip(self.first(moments), self.second(moments), strict=True)
        source, target = (BlendMap(maps, (1 - self.weight, self.weight)) for maps in pairs)
        return source, target


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
