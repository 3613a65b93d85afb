"""Figures drawn without pyplot: one style, one set of colours, and SVG for a page.

matplotlib is imported inside of functions alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from align._display.inline_svg import inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure

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

DARK = {
    "ink": "#e4e7ea",
    "muted": "#a5adb6",
    "rule": "#363c43",
    "source": "#58b4ea",
    "target": "#f08c45",
    "raw": "#98a0a9",
    "centred": "#d8ae3f",
    "aligned": "#cc94dc",
    "corrected": "#4fc79a",
}
"""The colours of the same roles on a dark ground."""

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
    "figure.constrained_layout.h_pad": 0.08,
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


def check_matplotlib() -> None:
    """Raise ``ImportError`` unless figures can be drawn."""
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise ImportError(
            "figures need matplotlib, which is not installed. Run "
            "`pip install 'isthmus[report]'`, or leave the figure out."
        ) from error


@contextmanager
def own_style() -> Iterator[None]:
    """The style of our figures; the reader's own neither shows in them nor is changed by them.

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
    with style.context(["default", _STYLE]):
        yield


def empty_figure(width: float, height: float) -> Figure:
    """A figure of that size in inches that belongs to no window and no pyplot.

    A notebook shows it as the value of a cell, once, whether or not pyplot was set up there.
    """
    return _shown_figure()(figsize=(width, height), layout="constrained")


@cache
def _shown_figure() -> type[Figure]:
    """The figure of matplotlib with a picture of its own, as only pyplot tells notebooks to draw.

    Where pyplot has, what it told takes the place of this.
    """
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            png = io.BytesIO()
            self.savefig(png, format="png", bbox_inches="tight", metadata={"Software": None})
            return png.getvalue()

    return ShownFigure


def dark_figures() -> str:
    """A rule of CSS: the figures of a page take the colours of ``DARK`` on a dark screen."""
    variables = " ".join(f"--figure-{role}: {colour};" for role, colour in DARK.items())
    return f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {variables} }} }}"


def as_inline_svg(name: str, figure: Figure, *, label: str) -> str:
    """A figure as SVG to put into a page, on a transparent ground; the same text every time.

    Colours are CSS variables such as ``--figure-ink`` that fall back to the printed ones. Its ids
    begin with ``name``; ``label`` is what a reader hears who cannot see it.
    """
    text = io.StringIO()
    with own_style():
        figure.savefig(text, format="svg", facecolor="none", metadata={"Date": None})
    variables = {colour: f"--figure-{role}" for role, colour in COLOURS.items()}
    return inline_svg(text.getvalue(), name=name, label=label, variables=variables)
