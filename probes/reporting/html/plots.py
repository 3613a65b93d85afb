"""The figures of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from align._display.escaping import plain
from align._display.figure import COLOURS, empty_figure, own_style
from probes.reporting.formatting import heading
from probes.reporting.model import CONTROL, Column, ReportValues

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from align._display.figure import Figure
    from probes.reporting.model import CanonicalCorrelations, Clouds, Curve, Histogram, View

T = TypeVar("T")
Array = np.ndarray[Any, Any]

UNDEFINED = "not defined before alignment"

_DASHES: dict[Column, str | tuple[int, tuple[float, ...]]] = {
    "raw": (0, (1.2, 1.4)),
    "centred": (0, (5, 1.5, 1.2, 1.5)),
    "aligned": "solid",
    "corrected": (0, (6, 2)),
}
_SQUARE_ROOT: tuple[Callable[[Array], Array], Callable[[Array], Array]] = (
    lambda x: np.asarray(np.sign(x) * np.sqrt(np.abs(x))),
    lambda x: np.asarray(np.sign(x) * np.square(x)),
)
"""The square root as the scale of an axis, and its inverse; both are odd."""


def figure(name: str, report: ReportValues) -> Figure:
    """One figure of a report, on a white ground.

    A state whose two sides lie in different spaces has a panel that says so. A state that shows
    nothing new (a correction of the search moves no vectors) has none.

    Raises:
        ValueError: There is no figure of that name.
        ImportError: matplotlib is not installed.
    """
    if name not in _DRAWN:
        raise ValueError(
            f"a report has the figures {list(_DRAWN)}; got {name!r}. Choose one of these names."
        )
    with own_style():
        return _DRAWN[name](report)


def by_state(
    report: ReportValues, pick: Callable[[View], T | None]
) -> list[tuple[Column, T | None]]:
    """Each state with what is shown of it, ``None`` before the first state that has any.

    The control comes last and is left out where the raw state is not defined: nor is it.
    """
    states = [(column, pick(report.views[column])) for column in report.columns]
    first = next((at for at, (_, shown) in enumerate(states) if shown is not None), len(states))
    return [(column, shown) for at, (column, shown) in enumerate(states) if shown or at < first]


def _clouds(report: ReportValues) -> Figure:
    states, names = by_state(report, lambda view: view.clouds), _side_names(report)
    # One scale for all states: a cloud that shrinks is seen to shrink.
    points = [point for clouds in _known(states) for point in clouds.source + clouds.target]
    low, high = _limits(points or [(0.0, 0.0), (1.0, 1.0)])
    flatness = float(np.clip((high - low)[1] / (high - low)[0], 0.5, 1.1))

    def draw(axes: Axes, clouds: Clouds) -> None:
        sides = (("source", clouds.source, "o"), ("target", clouds.target, "^"))
        for role, cloud, marker in sides:
            (points,) = axes.plot(*np.array(cloud).T, marker, color=COLOURS[role])
            points.set(markersize=2.8, markeredgewidth=0, alpha=0.5)
        centroids = [np.mean(cloud, axis=0) for _, cloud, _ in sides]
        for (role, _, marker), name, centroid in zip(sides, names, centroids, strict=True):
            (point,) = axes.plot(*centroid, marker, color=COLOURS[role], label=name, zorder=3)
            point.set(markersize=7, markeredgewidth=1.2, markeredgecolor=COLOURS["ink"])
        x, y = np.array(centroids).T
        _line(axes, x, y, "ink", "solid", "from centroid to centroid")
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes.set_aspect("equal", anchor="NW")
        axes.locator_params(nbins=5)

    return _panel_per_state(
        states, draw, "first principal axis", "second principal axis", flatness=0.88 * flatness
    )


def _along_the_gap(report: ReportValues) -> Figure:
    states, names = by_state(report, lambda view: view.clouds), _side_names(report)
    along = [x for clouds in _known(states) for x in clouds.source_along_gap]
    along += [x for clouds in _known(states) for x in clouds.target_along_gap]
    edges = np.linspace(*_limits(along or [0.0]), 41)

    def share(along: Sequence[float]) -> Array:
        return np.histogram(along, edges)[0] / len(along)

    def draw(axes: Axes, clouds: Clouds) -> None:
        _stairs(axes, share(clouds.source_along_gap), edges, "source", "solid", names[0])
        _stairs(axes, share(clouds.target_along_gap), edges, "target", "dashed", names[1])
        axes.set_xlim(edges[0], edges[-1])

    return _panel_per_state(states, draw, "coordinate along the gap", "share of items")


def _cosines(report: ReportValues) -> Figure:
    states = by_state(report, lambda view: view.cosines)
    limits = _limits([edge for histogram in _known(states) for edge in histogram.edges] or [0.0])

    def draw(axes: Axes, histogram: Histogram) -> None:
        edges = np.array(histogram.edges)
        _stairs(axes, np.array(histogram.false), edges, "raw", "dashed", "items of different pairs")
        _stairs(axes, np.array(histogram.true), edges, "aligned", "solid", "true pairs")
        axes.set_xlim(*limits)

    return _panel_per_state(states, draw, "cosine", "density")


def _spectrum(report: ReportValues) -> Figure:
    states = by_state(report, lambda view: view.spectrum)
    lowest = min([0.0, *(min(shown.held_out + shown.null) for shown in _known(states))])

    def draw(axes: Axes, spectrum: CanonicalCorrelations) -> None:
        dims = np.arange(1, len(spectrum.held_out) + 1)
        axes.axhline(0, color=COLOURS["rule"], linewidth=0.7, zorder=0)
        _line(axes, dims, spectrum.held_out, "aligned", "solid", "on held-out pairs")
        _line(axes, dims, spectrum.train, "raw", "dashed", "on the pairs it was fitted on")
        _line(axes, dims, spectrum.null, "ink", "dotted", "where shuffled pairs stay below")
        axes.set(xlim=(1, max(len(dims), 2)), ylim=(1.05 * lowest, 1.03))

    return _panel_per_state(states, draw, "canonical direction", "correlation")


def _occurrence(report: ReportValues) -> Figure:
    def finish(axes: Axes) -> None:
        # Square roots keep both hubs, at the left, and items never found, at the right, in sight.
        axes.set_xscale("function", functions=_SQUARE_ROOT)
        axes.set_yscale("function", functions=_SQUARE_ROOT)
        highest = axes.dataLim.y1
        axes.set(xlim=(0, 1), ylim=(0, 1.05 * highest))
        axes.set_xticks([0.01, 0.1, 0.25, 0.5, 1], ["1 %", "10 %", "25 %", "50 %", "100 %"])
        axes.set_yticks(_round_ticks(highest))
        axes.set_xlabel("share of the gallery, most frequent first")
        _set_ylabel(axes, f"times in a top {report.provenance.k}")

    return _lines(report, lambda view: view.occurrence, finish)


def _recall(report: ReportValues) -> Figure:
    def finish(axes: Axes) -> None:
        most = max(axes.dataLim.x1, 2)
        axes.set_xscale("log")
        axes.set(xlim=(1, most), ylim=(0, 1.02))
        ticks = [10**power for power in range(len(str(int(most))))]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("k")
        _set_ylabel(axes, "share found in the top k")

    return _lines(report, lambda view: view.recall, finish)


def _lines(
    report: ReportValues, pick: Callable[[View], Curve | None], finish: Callable[[Axes], None]
) -> Figure:
    """All states in one panel, which says so where no state has such a curve."""
    states = by_state(report, pick)
    known = [(column, curve) for column, curve in states if curve is not None]
    figure, (axes,) = _panels([("", known or None)], flatness=0.68)
    if not known:
        return figure
    for column, curve in known:
        line = _line(axes, curve.x, curve.y, column, _DASHES[column], heading(column))
        if column == CONTROL:
            line.set_linewidth(0.9)
    # States differ little in what chance gives; the last one stands for all.
    _line(axes, curve.x, curve.null, "ink", "dotted", "random order").set_linewidth(1.1)
    _key(figure, axes)
    missing = ", ".join(column for column, curve in states if curve is None)
    if missing:
        title = f"{missing}: {UNDEFINED}"
        axes.set_title(title, fontsize=8.5, color=COLOURS["muted"], fontweight="normal")
    finish(axes)
    return figure


def _panel_per_state(
    states: Sequence[tuple[Column, T | None]],
    draw: Callable[[Axes, T], None],
    x: str,
    y: str,
    *,
    flatness: float = 0.62,
) -> Figure:
    """A panel per state, with the names of both axes and a key."""
    figure, panels = _panels(states, flatness=flatness)
    drawn = []
    for axes, (_, shown) in zip(panels, states, strict=True):
        if shown is not None:
            draw(axes, shown)
            axes.set_xlabel(x)
            drawn.append(axes)
    if drawn:
        _set_ylabel(drawn[0], y)
        _key(figure, drawn[0])
    return figure


def _panels(states: Sequence[tuple[str, object]], *, flatness: float) -> tuple[Figure, list[Axes]]:
    """A panel per state, side by side; those with nothing to show say why."""
    # As shares of a full panel: one with nothing to see is narrow, and the control is no result.
    parts = [0.46 if shown is None else 0.72 if at == CONTROL else 1.0 for at, shown in states]
    width = {0: 4.6, 1: 4.6, 2: 6.4}.get(round(sum(parts)), 9.4)  # inches
    size = (width, width / sum(parts) * flatness + 0.5)
    figure = empty_figure(*size)
    panels: list[Axes] = list(figure.subplots(1, len(states), squeeze=False, width_ratios=parts)[0])
    for axes, (title, shown) in zip(panels, states, strict=True):
        axes.set_title(title)
        if title == CONTROL:
            axes.set_title(heading(CONTROL), fontweight="normal", color=COLOURS["muted"])
        if shown is None:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color=COLOURS["rule"])
            words = UNDEFINED.replace("defined ", "defined\n")
            text = axes.text(0.5, 0.5, words, transform=axes.transAxes, color=COLOURS["muted"])
            text.set(ha="center", va="center")
    return figure, panels


def _line(axes: Axes, x: Any, y: Any, role: str, dash: Any, label: str) -> Line2D:
    return axes.plot(x, y, color=COLOURS[role], linestyle=dash, label=label)[0]


def _stairs(axes: Axes, heights: Array, edges: Array, role: str, dash: str, label: str) -> None:
    axes.stairs(heights, edges, fill=True, color=COLOURS[role], alpha=0.16)
    axes.stairs(heights, edges, color=COLOURS[role], linestyle=dash, linewidth=1.3)
    _line(axes, [], [], role, dash, label)  # for the key
    # Heights depend on the width of the bins; what is compared is where the bars stand.
    axes.set_yticks([])
    axes.set_ylim(0, 1.04 * axes.dataLim.y1)
    axes.locator_params(axis="x", nbins=6)


def _key(figure: Figure, axes: Axes) -> None:
    """Name the lines and markers of a panel in one line above all panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, columnspacing=1.6)


