"""What a line, a printed table and a panel say of an evaluation, with chance beside each number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


class _Subgroup(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def pairs(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, _Estimate]: ...
    @property
    def chance(self) -> Mapping[str, float]: ...
    @property
    def minus_others(self) -> Mapping[str, _Estimate]: ...
    @property
    def stands_out(self) -> bool: ...


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
    @property
    def subgroups(self) -> Sequence[_Subgroup]: ...


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
    if evaluation.subgroups:
        lines += ["", subgroup_lines(evaluation.subgroups)]
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
        tables=[
            Table(head, rows, numeric=range(1, len(head)), note=_NOTE),
            *([subgroup_table(evaluation.subgroups)] if evaluation.subgroups else []),
        ],
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


SUBGROUPS = (
    "subgroup", "pairs", "recall@10, % [95 %]", "chance", "MRR [95 %]", "chance",
    "MRR minus others",
)  # fmt: skip
QUERIES_OF_EACH = (
    "Queries of each label, searched among all pairs; both directions. The last interval is wide "
    "enough for all labels together; * where it leaves 0 out."
)


def subgroup_cells(found: Sequence[_Subgroup]) -> list[list[str]]:
    """One row of texts per subgroup, below ``SUBGROUPS``."""
    return [
        [
            each.label,
            f"{each.pairs:,}",
            _bounded(each.metrics["recall_at_10"], lambda x: percent(x).removesuffix(" %")),
            percent(each.chance["recall_at_10"]),
            _bounded(each.metrics["mean_reciprocal_rank"], rounded),
            rounded(each.chance["mean_reciprocal_rank"]),
            _bounded(each.minus_others["mean_reciprocal_rank"], lambda x: f"{x:+.3f}")
            + (" *" if each.stands_out else ""),
        ]
        for each in found
    ]


def subgroup_lines(found: Sequence[_Subgroup]) -> str:
    """A table for a terminal and what its columns are."""
    return f"{aligned([SUBGROUPS, *subgroup_cells(found)])}\n{QUERIES_OF_EACH}"


def subgroup_table(found: Sequence[_Subgroup]) -> Table:
    """The same for a notebook."""
    rows: list[list[Cell]] = [list(row) for row in subgroup_cells(found)]
    return Table(SUBGROUPS, rows, numeric=range(1, len(SUBGROUPS)), note=QUERIES_OF_EACH)


def _bounded(estimate: _Estimate, shown: Callable[[float], str]) -> str:
    value, low, high = map(shown, (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
