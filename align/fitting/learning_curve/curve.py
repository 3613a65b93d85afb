"""A learning curve: measured points, a fitted curve, and a verdict on whether to label more."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from align._checks import check_positive
from align._display.lines import aligned, count, one_line, percent
from align._display.panel import Panel, Table, Tile, render
from align.fitting.learning_curve.extrapolation import Extrapolation, Predicted
from align.fitting.learning_curve.point import LABELS, METRICS, CurvePoint
from align.metrics.chance import SMALL_GALLERY
from align.metrics.estimates import Estimate

if TYPE_CHECKING:
    from align._display.figure import Figure

WORDS = {"recall_at_1": "recall at 1", "recall_at_10": "recall at 10"}
AHEAD = (1, 2, 4)  # times as many pairs as there are
_WIDTH = 100  # columns
LITTLE = 0.01  # a gain that is not worth as many pairs again


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LearningCurve:
    """Recall by number of pairs in galleries of one size.

    Printed, it is the verdict and a table; ``plot()`` draws it.

    Attributes:
        n_pairs: Pairs that were given.
        n_groups: Their groups.
        folds: Folds that they were dealt into.
        rounds: Folds that were used, each with one fit at every number of pairs.
        gallery_size: Items among which each partner was looked for.
        points: What was measured, by rising number of pairs.
        extrapolation: The fitted curves behind ``at`` and ``gain``.
        chance: The same metrics where the gallery is in a random order.
        better_than_chance: Whether the last point is better than that beyond doubt.
        raw: The raw cosine in the same galleries, or ``None`` where the widths differ.
        over_raw: By how much the last point is above it, paired, with 95 % intervals.
    """

    n_pairs: int
    n_groups: int
    folds: int
    rounds: int
    gallery_size: int
    points: tuple[CurvePoint, ...]
    extrapolation: Extrapolation
    chance: Mapping[str, float]
    better_than_chance: bool
    raw: Mapping[str, Estimate] | None
    over_raw: Mapping[str, Estimate] | None

    def __repr__(self) -> str:
        name = self.metric
        last, double = self.points[-1], self.at(2 * self.n_pairs)[name]
        return one_line(
            "LearningCurve",
            f"{LABELS[name]} {percent(last.metrics[name].value)} at {last.n_pairs:,} pairs",
            f"{_range(double)} at {2 * self.n_pairs:,}",
            f"gallery of {self.gallery_size:,}",
            f"chance {percent(self.chance[name])}",
        )

    def __str__(self) -> str:
        parts = (
            _wrapped(f"{self.verdict}."),
            aligned(_rows(self)),
            _wrapped(_NOTE.format(self=self)),
        )
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        return render(curve_panel(self))

    @property
    def metric(self) -> str:
        """The metric that the verdict is about: recall at 10, or at 1 in a small gallery."""
        return "recall_at_1" if self.gallery_size < SMALL_GALLERY else "recall_at_10"

    def at(self, n_pairs: float) -> dict[str, Predicted]:
        """``METRICS`` after a fit on ``n_pairs``, in galleries of ``gallery_size``.

        Raises:
            ValueError: ``n_pairs`` is not positive.
        """
        check_positive("n_pairs", n_pairs)
        return dict(zip(METRICS, self.extrapolation.at(n_pairs), strict=True))

    def gain(self, more: float) -> dict[str, Predicted]:
        """By how much ``METRICS`` would be higher with ``more`` pairs beside all that there are.

        Raises:
            ValueError: ``more`` is not positive.
        """
        check_positive("more", more)
        return dict(zip(METRICS, self.extrapolation.gain(self.n_pairs, more), strict=True))

    @property
    def verdict(self) -> str:
        """Whether more pairs would help, in one sentence."""
        name, more = self.metric, self.n_pairs
        words, gain = WORDS[name], self.gain(more)[name]
        last, chance = self.points[-1], percent(self.chance[name])
        found = f"{percent(last.metrics[name].value)} at {last.n_pairs:,} pairs, chance {chance}"
        if not self.better_than_chance:
            return (
                f"An adapter cannot help here: {words} is no better than chance beyond doubt "
                f"({found}); look at whether rows are matched, then for other encoders"
            )
        little = gain.high < LITTLE
        above = None if self.over_raw is None else self.over_raw[name]
        if above is not None and above.high < LITTLE and little:
            return (
                f"An adapter cannot help here: the raw cosine finds as much ({words} {found}), and "
                f"another {more:,} pairs would change that by less than 1 point"
            )
        if little:
            return (
                f"The encoders are the limit: another {more:,} pairs would bring less than 1 point "
                f"of {words} ({found})"
            )
        if gain.low < LITTLE / 2:
            return (
                f"Another {more:,} pairs would bring at most {_points(gain.high)} of {words}, and "
                f"perhaps nothing ({found})"
            )
        low, high = (round(100 * bound) for bound in (gain.low, gain.high))
        low = max(low, 1)
        between = _points(gain.high) if low == high else f"{low} to {_points(gain.high)}"
        return f"Another {more:,} pairs would bring {between} of {words} ({found})"

    def plot(self) -> Figure:
        """Points, the curve and its interval up to four times the pairs, chance and raw cosine.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from align.fitting.learning_curve.figure import draw

        return draw(self.points, self.at, n_pairs=self.n_pairs, chance=self.chance, raw=self.raw)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, ready for JSON."""
        return {
            "verdict": self.verdict,
            "n_pairs": self.n_pairs,
            "n_groups": self.n_groups,
            "folds": self.folds,
            "rounds": self.rounds,
            "gallery_size": self.gallery_size,
            "points": [asdict(point) for point in self.points],
            "predicted": [
                {"n_pairs": n, "metrics": {k: asdict(v) for k, v in self.at(n).items()}}
                for n in (times * self.n_pairs for times in AHEAD)
            ],
            "chance": dict(self.chance),
            "better_than_chance": self.better_than_chance,
            "raw": None if self.raw is None else {k: asdict(v) for k, v in self.raw.items()},
        }


_NOTE = (
    "Mean of both directions; galleries of {self.gallery_size:,} held-out pairs at every number of "
    "pairs; each point is of {self.rounds} fits, on what one of {self.folds} folds leaves. "
    "Measured: 95 % intervals. Predicted: 90 %."
)


def curve_panel(curve: LearningCurve) -> Panel:
    """The verdict, the last point beside chance, and all points with what is predicted."""
    name, last = curve.metric, curve.points[-1]
    head, *rows = _rows(curve)
    failed = not curve.better_than_chance
    return Panel(
        "Learning curve",
        sentence="" if failed else f"{curve.verdict}.",
        warning=f"{curve.verdict}." if failed else "",
        tiles=[
            Tile("pairs", f"{curve.n_pairs:,}", f"in {count(curve.n_groups, 'group')}"),
            Tile(
                f"{LABELS[name]} at {last.n_pairs:,} pairs",
                percent(last.metrics[name].value),
                f"chance {percent(curve.chance[name])}",
            ),
            Tile(
                f"{LABELS[name]} at {2 * curve.n_pairs:,} pairs",
                _range(curve.at(2 * curve.n_pairs)[name]),
                "predicted",
            ),
            Tile("gallery", f"{curve.gallery_size:,}", "recall depends on it"),
        ],
        tables=[Table(head, rows, numeric=(1, 2, 3), note=_NOTE.format(self=curve))],
    )


def _rows(curve: LearningCurve) -> list[list[str]]:
    """A heading, then chance, the raw cosine, each point and what is predicted."""
    rows = [["pairs", *LABELS.values()]]
    rows.append(["chance", *(percent(curve.chance[name]) for name in METRICS)])
    if curve.raw is not None:
        rows.append(["raw cosine", *_cells(curve.raw)])
    rows += [[f"{point.n_pairs:,}", *_cells(point.metrics)] for point in curve.points]
    for n in (times * curve.n_pairs for times in AHEAD):
        rows.append([f"{n:,} (predicted)", *_cells(curve.at(n))])
    return rows


def _cells(metrics: Mapping[str, Estimate] | Mapping[str, Predicted]) -> list[str]:
    return [f"{percent(metrics[name].value)} [{_range(metrics[name])}]" for name in METRICS]


def _range(found: Estimate | Predicted) -> str:
    return f"{100 * found.low:.1f} to {100 * found.high:.1f}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)


def _points(share: float) -> str:
    return count(max(1, round(100 * share)), "point")