def _set_ylabel(axes: Axes, y: str) -> None:
    # Anchored, so that a page with a narrower font keeps it centred.
    axes.set_ylabel(y, rotation_mode="anchor")


def _side_names(report: ReportValues) -> list[str]:
    """What the reader calls the sides, in which matplotlib is to see no formula."""
    return [plain(name).replace("$", r"\$") for name in report.side_names]


def _known(states: Sequence[tuple[Column, T | None]]) -> list[T]:
    return [shown for _, shown in states if shown is not None]


def _limits(values: Sequence[Any]) -> tuple[Any, Any]:
    """Bounds a little wider than the values, per column, and never of no width."""
    low, high = np.min(values, axis=0), np.max(values, axis=0)
    room = np.maximum(0.05 * (high - low), 1e-3)
    return low - room, high + room


def _round_ticks(highest: float) -> list[float]:
    """Zero and round numbers that stand well apart on a square-root axis."""
    ticks = [0.0]
    for tick in (digit * 10.0**power for power in range(9) for digit in (1, 2, 5)):
        if tick <= highest and tick**0.5 - ticks[-1] ** 0.5 >= 0.13 * highest**0.5:
            ticks.append(tick)
    return ticks


_DRAWN: dict[str, Callable[[ReportValues], Figure]] = {
    "clouds": _clouds,
    "along the gap": _along_the_gap,
    "cosines": _cosines,
    "recall": _recall,
    "k-occurrence": _occurrence,
    "canonical spectrum": _spectrum,
}
"""In the order of a page."""
