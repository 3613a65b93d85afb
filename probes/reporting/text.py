"""A report as text: for a terminal, for Markdown, as a few lines, and as a table of numbers."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from align._display.escaping import in_markdown, plain, plain_lines
from align._display.lines import aligned, one_line
from align.metrics.panels import QUERIES_OF_EACH, SUBGROUPS, subgroup_cells
from probes.reporting.before_after import Headline, headlines
from probes.reporting.formatting import (
    ARROW,
    ARROWS,
    FAMILIES,
    Notes,
    bounds,
    defined,
    effect,
    heading,
    interval,
    label,
    last,
    number,
    rows_by_family,
    side_name,
    undefined,
)
from probes.reporting.model import CONTROL
from probes.reporting.verdict import conclusion, verdict

if TYPE_CHECKING:
    from pandas import DataFrame

    from probes.reporting.model import Column, Reading, ReportRow, ReportValues
    from probes.space import Family

WIDTH = 100  # most columns that a report is printed in
_WITH_INTERVALS = 96  # columns from which a table also shows intervals
_SHORTEST = 12  # columns that the names of probes have at least
_GAP = 2  # columns between two cells
_BETTER = "↑ higher is better, ↓ lower is better"
_CHANCE = "Chance is the value with nothing there"
_EFFECT = "effect the share of the way from chance to as far as the value can go"
_KEY = f"value [95 % interval]; {_BETTER}. {_CHANCE}, p how often chance does as much, {_EFFECT}."
_SIGNS = f"{_BETTER}. {_CHANCE}, {_EFFECT}."
_OF_LAST = "Interval, chance and effect are of the last state but the control."
_ENDS = ("95 % interval", "chance", "effect")
_INDENT = "  "  # of rows below the name of their family
_FEW = 3  # rows of a family in a print, besides the headline
_LEAST = 0.01  # effect of such a row, a share of the way
_NOTES = 2  # notes in a print
_REASONS = 2  # reasons why something is not defined, likewise

REST = 'All of it: report.to_frame(), report.to_markdown(), report.save("gap.html").'
"""Where a print says that the rest of a report is."""


def printed(report: ReportValues, width: int | None = None, *, rest: str = REST) -> str:
    """What ``print(report)`` shows: verdict, headline, and a few values of each family.

    ``width`` in columns is that of the terminal if left out, and at most ``WIDTH``; ``rest`` says
    where everything else is to be had.
    """
    if width is None:
        width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH)
    return _as_text(renderable(report, width, rest=rest), width)


def printed_whole(report: ReportValues, width: int) -> str:
    """The same with a table per family, every note and all of the provenance."""
    notes = Notes()
    families = [_family_sheet(report, *each, notes) for each in rows_by_family(report)]
    tables = _tables([_headline_sheet(report), _subgroup_sheet(report), *families], width)
    below = (f"{_SIGNS} {_OF_LAST}", *_numbered(notes), *undefined(report), *_provenance(report))
    return _as_text(_page(report, tables, below, width), width)


def renderable(report: ReportValues, width: int, *, rest: str = REST) -> Any:
    """What ``printed`` gives for a rich console of so many columns, which may colour it."""
    width, notes = min(width, WIDTH), Notes()
    few = _few_sheet(report, notes)
    tables = _tables([_headline_sheet(report), _subgroup_sheet(report), few], width)
    # A family is a row of its own.
    shown = len(headlines(report)) + sum(row[0].startswith(_INDENT) for row in few.rows)
    said, states = list(_numbered(notes)), undefined(report)
    left = [f"notes from ({_NOTES + 1}) on"] if len(said) > _NOTES else []
    left += ["more reasons why values are not defined"] if len(states) > _REASONS else []
    besides = f", and there are {' and '.join(left)}" if left else ""
    below = (
        _SIGNS,
        *said[:_NOTES],
        *states[:_REASONS],
        next(_provenance(report)),
        *([report.about_training] if report.about_training else []),
        f"Shown are {shown:,} of {len(report.rows):,} rows{besides}. {rest}",
    )
    return _page(report, tables, below, width)


def summary(report: ReportValues) -> str:
    """What to say of a report in a few lines: what follows, and the headline beside chance."""
    about = report.provenance
    title = f"Modality gap of {about.pairs:,} pairs, {' and '.join(report.side_names)}"
    lines = [plain(f"{title}, {_states(report)}."), *filter(None, [report.caution])]
    lines.append(plain(conclusion(report)))
    rows = [(each.label, each.span, _chance(each)) for each in headlines(report)]
    return "\n".join((*lines, aligned(rows, indent="  "))).rstrip()


def line(report: ReportValues) -> str:
    """What ``repr(report)`` shows."""
    about = report.provenance
    found = {each.name: each for each in headlines(report)}.get("recall_at_10")
    recall = "" if found is None else f"recall@10 {found.span}"
    names = " and ".join(report.side_names)
    return one_line("Report", f"{about.pairs:,} pairs", names, _states(report), recall)


def markdown(report: ReportValues) -> str:
    """The verdict, the headline, one table per family, notes and provenance."""
    notes = Notes()
    lines = ["# Modality gap", "", verdict(report), ""]
    if listed := headlines(report):
        lines += [in_markdown(_headline_title(report)), ""]
        columns = ("", _states(report), *_ENDS, "besides")
        rows = ((*_headline_cells(each), "; ".join(each.other_states)) for each in listed)
        lines += _table(columns, (map(in_markdown, row) for row in rows))
    if report.subgroups:
        lines += ["## By subgroup", "", QUERIES_OF_EACH, ""]
        lines += _table(
            SUBGROUPS, (map(in_markdown, row) for row in subgroup_cells(report.subgroups))
        )
    lines += [_KEY, ""]
    for family, rows_of_family in rows_by_family(report):
        lines += [f"## {family.capitalize()}", ""]
        shown, table = defined(rows_of_family, report), []
        for row in rows_of_family:
            cells = [_full_cell(row, column, notes).replace("|", "\\|") for column in shown]
            table.append([in_markdown(_named(row, report)), *cells])
        lines += _table(("probe", *map(heading, shown)), table)
    below = (*_numbered(notes), *undefined(report), *_provenance(report))
    lines += [f"- {in_markdown(each)}" for each in below]
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
            entry: dict[str, Any] = {"family": row.family, "probe": row.name, "state": column}
            for field in ("value", "low", "high", "null", "p", "effect", "n"):
                entry[field] = getattr(reading, field, None)
            entry["better"] = row.better
            entry["notes"] = " ".join(reading.notes) if reading else row.undefined[column]
            lines.append(entry)
    return DataFrame(lines)


class _Sheet(NamedTuple):
    """A table of a print: names to the left, numbers to the right."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @property
    def numbers(self) -> int:
        """Columns of the terminal that all but the names take, and the gaps before them."""
        widest = (max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True))
        return sum(size + _GAP for size in list(widest)[1:])

    def without_intervals(self) -> _Sheet:
        """The same without its third column from the right."""
        cut = [(*row[:-3], *row[-2:]) for row in (self.columns, *self.rows)]
        return _Sheet(self.title, cut[0], cut[1:])


