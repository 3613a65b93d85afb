"""The figures of a report. The only file of this package that imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from probes.reporting.html.inline_svg import inline_svg
from probes.reporting.model import CONTROL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure

    from probes.reporting.model import Clouds, Column, Curve, ReportValues, View

T = TypeVar("T")

UNDEFINED = "not defined before alignment"

# Okabe and Ito's blue and vermilion for the two sides; the other hues stay apart from both, and
# what differs in hue also differs in marker or dash.
COLOURS = {
    "ink": "#23272c",
    "muted": "#666c74",
    "rule": "#d3d6da",
    "source": "#0072b2",
    "target": "#d55e00",
    "raw": "#7b8189",
    "centred": "#a87a00",
    "aligned": "#7a2e8a",
    "corrected": "#00795a",
}
"""Each colour has one role, so that a page can give the role another colour in dark mode."""

_DASHES: dict[Column, str | tuple[int, tuple[float, ...]]] = {
    "raw": (0, (1.2, 1.4)),
    "centred": (0, (5, 1.5, 1.2, 1.5)),
    "aligned": "solid",
    "corrected": (0, (6, 2)),
}
_STYLE = {
    "axes.edgecolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.labelcolor": COLOURS["ink"],
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.w_pad": 0.08,
    "font.size": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.labelcolor": COLOURS["ink"],
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and restyled
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "xtick.labelsize": 8.5,
    "ytick.color": COLOURS["muted"],
    "ytick.labelsize": 8.5,
}
_WIDTHS = {1: 4.6, 2: 6.4}  # inches, by the number of full panels
_WIDEST = 9.4
_SMALL = 0.72  # of a full panel: the control is no result
_NARROW = 0.46  # of a full panel: one that only says that there is nothing to see
_BINS = 40


def figures(report: ReportValues) -> dict[str, Figure]:
    """The figures of a report by name, each on a white ground.

    A state whose two sides lie in different spaces has a panel that says so. A state that shows
    nothing new (a correction of the search moves no vectors) has none.

    Args:
        report: The report.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ImportError as error:
        raise ImportError(
            "figures and pages need matplotlib, which is not installed. Run "
            "`pip install 'isthmus[report]'`, or use to_markdown() or to_json()."
        ) from error
    drawn = {
        "clouds": _clouds,
        "along the gap": _along_the_gap,
        "cosines": _cosines,
        "k-occurrence": _occurrence,
        "canonical spectrum": _spectrum,
        "recall": _recall,
    }
    # The reader's own style must neither show in the figures nor be changed by them.
    with style.context(["default", _STYLE]):
        return {name: draw(report) for name, draw in drawn.items()}


def as_inline_svg(name: str, figure: Figure, *, label: str) -> str:
    """A figure as SVG to put into a page, on a transparent ground; the same text every time.

    Colours are CSS variables such as ``--figure-ink`` that fall back to the printed ones.

    Args:
        name: What its ids begin with; differs between the figures of one page.
        figure: A figure of ``figures``.
        label: What a reader hears who cannot see it.
    """
    from matplotlib import style

    text = io.StringIO()
    with style.context(["default", _STYLE]):
        figure.savefig(text, format="svg", facecolor="none", metadata={"Date": None})
    variables = {colour: f"--figure-{role}" for role, colour in COLOURS.items()}
    return inline_svg(text.getvalue(), name=name, label=label, variables=variables)


def by_state(
    report: ReportValues, pick: Callable[[View], T | None]
) -> list[tuple[Column, T | None]]:
    """Each state with what is shown of it, ``None`` before the first state that has any.

    The control comes last and is left out where the raw state is not defined: nor is it.

    Args:
        report: The report.
        pick: Takes from a view what is to be shown.
    """
    found = [(column, pick(report.views[column])) for column in report.columns]
    first = next((at for at, (_, shown) in enumerate(found) if shown is not None), len(found))
    return [(column, shown) for at, (column, shown) in enumerate(found) if shown or at < first]


def _clouds(report: ReportValues) -> Figure:
    states = by_state(report, lambda view: view.clouds)
    known = [clouds for _, clouds in states if clouds is not None]
    # One scale for all states: a cloud that shrinks is seen to shrink.
    corners = [(0.0, 0.0), (1.0, 1.0)]
    low, high = _span([p for c in known for p in c.source + c.target] or corners)
    flatness = float(np.clip((high - low)[1] / (high - low)[0], 0.5, 1.1))
    figure, panels = _panels(states, flatness=0.88 * flatness)
    for axes, (_, clouds) in zip(panels, states, strict=True):
        if clouds is not None:
            _draw_cloud(axes, clouds)
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
            axes.set_aspect("equal", anchor="NW")
            axes.locator_params(nbins=5)
    if known:
        _name_axes(panels, states, "first principal axis", "second principal axis")
        _key(figure, [
            ("source", "source", "o", ""), ("target", "target", "^", ""),
            ("from centroid to centroid", "ink", "", "solid"),
        ])  # fmt: skip
    return figure


