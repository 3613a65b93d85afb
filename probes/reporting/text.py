"""A report as text: for a terminal, for Markdown, and as a table of numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from align._display.escaping import in_markdown, plain, plain_lines
from probes.reporting.before_after import ARROW, Headline, headlines
from probes.reporting.formatting import ARROWS, Notes, heading, interval, number, rows_by_family
from probes.reporting.verdict import verdict

if TYPE_CHECKING:
    from pandas import DataFrame

    from probes.reporting.model import Column, ReportRow, ReportValues

NARROW = 120  # columns of a terminal below which intervals are shortened and nulls left out
_HEADLINE_COLUMNS = ("", "value", "by chance", "state", "besides")
_BETTER = "↑ higher is better, ↓ lower is better"
_KEY = f"value [95 % interval] | value with nothing there; {_BETTER}"
_SHORT_KEY = f"value ± half of the 95 % interval; {_BETTER}; a wider window shows nulls"


def printed(report: ReportValues) -> str:
    """What ``print(report)`` shows: verdict, tables, notes, provenance."""
    from rich.console import Console

    # So wide that no cell wraps.
    console = Console(file=io.StringIO(), width=240, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(renderable(report, narrow=False))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def renderable(report: ReportValues, *, narrow: bool) -> Any:
    """The same for a rich console, which may colour and wrap it; cells are short if ``narrow``."""
    from rich import box
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    def table(title: str, *columns: str) -> Table:
        return Table(*columns, box=box.SIMPLE_HEAD, title=Text(title), title_justify="left")

    def row_of(cells: Iterable[str]) -> list[Text]:
        return [Text(plain(cell)) for cell in cells]

    notes = Notes()
    shown = 3 if narrow else len(_HEADLINE_COLUMNS)
    first = table(_headline_title(report), *_HEADLINE_COLUMNS[:shown])
    for headline in headlines(report):
        first.add_row(*row_of(_headline_cells(headline)[:shown]))
    main = table(_SHORT_KEY if narrow else _KEY, "", *map(heading, report.columns))
    for family, rows in rows_by_family(report):
        main.add_row(Text(family, style="bold"))
        for row in rows:
            cells = (_cell(row, column, notes, narrow=narrow) for column in report.columns)
            main.add_row(*row_of((f"  {_label(row)}", *cells)))
    prose = 120  # columns
    below = [
        Constrain(Text(plain(line), style="dim"), prose)
        for line in (*_numbered(notes), *_provenance(report))
    ]
    summary = Constrain(Padding(Text(plain_lines(verdict(report))), (0, 0, 1, 0)), prose)
    return Group(summary, *([first] if first.rows else []), main, *below)


def markdown(report: ReportValues) -> str:
    """The verdict, the headline, one table per family, notes and provenance."""
    notes = Notes()
    lines = ["# Modality gap", "", verdict(report), ""]
    if listed := headlines(report):
        lines += [in_markdown(_headline_title(report)), ""]
        lines += _table(
            _HEADLINE_COLUMNS, (map(in_markdown, _headline_cells(headline)) for headline in listed)
        )
    lines += [_KEY, ""]
    for family, rows in rows_by_family(report):
        lines += [f"## {family.capitalize()}", ""]
        table = []
        for row in rows:
            cells = [_cell(row, column, notes).replace("|", "\\|") for column in report.columns]
            table.append([in_markdown(_label(row)), *cells])
        lines += _table(("probe", *map(heading, report.columns)), table)
    lines += [f"- {in_markdown(line)}" for line in (*_numbered(notes), *_provenance(report))]
    return "\n".join(lines) + "\n"


def frame(report: ReportValues) -> DataFrame:
    """One line per probe and state: the reading, or why there is none."""
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
            reading = row.readings.get(column)
            line: dict[str, Any] = {"family": row.family, "probe": row.name, "state": column}
            for field in ("value", "low", "high", "null", "p", "n"):
                line[field] = getattr(reading, field, None)
            line["better"] = row.better
            line["notes"] = " ".join(reading.notes) if reading else row.undefined[column]
            lines.append(line)
    return DataFrame(lines)


def _table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table in Markdown, and the empty line below it."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return [*lines, ""]


def _headline_title(report: ReportValues) -> str:
    aligned = "aligned" in report.columns
    title = f"Headline, raw before {ARROW} aligned after" if aligned else "Headline, raw"
    return f"{title}. {report.caution}".strip()


def _headline_cells(headline: Headline) -> tuple[str, ...]:
    null = "" if headline.after.null is None else number(headline.after.null)
    besides = "; ".join(headline.other_states)
    return _label(headline), headline.values, null, headline.states, besides


def _label(row: ReportRow | Headline) -> str:
    return f"{row.label} {ARROWS[row.better]}".rstrip()


def _cell(row: ReportRow, column: Column, notes: Notes, *, narrow: bool = False) -> str:
    reading = row.readings.get(column)
    if reading is None:
        # Most probes look at vectors, which a correction of the search leaves as they are.
        if column == "corrected":
            return ""
        return f"\N{EN DASH} ({notes.number(row.undefined[column])})"
    if not narrow:
        null = "" if reading.null is None else f" | {number(reading.null)}"
        text = f"{interval(reading)}{null}"
    elif reading.low is not None and reading.high is not None:
        text = f"{number(reading.value)} ± {number((reading.high - reading.low) / 2)}"
    else:
        text = number(reading.value)
    return " ".join((text, *(f"({notes.number(note)})" for note in reading.notes)))


def _numbered(notes: Notes) -> Iterator[str]:
    return (f"({at}) {note}" for at, note in notes)


def _provenance(report: ReportValues) -> Iterator[str]:
    about = report.provenance
    yield (
        f"{about.pairs:,} pairs in {about.groups:,} groups of {about.given:,} given; a gallery of "
        f"{about.pairs:,}; {about.draws:,} bootstrap draws of whole groups; seed {about.seed}."
    )
    yield from about.rules
    yield (
        f"Source {about.source_dim}-d, {about.source_encoder or 'encoder unknown'}; target "
        f"{about.target_dim}-d, {about.target_encoder or 'encoder unknown'}."
    )
    yield f"Centred, a control and no result: {about.centring}."
    if about.adapter is not None:
        yield f"Aligned: into {about.dim} dimensions by {about.adapter.rstrip('.')}."
        yield report.about_training
    yield ", ".join(f"{name} {version}" for name, version in about.versions.items()) + "."