def _as_text(page: Any, width: int) -> str:
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=width, color_system=None, highlight=False, force_jupyter=False
    )
    with console.capture() as captured:
        console.print(page)
    return "\n".join(each.rstrip() for each in captured.get().splitlines())


def _page(report: ReportValues, tables: Sequence[Any], below: Iterable[str], width: int) -> Any:
    """The verdict, the tables, and faint lines below them."""
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.padding import Padding
    from rich.text import Text

    summary = Padding(Text(plain_lines(verdict(report))), (0, 0, 1, 0))
    lines = (Text(plain(each), style="dim") for each in below)
    return Constrain(Group(summary, *tables, *lines), width)


def _tables(sheets: Sequence[_Sheet], width: int) -> list[Any]:
    """The sheets that have rows as tables, whose names are all of one width."""
    headline, *others = sheets
    if width < _WITH_INTERVALS:
        others = [sheet.without_intervals() for sheet in others]
    shown = [sheet for sheet in (headline, *others) if sheet.rows]
    longest = max((len(row[0]) for sheet in shown for row in sheet.rows), default=0)
    room = width - 2 - max((sheet.numbers for sheet in shown), default=0)
    return [_rich_table(sheet, max(min(longest, room), _SHORTEST)) for sheet in shown]


def _headline_sheet(report: ReportValues) -> _Sheet:
    rows = [_headline_cells(each) for each in headlines(report)]
    return _Sheet(_headline_title(report), ("", _states(report), *_ENDS), rows)


def _few_sheet(report: ReportValues, notes: Notes) -> _Sheet:
    """The first rows of each family that differ from chance, those of the headline left aside.

    The control is left out, as it is no result, and so is what differs by next to nothing.
    """
    above = {each.name for each in headlines(report)}
    kept = []
    for family, rows in rows_by_family(report):
        others = (row for row in rows if row.name not in above)
        differ = (row for row in others if _differs(last(row, report)))
        kept.append((family, list(islice(differ, _FEW))))
    every = [row for _, rows in kept for row in rows]
    shown = tuple(column for column in defined(every, report) if column != CONTROL)
    listed: list[tuple[str, ...]] = []
    for family, rows in kept:
        if rows:
            listed.append((family.capitalize(), *[""] * (len(shown) + len(_ENDS))))
            cells = (_cells(row, report, shown, notes) for row in rows)
            listed += [(_INDENT + name, *numbers) for name, *numbers in cells]
    title = f"Besides, up to {_FEW} of each family that differ from chance"
    return _Sheet(title, ("", *shown, *_ENDS), listed)


