"""The rows of a report as HTML: the headline numbers, and one table per family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.page.markup import escaped
from probes.reporting.numbers import number

if TYPE_CHECKING:
    from probes.reporting.document import Column, Reading, Report, Row

HEADLINES = (
    "gap_energy_share",
    "sinkhorn_divergence_centred",
    "foscttm",
    "recall_at_10",
    "hubness_skewness_target",
    "canonical_energy",
)

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


def cards(report: Report) -> str:
    """The headline numbers as a list; those that were not measured are left out.

    Args:
        report: The report.
    """
    named = {row.name: row for row in report.rows if row.readings}
    found = [_card(named[name], report) for name in HEADLINES if name in named]
    return f'<ul class="cards">{"".join(found)}</ul>' if found else ""


def tables(report: Report) -> str:
    """A table for each family of which any probe was run, and the notes to all of them.

    Args:
        report: The report.
    """
    notes = _Notes()
    made = [_family(report, family, notes) for family in FAMILIES]
    return "\n".join([*filter(None, made), notes.html()])


def _family(report: Report, family: str, notes: _Notes) -> str:
    rows = [row for row in report.rows if row.family == family]
    if not rows:
        return ""
    # The same columns in all tables, so that they stand below each other.
    has_change = any(row.change is not None for row in report.rows)
    heads = [*report.columns, *(["aligned \N{MINUS SIGN} raw"] if has_change else [])]
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


def _card(row: Row, report: Report) -> str:
    columns = [column for column in report.columns if column in row.readings]
    last = columns[-1]
    found = row.readings[last]
    earlier = ", ".join(f"{column} {number(row.readings[column].value)}" for column in columns[:-1])
    before = f"<p>{earlier}</p>" if earlier else ""
    return (
        f'<li><h3>{escaped(row.label)}</h3><p class="big">{number(found.value)}</p>'
        f"<p>{last}{_direction(row)}</p><p>{'; '.join(_asides(found))}</p>{before}</li>"
    )


def _row(row: Row, report: Report, notes: _Notes, has_change: bool) -> str:
    cells = [_cell(row, column, report, notes) for column in report.columns]
    if has_change:
        cells.append(_change(row))
    head = f'<th scope="row">{escaped(row.label)}{_direction(row)}</th>'
    return f"<tr>{head}{''.join(cells)}</tr>"


def _direction(row: Row) -> str:
    arrow, words = _BETTER[row.better]
    if not arrow:
        return ""
    return (
        f'\N{NO-BREAK SPACE}<span class="better" aria-hidden="true">{arrow}</span>'
        f'<span class="unseen">, {words}</span>'
    )


def _cell(row: Row, column: Column, report: Report, notes: _Notes) -> str:
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


def _change(row: Row) -> str:
    change = row.change
    if change is None:
        return '<td class="undefined">\N{EN DASH}</td>'
    if change.low <= 0 <= change.high:
        word, kind = "no clear change", ""
    elif row.better == "neither":
        word, kind = "changed", ""
    elif (change.value < 0) == (row.better == "lower"):
        word, kind = "better", "good"
    else:
        word, kind = "worse", "bad"
    sign = "+" if change.value > 0 else ""
    return (
        f"<td><b>{sign}{number(change.value)}</b>"
        f"<small>[{number(change.low)}, {number(change.high)}]</small>"
        f'<small class="{kind}">{word}</small></td>'
    )
