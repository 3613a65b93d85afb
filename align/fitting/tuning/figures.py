"""Figures of a search over settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from align._display.figure import COLOURS, check_matplotlib, empty_figure, own_style
from align.fitting.tuning.result import Trial, Tuning

if TYPE_CHECKING:
    from align._display.figure import Axes, Figure

INK, MUTED, BLUE, RED = (COLOURS[role] for role in ("ink", "muted", "source", "target"))
COLUMNS = 4
LOGARITHMIC = (
    "source_ridge", "target_ridge", "dim", "nnn_k", "sharpness", "expansion_sharpness",
)  # fmt: skip


def save_figures(tuning: Tuning, folder: Path, *, chosen: Trial | None = None) -> list[Path]:
    """Write the figures of a search into ``folder`` as PNG files, and give their paths.

    ``front.png`` shows score against bytes per gallery vector, with a circle around the ``chosen``
    trial, ``slices.png`` score against each parameter, and ``importance.png`` which parameters
    matter; the last only where there are enough trials for that.

    Raises:
        ImportError: matplotlib is not installed.
    """
    check_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    with own_style():
        figures = {"front": _front(tuning, chosen), "slices": _slices(tuning)}
        if tuning.importance:
            figures["importance"] = _importance(tuning)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=150, facecolor="white")
    return [folder / f"{name}.png" for name in figures]


def _front(tuning: Tuning, chosen: Trial | None) -> Figure:
    figure, axes = _figure(6.4, 4.0)
    front = tuning.front
    others = [trial for trial in tuning.whole if trial not in front]
    axes.scatter(
        [trial.cost for trial in others], [trial.mrr for trial in others],
        s=16, color=MUTED, alpha=0.6, linewidth=0, label="other trials",
    )  # fmt: skip
    costs, scores = [trial.cost for trial in front], [trial.mrr for trial in front]
    axes.step(costs, scores, where="post", color=BLUE, linewidth=1.2)
    axes.errorbar(
        costs, scores, yerr=[1.96 * trial.error for trial in front],
        fmt="o", markersize=5, color=BLUE, elinewidth=0.8, label="front, with 95 % intervals",
    )  # fmt: skip
    if tuning.raw_mrr is not None:
        axes.axhline(tuning.raw_mrr, color=INK, linestyle="dotted", label="raw cosine")
    if chosen is not None:
        axes.plot(
            chosen.cost, chosen.mrr, "o", markersize=11, markerfacecolor="none",
            markeredgecolor=RED, markeredgewidth=1.6, label=f"chosen: trial {chosen.number}",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    axes.set(xlabel="bytes per gallery vector", ylabel="mean reciprocal rank on held-out folds")
    pruned = len(tuning.trials) - len(tuning.whole)
    axes.set_title(f"{len(tuning.trials)} trials, {pruned} of them pruned and not shown")
    axes.legend(loc="lower right")
    return figure


def _importance(tuning: Tuning) -> Figure:
    ranked = sorted(tuning.importance.items(), key=lambda item: item[1])
    figure, axes = _figure(5.6, 0.6 + 0.26 * len(ranked))
    axes.barh([_words(name) for name, _ in ranked], [share for _, share in ranked], color=BLUE)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set(xlabel="share of the variance of the score", ylim=(-0.6, len(ranked) - 0.4))
    return figure


def _slices(tuning: Tuning) -> Figure:
    names = list(dict.fromkeys(name for trial in tuning.whole for name in trial.params))
    rows = -(-len(names) // COLUMNS)
    figure = empty_figure(2.4 * COLUMNS, 2.0 * rows + 0.4)
    grid = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True)
    front = tuning.front
    for axes, name in zip(grid.flat, names, strict=False):
        having = [trial for trial in tuning.whole if name in trial.params]
        for in_front, colour, label in ((False, MUTED, "other trials"), (True, BLUE, "front")):
            shown = [trial for trial in having if (trial in front) == in_front]
            values = [_label(trial.params[name]) for trial in shown]
            axes.scatter(values, [t.mrr for t in shown], s=14, color=colour, alpha=0.8, label=label)
        if name in LOGARITHMIC:
            axes.set_xscale("log")
            _plain_ticks(axes, [trial.params[name] for trial in having])
        axes.set_xlabel(_words(name))
        axes.margins(x=0.12)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("MRR, held out")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = empty_figure(width, height)
    return figure, figure.subplots()


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    """A few ticks over the values of a logarithmic axis, as plain numbers."""
    low, high = min(values), max(values)
    ticks = np.geomspace(low, high, 5 if high > low else 1).tolist()
    axes.set_xticks(ticks, [f"{tick:.0f}" if tick >= 10 else f"{tick:.2g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _label(value: Any) -> Any:
    """Numbers as they are; words and truth values as words, which share an axis by name."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.replace("_", "\n") if isinstance(value, str) else value


def _words(name: str) -> str:
    return name.replace("_", " ")
