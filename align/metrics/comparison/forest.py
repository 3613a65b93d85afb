"""Differences from the baseline as points with intervals, around a line at none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from align._display.figure import COLOURS, empty_figure, own_style
from align._display.lines import shortened
from align.metrics.comparison.values import ComparisonRow, ComparisonValues
from align.metrics.comparison.wording import ARROWS

if TYPE_CHECKING:
    from align._display.figure import Axes, Figure

_MARKS = (
    ("source", "o"),
    ("target", "s"),
    ("corrected", "^"),
    ("aligned", "D"),
    ("centred", "v"),
    ("raw", "P"),
)
_LONGEST = 28  # of a name in the key


def forest(comparison: ComparisonValues) -> Figure:
    """The rows that decide, one line per row and system; readable at a width of 600 pixels.

    Shares lie on one axis, in points of per cent; every other quantity has an axis of its own,
    since their units differ. A full mark is a difference that is shown, a hollow one is none.
    Systems differ in colour and in shape.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No row that decides has a difference.
    """
    rows = [row for row in comparison.deciding if row.differences]
    if not rows:
        raise ValueError(
            "a figure of differences needs a row that decides in which two systems have a value; "
            "there is none here. Look at to_frame() for why each is undefined."
        )
    shares = [row for row in rows if row.is_share]
    panels = [shares] if shares else []
    panels += [[row] for row in rows if not row.is_share]
    lines = len(comparison.others)
    heights = [len(panel) * (0.35 + 0.2 * lines) + 0.4 for panel in panels]  # inches
    with own_style():
        figure = empty_figure(6.0, sum(heights) + 0.6)
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for each, panel in zip(axes, panels, strict=True):
            _draw(each, panel, comparison)
        _key(figure, comparison)
    return figure


def _draw(axes: Axes, rows: Sequence[ComparisonRow], comparison: ComparisonValues) -> None:
    scale = 100.0 if rows[0].is_share else 1.0
    axes.axvline(0, color=COLOURS["muted"], linewidth=0.9, zorder=0)
    others = comparison.others
    step = 0.62 / max(len(others), 2)
    for at, row in enumerate(rows):
        for place, (name, (role, marker)) in enumerate(zip(others, cycle(_MARKS), strict=False)):
            difference = row.differences.get(name)
            if difference is None:
                continue
            y = at + (place - (len(others) - 1) / 2) * step
            if difference.low is not None and difference.high is not None:
                bounds = [scale * difference.low, scale * difference.high]
                axes.plot(bounds, [y, y], color=COLOURS[role], linewidth=1.6)
            fill = COLOURS[role] if difference.is_shown else "none"
            (point,) = axes.plot([scale * difference.value], [y], marker, color=COLOURS[role])
            point.set(markersize=6, markerfacecolor=fill, markeredgewidth=1.4, zorder=3)
    labels = [f"{row.label} {ARROWS[row.better]}".replace(", ", ",\n") for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=5)
    if rows[0].is_share:
        axes.set_xlabel("points of per cent")


def _key(figure: Figure, comparison: ComparisonValues) -> None:
    """What a mark means, above all panels."""
    axes = figure.axes[0]
    for name, (role, marker) in zip(comparison.others, cycle(_MARKS), strict=False):
        first, second = (shortened(each, _LONGEST) for each in (name, comparison.baseline))
        label = f"{first} minus {second}".replace("$", r"\$")
        axes.plot([], [], marker, color=COLOURS[role], markersize=6, label=label)
    axes.plot(
        [], [], "o", color=COLOURS["muted"], markerfacecolor="none", label="no difference shown"
    )
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, columnspacing=1.6)
