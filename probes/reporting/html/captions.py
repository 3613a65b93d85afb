"""What stands beside each figure: how to read it, what it cannot show, and what is to be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from probes.reporting.html.plots import by_state
from probes.reporting.model import (
    CanonicalCorrelations,
    Clouds,
    Curve,
    Histogram,
    Points,
    ReportValues,
    View,
)
from probes.reporting.numbers import number

T = TypeVar("T")

CAPTIONS = {
    "clouds": (
        "The two clouds",
        "Items of both sides on the two axes along which they vary most; all states share one "
        "scale. Good is one mixed cloud with both centroids in one place. A plane out of hundreds "
        "of dimensions cannot show whether partners lie close together.",
    ),
    "along the gap": (
        "Along the gap",
        "Where items stand on the line through both centroids. Good is two histograms that "
        "coincide. This is the line that tells the sides apart best by their means, and it says "
        "nothing of the pairing.",
    ),
    "cosines": (
        "True and false pairs",
        "Good is a histogram of true pairs to the right of the other, with little overlap. Only "
        "the overlap counts: how high the cosines are depends on the encoders. It cannot show "
        "which wrong item comes first.",
    ),
    "recall": (
        "Recall against k",
        "Share of queries whose partner is among the k best answers, mean of both directions. "
        "Good is a line that starts high. Recall falls as the gallery grows, so it compares only "
        "with other galleries of {pairs} items.",
    ),
    "k-occurrence": (
        "Hubs and items never found",
        "How often each item is among the {k} best answers; both axes are square roots. Good is "
        "the line of a random order. A higher start means hubs, and a line that reaches 0 early "
        "means items that nobody finds. It cannot show whether answers are right.",
    ),
    "canonical spectrum": (
        "Canonical spectrum",
        "How strongly the sides agree along each canonical direction. What counts is how many "
        "directions stand, on held-out pairs, above the dotted line, below which shuffled pairs "
        "stay in 95\N{NO-BREAK SPACE}% of draws; the distance up to the fitted pairs is "
        "overfitting. It shows what a linear map could use, not what an adapter does use.",
    ),
}
"""Title and caption of each figure, in the order of a page."""


def caption(name: str, report: ReportValues) -> str:
    """How to read a figure, in plain sentences.

    Args:
        name: One of ``CAPTIONS``.
        report: The report that it shows.
    """
    made = report.provenance
    return CAPTIONS[name][1].format(pairs=f"{made.pairs:,}", k=made.k)


def seen(name: str, report: ReportValues) -> str:
    """What the figure shows, with its main numbers, for readers who cannot see it.

    Args:
        name: One of ``CAPTIONS``.
        report: The report that it shows.
    """
    k = report.provenance.k
    described: dict[str, Callable[[], str]] = {
        "clouds": lambda: _each(
            report,
            "Scatter plots of source and target items on two principal axes. "
            "Distance between the centroids of the points shown:",
            lambda view: view.clouds,
            _distance,
        ),
        "along the gap": lambda: _each(
            report,
            "Histograms of the coordinate along the gap. Distance between the means:",
            lambda view: view.clouds,
            _distance_along,
        ),
        "cosines": lambda: _each(
            report,
            "Histograms of cosines. Mean of true pairs, and of items of different pairs:",
            lambda view: view.cosines,
            _means,
        ),
        "recall": lambda: _each(
            report,
            f"Lines of recall against k. Recall at {k}:",
            lambda view: view.recall,
            lambda curve: number(_at(curve, k)),
        ),
        "k-occurrence": lambda: _each(
            report,
            f"Lines of how often items are in a top {k}. At the one-hundredth most frequent:",
            lambda view: view.occurrence,
            lambda curve: number(_at(curve, 0.01)),
        ),
        "canonical spectrum": lambda: _each(
            report,
            "Lines of canonical correlations. The first, held out, and on the pairs fitted:",
            lambda view: view.spectrum,
            _first,
        ),
    }
    return described[name]()


def _each(
    report: ReportValues, opening: str, pick: Callable[[View], T | None], say: Callable[[T], str]
) -> str:
    """``Opening: raw 0.8, centred 0.0, aligned 0.1.``"""
    parts = [
        f"{column} {'not defined before alignment' if shown is None else say(shown)}"
        for column, shown in by_state(report, pick)
    ]
    return f"{opening} {', '.join(parts)}."


def _distance(clouds: Clouds) -> str:
    return number(float(np.linalg.norm(_centroid(clouds.source) - _centroid(clouds.target))))


def _centroid(points: Points) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(np.mean(points, axis=0), dtype=np.float64)


def _distance_along(clouds: Clouds) -> str:
    means = [float(np.mean(along)) for along in (clouds.source_along_gap, clouds.target_along_gap)]
    return number(abs(means[0] - means[1]))


def _means(histogram: Histogram) -> str:
    edges = np.array(histogram.edges)
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    true, false = (
        number(float((np.array(side) * width * middle).sum()))
        for side in (histogram.true, histogram.false)
    )
    return f"{true} and {false}"


def _at(curve: Curve, x: float) -> float:
    return float(np.interp(x, curve.x, curve.y))


def _first(spectrum: CanonicalCorrelations) -> str:
    return f"{number(spectrum.held_out[0])} and {number(spectrum.train[0])}"
