"""The rows of a report as HTML: the headline numbers, and one table per family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.reporting.headline import Headline, headlines
from probes.reporting.html.escape import escaped
from probes.reporting.model import CONTROL
from probes.reporting.movement import movement
from probes.reporting.numbers import number

if TYPE_CHECKING:
    from probes.reporting.model import Column, Reading, ReportRow, ReportValues

FAMILIES = {
    "offset": "Are the two clouds apart as wholes?",
    "distribution": "Are they of one shape, once the offset is set aside?",
    "pairing": "Does each item find its own partner?",
    "structure": "Do both sides agree on what is near to what?",
    "pathology": "What would spoil a search?",
}

_BETTER = {
    "lower": ("\N{DOWNWARDS ARROW}", "lower is better"),
    "higher": ("\N{UPWARDS ARROW}", "higher is better"),
    "neither": ("", ""),
}


def cards(report: ReportValues) -> str:
    """The headline numbers as a list, before and after; those that were not measured are left out.

    Args:
        report: The report.
    """
    found = [_card(each) for each in headlines(report)]
    return f'{caution(report)}<ul class="cards">{"".join(found)}</ul>' if found else ""


def caution(report: ReportValues) -> str:
    """What must be read beside any value, as a paragraph; empty if there is nothing.

    Args:
        report: The report.
    """
    said = report.caution
    return f'<p class="caution"><strong>{escaped(said)}</strong></p>' if said else ""


def tables(report: ReportValues) -> str:
    """A table for each family of which any probe was run, and the notes to all of them.

    Args:
        report: The report.
    """
    notes = _Notes()
    made = [_family(report, family, notes) for family in FAMILIES]
    return "\n".join([*filter(None, made), notes.html()])


def _family(report: ReportValues, family: str, notes: _Notes) -> str:
    rows = [row for row in report.rows if row.family == family]
    if not rows:
        return ""
    # The same columns in all tables, so that they stand below each other.
    has_change = any(row.change is not None for row in report.rows)
    heads = [f"{column} (control)" if column == CONTROL else column for column in report.columns]
    if has_change:
        heads.insert(_place_of_change(report), "aligned \N{MINUS SIGN} raw")
    body = "\n".join(_row(row, report, notes, has_change) for row in rows)
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    return (
        f'<h3 id="{family}">{family.capitalize()}</h3>\n'
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{family}-caption">'
        '<table class="measures">'
        f'<caption id="{family}-caption"><span>{FAMILIES[family]}</span></caption>'
        f'<thead><tr><th scope="col">Probe</th>{head}</tr></thead>\n<tbody>\n{body}\n'
        "</tbody></table></div>"
    )


class _Notes:
    """Numbers the notes in the order of their first use."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def mark(self, note: str) -> str:
        at = self._seen.setdefault(note, len(self._seen) + 1)
        return f'<sup><a href="#note-{at}" aria-label="note {at}">{at}</a></sup>'

    def html(self) -> str:
        if not self._seen:
            return ""
        listed = "".join(
            f'<li id="note-{at}">{escaped(note[:1].upper() + note[1:].rstrip("."))}.</li>'
            for note, at in self._seen.items()
        )
        return f'<details class="notes" open><summary>Notes</summary><ol>{listed}</ol></details>'


def _card(told: Headline) -> str:
    """Raw and aligned large; what is no headline small below."""
    asides = "; ".join(told.asides)
    besides = "".join(f'<p class="beside">{said}</p>' for said in told.besides)
    return (
        f'<li><h3>{escaped(told.label)}</h3><p class="big">{told.move}</p>'
        f"<p>{escaped(told.states)}{_direction(told.better)}</p><p>{asides}</p>{besides}</li>"
    )


def _place_of_change(report: ReportValues) -> int:
    """Column of the change: beside the two that it is the difference of."""
    return report.columns.index("aligned") + 1 if "aligned" in report.columns else 1


def _row(row: ReportRow, report: ReportValues, notes: _Notes, has_change: bool) -> str:
    cells = [_cell(row, column, report, notes) for column in report.columns]
    if has_change:
        cells.insert(_place_of_change(report), _change(row, report))
    head = f'<th scope="row">{escaped(row.label)}{_direction(row.better)}</th>'
    return f"<tr>{head}{''.join(cells)}</tr>"


def _direction(better: str) -> str:
    arrow, words = _BETTER[better]
    if not arrow:
        return ""
    return (
        f'\N{NO-BREAK SPACE}<span class="better" aria-hidden="true">{arrow}</span>'
        f'<span class="unseen">, {words}</span>'
    )


def _cell(row: ReportRow, column: Column, report: ReportValues, notes: _Notes) -> str:
    found = row.readings.get(column)
    if found is None:
        reason = row.undefined.get(column, "not measured")
        short = reason.partition(":")[0]
        mark = notes.mark(reason) if short != reason else ""
        return f'<td class="undefined">{escaped(short)}{mark}</td>'
    marks = "".join(notes.mark(note) for note in found.notes)
    asides = _asides(found)
    if found.n != report.provenance.pairs:
        asides.append(f"n {found.n:,}")
    lines = "".join(f"<small>{aside}</small>" for aside in asides)
    return f"<td><b>{number(found.value)}</b>{marks}{lines}</td>"


def _asides(found: Reading) -> list[str]:
    """The interval, and what chance gives."""
    asides = []
    if found.low is not None and found.high is not None:
        asides.append(f"[{number(found.low)}, {number(found.high)}]")
    null = [] if found.null is None else [f"null {number(found.null)}"]
    chance = [] if found.p is None else [f"p {number(found.p)}"]
    if null or chance:
        asides.append(", ".join(null + chance))
    return asides


_KINDS = {"better": "good", "worse": "bad", "": ""}


def _change(row: ReportRow, report: ReportValues) -> str:
    change = row.change
    if change is None:
        return '<td class="undefined">\N{EN DASH}</td>'
    word, kind = movement(row, report)
    sign = "+" if change.value > 0 else ""
    return (
        f"<td><b>{sign}{number(change.value)}</b>"
        f"<small>[{number(change.low)}, {number(change.high)}]</small>"
        f'<small class="{_KINDS[kind]}">{word}</small></td>'
    )