def _subgroup_sheet(report: ReportValues) -> _Sheet:
    """Recall of the pairs of each label, the most frequent first."""
    rows: list[tuple[str, ...]] = []
    for each, (name, pairs, *_, minus_others) in zip(
        report.subgroups, subgroup_cells(report.subgroups), strict=True
    ):
        recall = each.metrics["recall_at_10"]
        span = f"[{number(recall.low)}, {number(recall.high)}]"
        chance = number(each.chance["recall_at_10"])
        rows.append((name, pairs, number(recall.value), span, chance, minus_others))
    columns = ("", "pairs", "recall@10", "95 % interval", "chance", "MRR minus others")
    title = f"By subgroup ({report.searched}), each searched among all; * where it differs"
    return _Sheet(title, columns, rows)


def _differs(reading: Reading | None) -> bool:
    if reading is None or not reading.is_beyond_null:
        return False
    return reading.effect is None or abs(reading.effect) >= _LEAST


def _family_sheet(
    report: ReportValues, family: Family, rows: Sequence[ReportRow], notes: Notes
) -> _Sheet:
    shown = defined(rows, report)
    listed = [_cells(row, report, shown, notes) for row in rows]
    title = f"{family.capitalize()}. {FAMILIES[family]}"
    return _Sheet(title, ("", *shown, *_ENDS), listed)


def _cells(
    row: ReportRow, report: ReportValues, shown: Sequence[Column], notes: Notes
) -> tuple[str, ...]:
    """A row of a table: its name with its notes, the value of each state, and how it ends."""
    readings = [row.readings[column] for column in shown if column in row.readings]
    numbers = sorted({notes.number(note) for each in readings for note in each.notes})
    name = " ".join((_named(row, report), *(f"({at})" for at in numbers)))
    end = last(row, report)
    ends = (bounds(end), _null(end), effect(end)) if end else ("", "", "")
    return (name, *(_value(row, column) for column in shown), *ends)


def _rich_table(sheet: _Sheet, names: int) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        title=Text(sheet.title),
        title_justify="left",
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),  # the box has one column between two
    )
    table.add_column(Text(sheet.columns[0]), width=names, overflow="fold")
    for column in sheet.columns[1:]:
        table.add_column(Text(column), justify="right", no_wrap=True)
    for cells in sheet.rows:
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table in Markdown, and the empty line below it."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return [*lines, ""]


def _headline_title(report: ReportValues) -> str:
    return f"Headline. {report.caution}" if report.caution else "Headline"


def _states(report: ReportValues) -> str:
    return f"raw {ARROW} aligned" if "aligned" in report.columns else "raw"


def _headline_cells(headline: Headline) -> tuple[str, ...]:
    after = headline.after
    name = f"{headline.label} {ARROWS[headline.better]}".rstrip()
    return name, headline.span, bounds(after), _null(after), effect(after)


def _chance(headline: Headline) -> str:
    null = _null(headline.after)
    return f"by chance {null}" if null else ""


def _null(reading: Reading) -> str:
    return "" if reading.null is None else number(reading.null)


def _named(row: ReportRow, report: ReportValues) -> str:
    return f"{label(row, report)} {ARROWS[row.better]}".rstrip()


def _value(row: ReportRow, column: Column) -> str:
    reading = row.readings.get(column)
    return "\N{EN DASH}" if reading is None else number(reading.value)


def _full_cell(row: ReportRow, column: Column, notes: Notes) -> str:
    reading = row.readings.get(column)
    if reading is None:
        return "\N{EN DASH}"
    numbers = [f"({notes.number(note)})" for note in reading.notes]
    parts = [" ".join((interval(reading), *numbers))]
    if reading.null is not None:
        parts.append(f"chance {number(reading.null)}")
    if reading.p is not None:
        parts.append(f"p {number(reading.p)}")
    if effect(reading):
        parts.append(f"effect {effect(reading)}")
    return "; ".join(parts)


def _numbered(notes: Notes) -> Iterator[str]:
    return (f"({at}) {note}" for at, note in notes)


def _provenance(report: ReportValues) -> Iterator[str]:
    about = report.provenance
    yield (
        f"{about.pairs:,} pairs in {about.groups:,} groups of {about.given:,} given; a gallery of "
        f"{about.pairs:,}; {about.draws:,} bootstrap draws of whole groups; seed {about.seed}."
    )
    yield from about.rules
    source, target = (side_name(side, report) for side in ("source", "target"))
    yield (
        f"{source[:1].upper()}{source[1:]} {about.source_dim}-d, "
        f"{about.source_encoder or 'encoder unknown'}; {target} "
        f"{about.target_dim}-d, {about.target_encoder or 'encoder unknown'}."
    )
    yield f"Centred, a control and no result: {about.centring}."
    if about.adapter is not None:
        yield f"Aligned: into {about.dim} dimensions by {about.adapter.rstrip('.')}."
        yield report.about_training
    yield ", ".join(f"{name} {version}" for name, version in about.versions.items()) + "."
