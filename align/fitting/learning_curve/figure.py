"""Recall against the number of pairs, measured and predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from align._display.figure import COLOURS, empty_figure, own_style

if TYPE_CHECKING:
    from align._display.figure import Figure
    from align.fitting.learning_curve.extrapolation import Predicted
    from align.fitting.learning_curve.point import CurvePoint
    from align.metrics.estimates import Estimate

_AHEAD = 4  # times the pairs that there are
_STEPS = 40


def draw(
    points: Sequence[CurvePoint],
    at: Callable[[float], Mapping[str, Predicted]],
    *,
    n_pairs: int,
    chance: Mapping[str, float],
    raw: Mapping[str, Estimate] | None,
) -> Figure:
    """One panel for recall at 10 and one for recall at 1, both against pairs on a log axis.

    Args:
        points: What was measured.
        at: What is predicted for a number of pairs.
        n_pairs: Pairs that there are.
        chance: Each metric in a random order.
        raw: The raw cosine, where it is defined.
    """
    named = (("recall_at_10", "recall at 10"), ("recall_at_1", "recall at 1"))
    first = points[0].n_pairs
    grid = np.geomspace(first, _AHEAD * n_pairs, _STEPS)
    with own_style():
        figure = empty_figure(8.0, 3.6)
        for axes, (name, label) in zip(figure.subplots(1, 2), named, strict=True):
            predicted = [at(n)[name] for n in grid]
            axes.fill_between(
                grid,
                [100 * each.low for each in predicted],
                [100 * each.high for each in predicted],
                color=COLOURS["source"], alpha=0.15, linewidth=0, label="predicted, 90 %",
            )  # fmt: skip
            middle = [100 * each.value for each in predicted]
            axes.plot(grid, middle, color=COLOURS["source"], label="fitted curve")
            found = [point.metrics[name] for point in points]
            values = np.array([100 * each.value for each in found])
            below = [value - 100 * each.low for value, each in zip(values, found, strict=True)]
            above = [100 * each.high - value for value, each in zip(values, found, strict=True)]
            axes.errorbar(
                [point.n_pairs for point in points], values, yerr=[below, above],
                fmt="o", markersize=4, color=COLOURS["target"], elinewidth=0.9,
                label="measured, 95 %", zorder=3,
            )  # fmt: skip
            axes.axhline(
                100 * chance[name], color=COLOURS["ink"], linestyle="dotted", label="chance"
            )
            if raw is not None:
                axes.axhline(
                    100 * raw[name].value,
                    color=COLOURS["raw"], linestyle="dashed", label="raw cosine",
                )  # fmt: skip
            axes.set_xscale("log")
            ticks = [point.n_pairs for point in points]
            ticks = [*ticks[:-1], n_pairs, 2 * n_pairs, 4 * n_pairs]
            axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
            axes.minorticks_off()
            axes.set_xlabel("training pairs")
            axes.set_ylabel(f"{label}, per cent")
            axes.set_ylim(bottom=0)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
    return figure
