"""What a line, a printed table and a panel say of an evaluation, with chance beside each number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from align._display.lines import aligned, count, one_line, percent, rounded
from align._display.parts import Cell, Panel, Table, Tile
from align.data.sides import SideNames, directions_of


class _Estimate(Protocol):
    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class _Direction(Protocol):
    @property
    def metrics(self) -> Mapping[str, _Estimate]: ...
    @property
    def chance(self) -> Mapping[str, float]: ...
    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def gallery_size(self) -> int: ...


class _Evaluation(Protocol):
    @property
    def source_to_target(self) -> _Direction: ...
    @property
    def target_to_source(self) -> _Direction: ...
    @property
    def mean(self) -> Mapping[str, _Estimate]: ...
    @property
    def chance(self) -> Mapping[str, float]: ...
    @property
    def pairs(self) -> int: ...
    @property
    def trained_on(self) -> int | None: ...
    @property
    def side_names(self) -> SideNames: ...


_NAMES = {"mean_reciprocal_rank": "MRR", "median_rank": "median rank"}
_HEADLINES = ("recall_at_10", "mean_reciprocal_rank")


def metric_name(metric: str) -> str:
    """A metric as people write it: ``"recall@10"``, ``"MRR"``."""
    return _NAMES.get(metric, metric.replace("_at_", "@"))


def metric_value(metric: str, value: float) -> str:
    """A value as it is shown: recall in per cent, ranks as they are."""
    if metric.startswith("recall"):
        return percent(value)
    return f"{value:,g}" if metric == "median_rank" else rounded(value)


def with_interval(metric: str, estimate: _Estimate) -> str:
    """A value and its 95 % interval: ``"41.2 % [38.0, 44.1]"``."""
    low, high = (
        metric_value(metric, bound).removesuffix(" %") for bound in (estimate.low, estimate.high)
    )
    return f"{metric_value(metric, estimate.value)} [{low}, {high}]"


def direction_line(direction: _Direction) -> str:
    """``Direction(1,000 queries among 1,000, recall@10 41.2 % (chance 1.0 %), ...)``."""
    queries = count(len(direction.ids), "query", "queries")
    return one_line(
        "Direction",
        f"{queries} among {direction.gallery_size:,}",
        *_beside_chance(direction.metrics, direction.chance),
    )


def direction_panel(direction: _Direction) -> Panel:
    """Each metric with its interval, beside that of a random order."""
    rows: list[list[Cell]] = [
        [
            metric_name(name),
            with_interval(name, estimate),
            metric_value(name, direction.chance[name]),
        ]
        for name, estimate in direction.metrics.items()
    ]
    return Panel(
        "Direction",
        sentence=_searched("", direction),
        tiles=_tiles(direction.metrics, direction.chance),
        tables=[Table(["", "value [95 % interval]", "chance"], rows, numeric=(1, 2), note=_NOTE)],
    )


def evaluation_line(evaluation: _Evaluation) -> str:
    """``Evaluation(1,000 pairs, recall@10 41.2 % (chance 1.0 %), MRR 0.312 (chance 0.007))``."""
    seen = f"{evaluation.trained_on:,} trained on" if evaluation.trained_on else ""
    parts = _beside_chance(evaluation.mean, evaluation.chance)
    return one_line("Evaluation", count(evaluation.pairs, "pair"), *parts, seen)


def evaluation_text(evaluation: _Evaluation, *, warning: str) -> str:
    """A small table for a terminal, under 80 columns."""
    columns = _columns(evaluation)
    head = ["", *(cell for name, _, _ in columns for cell in (name, "chance"))]
    rows = [
        [metric_name(metric)]
        + [
            metric_value(metric, value)
            for _, metrics, chance in columns
            for value in (metrics[metric].value, chance[metric])
        ]
        for metric in evaluation.mean
    ]
    lines = [f"{count(evaluation.pairs, 'pair')}, {_seen(evaluation)}", aligned([head, *rows])]
    return "\n".join([*lines, warning] if warning else lines)


def evaluation_panel(evaluation: _Evaluation, *, warning: str) -> Panel:
    """Both directions and their mean, each number beside that of a random order."""
    columns = _columns(evaluation)
    head = ["", *(cell for name, _, _ in columns for cell in (f"{name} [95 %]", "chance"))]
    rows: list[list[Cell]] = [
        [
            metric_name(metric),
            *(
                cell
                for _, metrics, chance in columns
                for cell in (
                    with_interval(metric, metrics[metric]),
                    metric_value(metric, chance[metric]),
                )
            ),
        ]
        for metric in evaluation.mean
    ]
    forth, back = evaluation.source_to_target, evaluation.target_to_source
    return Panel(
        "Evaluation",
        sentence=f"{count(evaluation.pairs, 'pair')}, {_seen(evaluation)}. "
        f"{_searched(f'{columns[0][0]}: ', forth)} {_searched(f'{columns[1][0]}: ', back)}",
        warning=warning,
        tiles=_tiles(evaluation.mean, evaluation.chance),
        tables=[Table(head, rows, numeric=range(1, len(head)), note=_NOTE)],
    )


_NOTE = (
    "Recall depends on the size of the gallery: compare only evaluations of the same pairs. "
    "Chance is a random order of it."
)


def _columns(
    evaluation: _Evaluation,
) -> list[tuple[str, Mapping[str, _Estimate], Mapping[str, float]]]:
    forth, back = evaluation.source_to_target, evaluation.target_to_source
    there, again = directions_of(evaluation.side_names)
    return [
        (there, forth.metrics, forth.chance),
        (again, back.metrics, back.chance),
        ("mean", evaluation.mean, evaluation.chance),
    ]


def _searched(name: str, direction: _Direction) -> str:
    queries = count(len(direction.ids), "query", "queries")
    return f"{name}{queries} among {count(direction.gallery_size, 'item')}."


def _seen(evaluation: _Evaluation) -> str:
    if evaluation.trained_on is None:
        return "not known whether the adapter was fitted on any of them"
    return f"{evaluation.trained_on:,} of them trained on" if evaluation.trained_on else "held out"


def _beside_chance(metrics: Mapping[str, _Estimate], chance: Mapping[str, float]) -> list[str]:
    return [
        f"{metric_name(name)} {metric_value(name, metrics[name].value)} "
        f"(chance {metric_value(name, chance[name])})"
        for name in _HEADLINES
        if name in metrics
    ]


def _tiles(metrics: Mapping[str, _Estimate], chance: Mapping[str, float]) -> list[Tile]:
    return [
        Tile(
            metric_name(name),
            metric_value(name, estimate.value),
            f"chance {metric_value(name, chance[name])}",
        )
        for name, estimate in metrics.items()
    ]