def _draw_cloud(axes: Axes, clouds: Clouds) -> None:
    sides = (("source", clouds.source, "o"), ("target", clouds.target, "^"))
    for role, points, marker in sides:
        axes.plot(
            *np.array(points).T, marker, color=COLOURS[role],
            markersize=2.8, markeredgewidth=0, alpha=0.5,
        )  # fmt: skip
    centroids = [np.mean(points, axis=0) for _, points, _ in sides]
    axes.plot(*np.array(centroids).T, color=COLOURS["ink"], linewidth=1.4)
    for (role, _, marker), centroid in zip(sides, centroids, strict=True):
        axes.plot(
            *centroid, marker, markersize=7, markerfacecolor=COLOURS[role],
            markeredgecolor=COLOURS["ink"], markeredgewidth=1.2,
        )  # fmt: skip


def _along_the_gap(report: ReportValues) -> Figure:
    states = by_state(report, lambda view: view.clouds)
    figure, panels = _panels(states)
    known = [clouds for _, clouds in states if clouds is not None]
    low, high = _span([x for c in known for x in c.source_along_gap + c.target_along_gap] or [0])
    edges = np.linspace(low, high, _BINS + 1)
    for axes, (_, clouds) in zip(panels, states, strict=True):
        if clouds is not None:
            for role, along, dash in (
                ("source", clouds.source_along_gap, "solid"),
                ("target", clouds.target_along_gap, "dashed"),
            ):
                _stairs(axes, np.histogram(along, edges)[0] / len(along), edges, role, dash)
            axes.set_xlim(low, high)
            axes.locator_params(axis="x", nbins=6)
    if known:
        _name_axes(panels, states, "coordinate along the gap", "share of items")
        _key(figure, [("source", "source", "", "solid"), ("target", "target", "", "dashed")])
    return figure


def _cosines(report: ReportValues) -> Figure:
    states = by_state(report, lambda view: view.cosines)
    figure, panels = _panels(states)
    known = [histogram for _, histogram in states if histogram is not None]
    low, high = _span([edge for histogram in known for edge in histogram.edges] or [0])
    for axes, (_, histogram) in zip(panels, states, strict=True):
        if histogram is not None:
            edges = np.array(histogram.edges)
            _stairs(axes, np.array(histogram.false), edges, "raw", "dashed")
            _stairs(axes, np.array(histogram.true), edges, "aligned", "solid")
            axes.set_xlim(low, high)
            axes.locator_params(axis="x", nbins=6)
    if known:
        _name_axes(panels, states, "cosine", "density")
        _key(figure, [
            ("true pairs", "aligned", "", "solid"),
            ("items of different pairs", "raw", "", "dashed"),
        ])  # fmt: skip
    return figure


def _spectrum(report: ReportValues) -> Figure:
    states = by_state(report, lambda view: view.spectrum)
    figure, panels = _panels(states)
    known = [spectrum for _, spectrum in states if spectrum is not None]
    lowest = min([0.0, *(min(s.held_out + s.null) for s in known)])
    for axes, (_, spectrum) in zip(panels, states, strict=True):
        if spectrum is not None:
            dims = np.arange(1, len(spectrum.held_out) + 1)
            axes.axhline(0, color=COLOURS["rule"], linewidth=0.7, zorder=0)
            axes.plot(dims, spectrum.train, color=COLOURS["raw"], linestyle="dashed")
            axes.plot(dims, spectrum.null, color=COLOURS["ink"], linestyle="dotted")
            axes.plot(dims, spectrum.held_out, color=COLOURS["aligned"])
            axes.set(xlim=(1, max(len(dims), 2)), ylim=(1.05 * lowest, 1.03))
    if known:
        _name_axes(panels, states, "canonical direction", "correlation")
        _key(figure, [
            ("on held-out pairs", "aligned", "", "solid"),
            ("on the pairs it was fitted on", "raw", "", "dashed"),
            ("where shuffled pairs stay below", "ink", "", "dotted"),
        ])  # fmt: skip
    return figure


def _occurrence(report: ReportValues) -> Figure:
    figure, axes = _curves(report, lambda view: view.occurrence)
    if axes is not None:
        # Square roots keep both hubs, at the left, and items never found, at the right, in sight.
        axes.set_xscale("function", functions=(_signed_root, _signed_square))
        axes.set_yscale("function", functions=(_signed_root, _signed_square))
        highest = axes.dataLim.y1
        axes.set(xlim=(0, 1), ylim=(0, 1.05 * highest))
        axes.set_xticks([0.01, 0.1, 0.25, 0.5, 1], ["1 %", "10 %", "25 %", "50 %", "100 %"])
        axes.set_yticks(_round_ticks(highest))
        top = f"times in a top {report.provenance.k}"
        axes.set_xlabel("share of the gallery, most frequent first")
        _name_upright(axes, top)
    return figure


