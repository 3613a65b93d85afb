"""What stands beside each figure: how to read it, what it cannot show, and what is to be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probes.reporting.formatting import number
from probes.reporting.html.plots import by_state
from probes.reporting.model import Clouds, Curve, Histogram, ReportValues, View


class Caption(NamedTuple):
    """The words that belong to a figure; in all of them ``{pairs}`` and ``{k}`` are numbers."""

    title: str
    text: str  # how to read it, in plain sentences
    seen: str  # what it shows, for readers who cannot see it, up to the numbers of each state
    pick: Callable[[View], Any]  # takes from a view what the figure shows of it
    numbers: Callable[[Any, int], str]  # those of what was picked, given the k of the report


def caption(name: str, report: ReportValues) -> str:
    """How to read a figure, one of ``CAPTIONS``, in plain sentences."""
    about = report.provenance
    return CAPTIONS[name].text.format(pairs=f"{about.pairs:,}", k=about.k)


def seen(name: str, report: ReportValues) -> str:
    """What a figure shows: ``Lines of ...: raw 0.8, centred 0.0, aligned 0.1.``"""
    k = report.provenance.k
    words = CAPTIONS[name]
    states = (
        f"{column} {'not defined before alignment' if shown is None else words.numbers(shown, k)}"
        for column, shown in by_state(report, words.pick)
    )
    return f"{words.seen.format(k=k)} {', '.join(states)}."


def _distance(clouds: Clouds, k: int) -> str:
    centroids = [np.mean(points, axis=0) for points in (clouds.source, clouds.target)]
    return number(float(np.linalg.norm(centroids[0] - centroids[1])))


def _distance_along(clouds: Clouds, k: int) -> str:
    return number(float(abs(np.mean(clouds.source_along_gap) - np.mean(clouds.target_along_gap))))


def _means(histogram: Histogram, k: int) -> str:
    edges = np.array(histogram.edges)
    weights = np.diff(edges) * (edges[1:] + edges[:-1]) / 2
    return " and ".join(number(float(weights @ side)) for side in (histogram.true, histogram.false))


def _at(curve: Curve, x: float) -> str:
    return number(float(np.interp(x, curve.x, curve.y)))


CAPTIONS = {
    "clouds": Caption(
        "The two clouds",
        "Items of both sides on the two axes along which they vary most; all states share one "
        "scale. Good is one mixed cloud with both centroids in one place. A plane out of hundreds "
        "of dimensions cannot show whether partners lie close together.",
        "Scatter plots of the items of both sides on two principal axes. "
        "Distance between the centroids of the points shown:",
        lambda view: view.clouds,
        _distance,
    ),
    "along the gap": Caption(
        "Along the gap",
        "Where items stand on the line through both centroids. Good is two histograms that "
        "coincide. This is the line that tells the sides apart best by their means, and it says "
        "nothing of the pairing.",
        "Histograms of the coordinate along the gap. Distance between the means:",
        lambda view: view.clouds,
        _distance_along,
    ),
    "cosines": Caption(
        "True and false pairs",
        "Good is a histogram of true pairs to the right of the other, with little overlap. Only "
        "the overlap counts: how high the cosines are depends on the encoders. It cannot show "
        "which wrong item comes first.",
        "Histograms of cosines. Mean of true pairs, and of items of different pairs:",
        lambda view: view.cosines,
        _means,
    ),
    "recall": Caption(
        "Recall against k",
        "Share of queries whose partner is among the k best answers, mean of both directions. "
        "Good is a line that starts high. Recall falls as the gallery grows, so it compares only "
        "with other galleries of {pairs} items.",
        "Lines of recall against k. Recall at {k}:",
        lambda view: view.recall,
        _at,
    ),
    "k-occurrence": Caption(
        "Hubs and items never found",
        "How often each item is among the {k} best answers; both axes are square roots. Good is "
        "the line of a random order. A higher start means hubs, and a line that reaches 0 early "
        "means items that nobody finds. It cannot show whether answers are right.",
        "Lines of how often items are in a top {k}. At the one-hundredth most frequent:",
        lambda view: view.occurrence,
        lambda curve, k: _at(curve, 0.01),
    ),
    "canonical spectrum": Caption(
        "Canonical spectrum",
        "How strongly the sides agree along each canonical direction. What counts is how many "
        "directions stand, on held-out pairs, above the dotted line, below which shuffled pairs "
        "stay in 95\N{NO-BREAK SPACE}% of draws; the distance up to the fitted pairs is "
        "overfitting. It shows what a linear map could use, not what an adapter does use.",
        "Lines of canonical correlations. The first, held out, and on the pairs fitted:",
        lambda view: view.spectrum,
        lambda spectrum, k: f"{number(spectrum.held_out[0])} and {number(spectrum.train[0])}",
    ),
}
"""In the order of a page."""
