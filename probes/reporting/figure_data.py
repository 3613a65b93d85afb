"""What the figures of a report show: plain values, small enough to be kept with it."""

from __future__ import annotations

from dataclasses import dataclass

Points = tuple[tuple[float, float], ...]
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Clouds:
    """Some items of both sides in two views.

    Attributes:
        source: Coordinates of source items on the first two principal axes of both sides together.
        target: The same of target items.
        source_along_gap: Coordinate of source items along the line through the two centroids.
        target_along_gap: The same of target items.
    """

    source: Points
    target: Points
    source_along_gap: Numbers
    target_along_gap: Numbers


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the cosines of true and of false pairs are spread.

    Attributes:
        edges: Bounds of the bins, ``(b + 1,)``.
        true: Density of true pairs in each bin, ``(b,)``; integrates to 1.
        false: Density of pairs of different groups.
    """

    edges: Numbers
    true: Numbers
    false: Numbers


@dataclass(frozen=True, slots=True)
class Curve:
    """A line, and where it would run with nothing there.

    Attributes:
        x: Where it was read, rising.
        y: Its values.
        null: Its values under the null.
    """

    x: Numbers
    y: Numbers
    null: Numbers


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Canonical correlations, one per dimension.

    Attributes:
        held_out: On pairs that the directions were not fitted on.
        train: On the pairs that they were fitted on.
        null: What 95 % of shuffled pairings stay below, held out as well.
    """

    held_out: Numbers
    train: Numbers
    null: Numbers


@dataclass(frozen=True, slots=True)
class View:
    """What the figures show of one state; ``None`` where it is not defined.

    Attributes:
        clouds: Both clouds.
        cosines: Cosines of true and false pairs.
        recall: Recall against k, mean of both directions; the null is a random order.
        occurrence: k-occurrence of gallery items against their place, most frequent first, both
            directions pooled; x is the share of items; the null is a random order.
        spectrum: The canonical correlations.
    """

    clouds: Clouds | None
    cosines: Histogram | None
    recall: Curve | None
    occurrence: Curve | None
    spectrum: Spectrum | None