def _recall(report: ReportValues) -> Figure:
    figure, axes = _curves(report, lambda view: view.recall)
    if axes is not None:
        most = max(axes.dataLim.x1, 2)
        axes.set_xscale("log")
        axes.set(xlim=(1, most), ylim=(0, 1.02))
        ticks = [10**power for power in range(len(str(int(most))))]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("k")
        _name_upright(axes, "share found in the top k")
    return figure


def _curves(
    report: ReportValues, pick: Callable[[View], Curve | None]
) -> tuple[Figure, Axes | None]:
    """All states in one panel; no axes where no state has such a curve."""
    states = by_state(report, pick)
    known = [(column, curve) for column, curve in states if curve is not None]
    figure, (axes,) = _panels([("", known or None)], flatness=0.68)
    if not known:
        return figure, None
    for column, curve in known:
        width = 0.9 if column == CONTROL else _STYLE["lines.linewidth"]
        axes.plot(
            curve.x, curve.y, color=COLOURS[column], linestyle=_DASHES[column], linewidth=width
        )
    # States differ little in what chance gives; the last one stands for all.
    axes.plot(curve.x, curve.null, color=COLOURS["ink"], linestyle="dotted", linewidth=1.1)
    lines = [(_title(column)["label"], column, "", _DASHES[column]) for column, _ in known]
    _key(figure, [*lines, ("random order", "ink", "", "dotted")])
    missing = ", ".join(column for column, curve in states if curve is None)
    if missing:
        axes.set_title(
            f"{missing}: {UNDEFINED}", fontsize=8.5, color=COLOURS["muted"], fontweight="normal"
        )
    return figure, axes


def _panels(
    states: Sequence[tuple[str, object]], *, flatness: float = 0.62
) -> tuple[Figure, list[Axes]]:
    """A panel per state, side by side; those with nothing to show say why."""
    from matplotlib.figure import Figure

    parts = [_part(title, shown) for title, shown in states]
    width = _WIDTHS.get(max(1, round(sum(parts))), _WIDEST)
    size = (width, width / sum(parts) * flatness + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(states), squeeze=False, width_ratios=parts)[0])
    for axes, (title, shown) in zip(panels, states, strict=True):
        axes.set_title(**_title(title))
        if shown is None:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color=COLOURS["rule"])
            axes.text(
                0.5, 0.5, UNDEFINED.replace("defined ", "defined\n"), transform=axes.transAxes,
                ha="center", va="center", color=COLOURS["muted"],
            )  # fmt: skip
    return figure, panels


def _part(title: str, shown: object) -> float:
    """Width of a panel, as a share of a full one."""
    if shown is None:
        return _NARROW
    return _SMALL if title == CONTROL else 1.0


def _title(state: str) -> dict[str, Any]:
    """What stands above a panel: the control is said to be one, and less loudly."""
    if state != CONTROL:
        return {"label": state}
    return {"label": f"{state} (control)", "fontweight": "normal", "color": COLOURS["muted"]}


def _stairs(
    axes: Axes, heights: np.ndarray[Any, Any], edges: np.ndarray[Any, Any], role: str, dash: str
) -> None:
    axes.stairs(heights, edges, fill=True, color=COLOURS[role], alpha=0.16)
    axes.stairs(heights, edges, color=COLOURS[role], linestyle=dash, linewidth=1.3)
    # Heights depend on the width of the bins; what is compared is where the bars stand.
    axes.set_yticks([])
    axes.set_ylim(0, 1.04 * axes.dataLim.y1)


def _key(figure: Figure, entries: Sequence[tuple[str, str, str, Any]]) -> None:
    """Name lines and markers in one line above the panels: label, role, marker, dash."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[role], marker=marker, linestyle=dash, label=label)
        for label, role, marker, dash in entries
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, columnspacing=1.6)


def _name_axes(
    panels: Sequence[Axes], states: Sequence[tuple[str, object]], x: str, y: str
) -> None:
    shown = [axes for axes, (_, view) in zip(panels, states, strict=True) if view is not None]
    for axes in shown:
        axes.set_xlabel(x)
    _name_upright(shown[0], y)


def _name_upright(axes: Axes, y: str) -> None:
    # Anchored, so that a page with a narrower font keeps it centred.
    axes.set_ylabel(y, rotation_mode="anchor")


def _span(values: Sequence[Any]) -> tuple[Any, Any]:
    """Bounds a little wider than the values, per column, and never of no width."""
    held = np.array(values)
    low, high = held.min(axis=0), held.max(axis=0)
    room = np.maximum(0.05 * (high - low), 1e-3)
    return low - room, high + room


def _round_ticks(highest: float) -> list[float]:
    """Zero and round numbers that stand well apart on a square-root axis."""
    ladder = [digit * 10.0**power for power in range(9) for digit in (1, 2, 5)]
    ticks = [0.0]
    for tick in ladder:
        clear = 0.13 * highest**0.5
        if tick <= highest and tick**0.5 - ticks[-1] ** 0.5 >= clear:
            ticks.append(tick)
    return ticks


def _signed_root(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.sign(x) * np.sqrt(np.abs(x)))


def _signed_square(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.sign(x) * np.square(x))
