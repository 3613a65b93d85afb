"""A report as text: for a terminal, for Markdown, and as a table of numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from align.data.escaping import in_markdown, plain, plain_lines
from probes.reporting.headline import ARROW, Headline, headlines
from probes.reporting.model import CONTROL
from probes.reporting.numbers import interval, number
from probes.reporting.verdict import verdict

if TYPE_CHECKING:
    from pandas import DataFrame

    from probes.reporting.model import Column, Reading, ReportRow, ReportValues

_WIDTH = 240  # no cell of a report wraps
_PROSE = 120
_ARROWS = {"lower": "↓", "higher": "↑", "neither": ""}
NARROW = 120
"""Columns of a terminal below which intervals are shortened and nulls left out."""

_BETTER = "↑ higher is better, ↓ lower is better"
_KEY = f"value [95 % interval] | value with nothing there; {_BETTER}"
_SHORT_KEY = f"value ± half of the 95 % interval; {_BETTER}; a wider window shows nulls"


def printed(report: ReportValues) -> str:
    """What ``print(report)`` shows: verdict, tables, notes, provenance.

    Args:
        report: The report.
    """
    from rich.console import Console

    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(renderable(report, narrow=False))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def renderable(report: ReportValues, *, narrow: bool) -> Any:
    """The same for a rich console, which may colour and wrap it.

    Args:
        report: The report.
        narrow: Shorten the cells, for a terminal below ``NARROW`` columns.
    """
    from rich import box
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    notes = _Notes()
    key, cell = (_SHORT_KEY, _short_cell) if narrow else (_KEY, _cell)
    made = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1), title=Text(_headline_title(report)),
        title_justify="left",
    )  # fmt: skip
    for title in _HEADLINE_HEADS[: 3 if narrow else None]:
        made.add_column(title)
    for each in headlines(report):
        made.add_row(*(Text(plain(part)) for part in _headline(each)[: 3 if narrow else None]))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title=Text(key), title_justify="left")
    table.add_column("")
    for column in report.columns:
        table.add_column(_head(column))
    for family, rows in _families(report):
        table.add_row(Text(family, style="bold"))
        for row in rows:
            cells = [Text(plain(cell(row, column, notes))) for column in report.columns]
            table.add_row(Text(plain(f"  {_label(row)}")), *cells)
    below = [
        Constrain(Text(plain(line), style="dim"), _PROSE)
        for line in (*notes.lines(), *_sources(report))
    ]
    summary = Constrain(Padding(Text(plain_lines(verdict(report))), (0, 0, 1, 0)), _PROSE)
    return Group(summary, *([made] if made.rows else []), table, *below)


def markdown(report: ReportValues) -> str:
    """The verdict, the headline, one table per family, notes and provenance.

    Args:
        report: The report.
    """
    notes = _Notes()
    lines = ["# Modality gap", "", verdict(report), ""]
    told = headlines(report)
    if told:
        lines += [in_markdown(_headline_title(report)), ""]
        lines += _table(_HEADLINE_HEADS, (map(in_markdown, _headline(each)) for each in told))
    lines += [_KEY, ""]
    for family, rows in _families(report):
        lines += [f"## {family.capitalize()}", ""]
        lines += _table(
            ("probe", *map(_head, report.columns)),
            (
                (
                    in_markdown(_label(row)),
                    *(_cell(row, c, notes).replace("|", "\\|") for c in report.columns),
                )
                for row in rows
            ),
        )
    lines += [f"- {in_markdown(line)}" for line in (*notes.lines(), *_sources(report))]
    return "\n".join(lines) + "\n"


def frame(report: ReportValues) -> DataFrame:
    """One line per probe and state: the reading, or why there is none.

    Args:
        report: The report.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ImportError(
            "a data frame needs pandas, which is not installed. Run `pip install pandas`, or use "
            "Report.to_json()."
        ) from error
    lines = []
    for row in report.rows:
        for column in report.columns:
            found = row.readings.get(column)
            lines.append({
                "family": row.family, "probe": row.name, "state": column,
                "value": found and found.value, "low": found and found.low,
                "high": found and found.high, "null": found and found.null,
                "p": found and found.p, "n": found and found.n, "better": row.better,
                "notes": " ".join(found.notes) if found else row.undefined[column],
            })  # fmt: skip
    return DataFrame(lines)


