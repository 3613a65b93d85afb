"""Squared transport distances, split into the gap of the centroids and what is left without it.

Moving a whole cloud changes a squared Wasserstein distance by the squared gap of the means alone:
``D(z, w) = ||mean z - mean w||² + D(z - mean z, w - mean w)``. So each distance is solved between
centred clouds, once, and both rows of a report are read from that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from probes.estimates import Measured, Null, linearised, upper_p
from probes.inputs import Matrix, common_space
from probes.space import Space
from probes.swapped_sides import clouds_alike

SAMPLE = 1_000
"""Pairs that distances with an ``(n, n)`` cost are measured on, at most. The bias of transport
depends on their number: one number for all keeps reports of different sizes comparable."""

_ROUNDING = 1e-6
"""Values this close, relative to the variance of both clouds, differ by the rounding of float32."""

Measure = Callable[[Space], Measured]

LINEARISED = "bootstrap over pairs, linearised; of the samples' distance; wide where sides agree"

OF_SAMPLES = (
    "Two samples are farther apart than the clouds they come from, here by more than the interval "
    "is wide: value and interval are those of these pairs. Read them against the null, and compare "
    "them at one number of pairs only."
)
"""Note to a transport distance whose bias is larger than its interval."""
SWAPPED = "sides of random groups swapped"


def centred(source: Matrix, target: Matrix) -> tuple[Tensor, Tensor]:
    """Both clouds minus their own means: what is left when no centroid differs.

    Pass the result to any distance for its centred part, as in ``mmd(*centred(source, target))``.

    Args:
        source: Source embeddings, ``(n, d)``.
        target: Target embeddings of the same pairs, ``(n, d)``.

    Returns:
        Two matrices ``(n, d)`` with columns that sum to zero.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width.
    """
    x, y = common_space(source, target)
    return x - x.mean(dim=0), y - y.mean(dim=0)


def exactly_centred(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both clouds centred and the vector between their centroids ``(d,)``, all in float64.

    Args:
        source: ``(n, d)``.
        target: ``(n, d)``.
    """
    x, y = source.double(), target.double()
    middle_x, middle_y = x.mean(dim=0), y.mean(dim=0)
    return x - middle_x, y - middle_y, middle_x - middle_y


def spread(z: Tensor, w: Tensor) -> float:
    """Total variance of both centred clouds, which is also their mean squared distance.

    Args:
        z: Centred, ``(n, d)``.
        w: Centred, ``(n, d)``.
    """
    return float((z.square().sum() + w.square().sum()) / len(z))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance of each row of ``x`` to each row of ``y``, ``(n, m)``.

    Args:
        x: ``(n, d)``, close to the origin: by the usual expansion, rounding grows with the norms.
        y: ``(m, d)``.
    """
    products = x @ y.T
    # In exact arithmetic nothing is below zero; what rounding leaves there would give NaN roots.
    return (
        products.mul_(-2)
        .add_(x.square().sum(dim=1)[:, None])
        .add_(y.square().sum(dim=1))
        .clamp_(min=0)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The centred part of a squared distance, on some pairs of a space.

    Attributes:
        value: The estimate.
        influence: What each pair contributes to it to first order, ``(r,)``.
        again: The same estimate of other clouds, two of ``(r, d)`` float64 that are centred.
        offsets: Source minus target of each pair, before centring, ``(r, d)`` float64.
        spread: Total variance of both clouds.
        rows: The pairs, ``(r,)`` rows of the space; all if ``None``.
        notes: Why the estimate is not to be trusted, if it is not.
    """

    value: float
    influence: Tensor
    again: Callable[[Tensor, Tensor], float]
    offsets: Tensor
    spread: float
    rows: Tensor | None = None
    notes: tuple[str, ...] = ()


def split(part: Callable[[Space], Part], *, draws: int, purpose: str) -> tuple[Measure, Measure]:
    """What measures a whole squared distance, and what measures its centred part.

    The null of the whole swaps the sides of random groups and measures as was measured. That of
    the centred part, which is to be blind to the centroids, swaps ``deviations_to_swap``.

    Args:
        part: Solves the centred part; called once per space.
        draws: Swaps of each null.
        purpose: Seeds the swaps.

    Returns:
        ``(whole, centred)``.
    """
    held: WeakKeyDictionary[Space, Part] = WeakKeyDictionary()
    shapes_held: WeakKeyDictionary[Space, Tensor] = WeakKeyDictionary()

    def solved(space: Space) -> Part:
        if space not in held:
            held[space] = part(space)
        return held[space]

    def under_null(space: Space, found: Part, *, shapes: bool) -> Tensor:
        clouds = clouds_alike(space, found.rows, draws=draws, purpose=purpose, shapes=shapes)
        squares = [_distance_of(found, *sides, whole=not shapes) for sides in clouds]
        return torch.tensor(squares, dtype=torch.float64)

    def of_shapes(space: Space, found: Part) -> Tensor:
        if space not in shapes_held:
            shapes_held[space] = under_null(space, found, shapes=True)
        return shapes_held[space]

    def whole(space: Space) -> Measured:
        found = solved(space)
        gap = found.offsets.mean(dim=0)
        square = float(gap.square().sum())
        if space.is_centred:
            # The centroids were made to agree: what is left to test is the shape.
            drawn = of_shapes(space, found) + square
        else:
            drawn = under_null(space, found, shapes=False)
        influence = 2 * found.offsets @ gap + found.influence
        notes = _notes(found, influence, of_shapes(space, found))
        return _judged(found, square + found.value, influence, drawn, notes)

    def without_gap(space: Space) -> Measured:
        found = solved(space)
        drawn = of_shapes(space, found)
        notes = _notes(found, found.influence, drawn)
        return _judged(found, found.value, found.influence, drawn, notes)

    return whole, without_gap


def _distance_of(part: Part, x: Tensor, y: Tensor, *, whole: bool) -> float:
    z, w, gap = exactly_centred(x, y)
    return part.again(z, w) + whole * float(gap.square().sum())


def _notes(part: Part, influence: Tensor, by_chance: Tensor) -> tuple[str, ...]:
    """The notes of a part, and one where two samples of one law are farther apart than it shows."""
    held = influence.double()
    half = 1.96 * float(held.std()) / len(held) ** 0.5
    return part.notes + ((OF_SAMPLES,) if float(by_chance.mean()) > half else ())


def _judged(
    part: Part, value: float, influence: Tensor, under_null: Tensor, notes: tuple[str, ...]
) -> Measured:
    p = upper_p(value - _ROUNDING * part.spread, under_null)
    return Measured(
        value,
        replicate=linearised(value, influence),
        null=Null(under_null.mean().item(), p),
        rows=part.rows,
        notes=notes,
    )
