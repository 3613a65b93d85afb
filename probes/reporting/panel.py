"""A report as notebooks show it: verdict, headline, families to unfold, worst searches, hubs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import TypeVar

from align._display.parts import Cell, Folded, Panel, Table, Tile
from align.data.item_cells import item_cell
from align.data.sides import Side
from align.metrics.panels import subgroup_table
from probes.reporting.about import about_or_none
from probes.reporting.before_after import Headline, headlines
from probes.reporting.formatting import (
    ARROWS,
    FAMILIES,
    Notes,
    bounds,
    defined,
    effect,
    heading,
    label,
    last,
    number,
    rows_by_family,
    searched_by,
    sides_of,
    undefined,
)
from probes.reporting.items import ReportItems
from probes.reporting.model import Failure, Hub, ReportRow, ReportValues
from probes.reporting.verdict import conclusion, findings
from probes.space import Family

_Listed = TypeVar("_Listed", Failure, Hub)

WORST = 3  # failures shown of each direction of search
HUBS = 3  # hubs likewise


def report_panel(report: ReportValues, items: ReportItems | None) -> Panel:
    """What a notebook shows of a report, with these items behind its ids if they are known."""
    about = report.provenance
    states = "raw and aligned" if "aligned" in report.columns else "raw"
    listed = [table for table in (_failures(report, items), _hubs(report, items)) if table.rows]
    return Panel(
        f"Modality gap of {about.pairs:,} pairs, {' and '.join(report.side_names)}, {states}",
        conclusion(report),
        report.caution,
        [_tile(each) for each in headlines(report)],
        # What is seen comes before what is read.
        tables=listed if items else (),
        folded=[
            *_subgroups(report),
            *_families(report),
            *(() if items else (Folded(table.title, [table]) for table in listed)),
            Folded("What was measured", [_provenance(report)]),
        ],
    )


def _tile(headline: Headline) -> Tile:
    name = f"{headline.label} {ARROWS[headline.better]}".rstrip()
    after, words = headline.after, [bounds(headline.after)]
    words += ["" if after.null is None else f"by chance {number(after.null)}"]
    words += [f"effect {effect(after)}" if effect(after) else ""]
    return Tile(name, headline.span, "; ".join(filter(None, words)))


def _subgroups(report: ReportValues) -> Iterator[Folded]:
    if report.subgroups:
        yield Folded(f"By subgroup ({report.searched})", [subgroup_table(report.subgroups)])


def _families(report: ReportValues) -> Iterator[Folded]:
    said, notes = findings(report), Notes()
    for family, rows in rows_by_family(report):
        count = f"{len(rows)} {'probe' if len(rows) == 1 else 'probes'}"
        summary = f"{family.capitalize()}: {FAMILIES[family]} ({count})"
        yield Folded(summary, [_family(report, family, rows, notes, said.get(family, ""))])


def _family(
    report: ReportValues, family: Family, rows: Sequence[ReportRow], notes: Notes, said: str
) -> Table:
    shown = defined(rows, report)
    columns = ("probe", *map(heading, shown), "95 % interval", "chance", "p", "effect")
    numeric = tuple(range(1, len(columns)))
    cells, marked = [], dict[int, str]()
    for row in rows:
        for reading in (row.readings[column] for column in shown if column in row.readings):
            marked |= {notes.number(note): note for note in reading.notes}
        words = about_or_none(row.name)
        cells.append((*_numbers(row, report, shown, notes), words.meaning if words else ""))
    note = " ".join((said, *(f"({at}) {text}" for at, text in sorted(marked.items()))))
    return Table((*columns, "what it means"), cells, numeric=numeric, note=note.strip())


def _numbers(
    row: ReportRow, report: ReportValues, shown: Sequence[str], notes: Notes
) -> Iterator[str]:
    readings = [row.readings[column] for column in shown if column in row.readings]
    marks = sorted({notes.number(note) for reading in readings for note in reading.notes})
    yield " ".join((f"{label(row, report)} {ARROWS[row.better]}", *(f"({at})" for at in marks)))
    for column in shown:
        reading = row.readings.get(column)
        yield "\N{EN DASH}" if reading is None else number(reading.value)
    end = last(row, report)
    if end is None:
        yield from ("", "", "", "")
        return
    yield bounds(end)
    yield "" if end.null is None else number(end.null)
    yield "" if end.p is None else number(end.p)
    yield effect(end)


def _failures(report: ReportValues, items: ReportItems | None) -> Table:
    worst = list(_first_of_each(report.failures, WORST))
    searched = f", {report.searched}" if report.searched else ""
    columns = ("rank", "search", "query", "its match", "what came first")
    rows: list[Sequence[Cell]] = []
    for each in worst:
        query, gallery = sides_of(each.direction)
        cells: list[Cell] = [each.rank, searched_by(each.direction, report)]
        cells.append(_item(items, query, each.id))
        if items:
            cells.append(_item(items, gallery, each.id))
        rows.append((*cells, _item(items, gallery, each.best_id)))
    shown = columns if items else (*columns[:3], columns[4])
    note = "" if items else "report.with_items(pairs) shows the texts and pictures behind the ids."
    return Table(shown, rows, f"Worst-ranked searches{searched}", (0,), note)


def _hubs(report: ReportValues, items: ReportItems | None) -> Table:
    k = report.provenance.k
    rows: list[Sequence[Cell]] = [
        (
            _item(items, sides_of(hub.direction)[1], hub.id),
            searched_by(hub.direction, report),
            hub.count,
            hub.wrong,
        )
        for hub in _first_of_each(report.hubs, HUBS)
    ]
    columns = ("item", "search", f"times in a top {k}", "of these wrong")
    return Table(columns, rows, f"Hubs, where {k} times would be chance", (2, 3))


def _item(items: ReportItems | None, side: Side, id: str) -> Cell:
    return id if items is None else item_cell(items.side(side)[id])


def _first_of_each(listed: Sequence[_Listed], most: int) -> Iterator[_Listed]:
    """The first few of each direction, by direction."""
    in_order = sorted(listed, key=lambda each: each.direction)  # stable
    for _, group in groupby(in_order, key=lambda each: each.direction):
        yield from islice(group, most)


def _provenance(report: ReportValues) -> Table:
    about = report.provenance
    encoders = (about.source_encoder, about.target_encoder)
    widths = (about.source_dim, about.target_dim)
    facts = {"pairs": f"{about.pairs:,} of {about.given:,}, in {about.groups:,} groups"}
    for name, width, encoder in zip(report.side_names, widths, encoders, strict=True):
        facts[name] = f"{width:,} dimensions, {encoder or 'encoder unknown'}"
    facts |= {"rules": " ".join(about.rules), "adapter": about.adapter or ""}
    facts |= {"trained on": report.about_training, "states": " ".join(undefined(report))}
    facts["draws"] = f"{about.draws:,} bootstrap draws of whole groups; seed {about.seed}"
    facts["effect"] = "the share of the way from chance to as far as the value can go"
    return Table(("what", ""), [(name, text) for name, text in facts.items() if text])