def _table(heads: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table in Markdown, and the empty line below it."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return [*lines, ""]


_HEADLINE_HEADS = ("", "value", "by chance", "state", "besides")


def _headline_title(report: ReportValues) -> str:
    aligned = "aligned" in report.columns
    title = f"Headline, raw before {ARROW} aligned after" if aligned else "Headline, raw"
    return f"{title}. {report.caution}".strip()


def _headline(told: Headline) -> tuple[str, ...]:
    """Cells of one line: the label, the move, chance, the states, and what is no headline."""
    null = "" if told.after.null is None else number(told.after.null)
    arrow = _ARROWS[told.better]
    label = f"{told.label} {arrow}".rstrip()
    return label, told.move, null, told.states, "; ".join(told.besides)


def _head(column: Column) -> str:
    return f"{column} (control)" if column == CONTROL else column


class _Notes:
    """Numbers the notes in the order of their first use."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def mark(self, note: str) -> str:
        return f"({self._seen.setdefault(note, len(self._seen) + 1)})"

    def lines(self) -> Iterator[str]:
        for note, at in self._seen.items():
            yield f"({at}) {note}"


def _families(report: ReportValues) -> Iterator[tuple[str, list[ReportRow]]]:
    order = ("offset", "distribution", "pairing", "structure", "pathology")
    rows = sorted(report.rows, key=lambda row: order.index(row.family))
    for family, members in groupby(rows, key=lambda row: row.family):
        yield family, list(members)


def _label(row: ReportRow) -> str:
    return f"{row.label} {_ARROWS[row.better]}".rstrip()


def _cell(row: ReportRow, column: Column, notes: _Notes) -> str:
    found = row.readings.get(column)
    if found is None:
        return _undefined(row, column, notes)
    null = "" if found.null is None else f" | {number(found.null)}"
    return f"{interval(found)}{null}{_marks(found, notes)}"


def _short_cell(row: ReportRow, column: Column, notes: _Notes) -> str:
    found = row.readings.get(column)
    if found is None:
        return _undefined(row, column, notes)
    half = ""
    if found.low is not None and found.high is not None:
        half = f" ± {number((found.high - found.low) / 2)}"
    return f"{number(found.value)}{half}{_marks(found, notes)}"


def _undefined(row: ReportRow, column: Column, notes: _Notes) -> str:
    # Most probes look at vectors, which a correction of the search leaves as they are.
    return "" if column == "corrected" else f"\N{EN DASH} {notes.mark(row.undefined[column])}"


def _marks(reading: Reading, notes: _Notes) -> str:
    return "".join(f" {notes.mark(note)}" for note in reading.notes)


def _sources(report: ReportValues) -> Iterator[str]:
    made = report.provenance
    yield (
        f"{made.pairs:,} pairs in {made.groups:,} groups of {made.given:,} given; a gallery of "
        f"{made.pairs:,}; {made.draws:,} bootstrap draws of whole groups; seed {made.seed}."
    )
    yield from made.rules
    yield (
        f"Source {made.source_dim}-d, {made.source_encoder or 'encoder unknown'}; target "
        f"{made.target_dim}-d, {made.target_encoder or 'encoder unknown'}."
    )
    yield f"Centred, a control and no result: {made.centring}."
    if made.adapter is not None:
        yield f"Aligned: into {made.dim} dimensions by {made.adapter.rstrip('.')}."
        yield report.about_training
    yield ", ".join(f"{name} {version}" for name, version in made.versions.items()) + "."
