"""How the values of a report are written for people, in text and on a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from align._display.numbers import number as number
from align.data.sides import SIDES, Side, directions_of
from probes.reporting.model import (
    CONTROL,
    Column,
    Direction,
    Reading,
    ReportRow,
    ReportValues,
)
from probes.space import Family

ARROW = "\N{RIGHTWARDS ARROW}"
ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", "neither": ""}
FAMILIES: dict[Family, str] = {
    "offset": "Are the two clouds apart as wholes?",
    "distribution": "Are they of one shape, once the offset is set aside?",
    "pairing": "Does each item find its own partner?",
    "structure": "Do both sides agree on what is near to what?",
    "pathology": "What would spoil a search?",
}
"""The question of each family of probes, in order."""


class Notes:
    """Numbers notes in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, note: str) -> int:
        """The number of a note, from 1."""
        return self._numbers.setdefault(note, len(self._numbers) + 1)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return ((number, note) for note, number in self._numbers.items())


def effect(reading: Reading) -> str:
    """How far the value is from chance, ``62 %`` of the way it could go; empty if not known."""
    if reading.effect is None:
        return ""
    size = abs(reading.effect)
    text = f"{100 * size:.1f}" if size < 0.0995 else f"{100 * size:,.0f}"
    sign = "\N{MINUS SIGN}" if reading.effect < 0 and text != "0.0" else ""
    return f"{sign}{'0' if text == '0.0' else text}\N{NO-BREAK SPACE}%"


def bounds(reading: Reading) -> str:
    """The 95 % interval, ``[0.41, 0.45]``; empty if there is none."""
    if reading.low is None or reading.high is None:
        return ""
    return f"[{number(reading.low)}, {number(reading.high)}]"


def interval(reading: Reading) -> str:
    """The value with its 95 % interval, if it has one: ``0.43 [0.41, 0.45]``."""
    return f"{number(reading.value)} {bounds(reading)}".rstrip()


def label(row: ReportRow, report: ReportValues) -> str:
    """What to call a row; a side that is part of its name is called as the reader calls it."""
    side = row.name.rpartition("_")[2]
    if side not in SIDES:
        return row.label
    return re.sub(rf"\b{side}\b", lambda _: side_name(side, report), row.label)


def side_name(side: str, report: ReportValues) -> str:
    """What the reader calls the side, ``caption`` for ``source``."""
    return report.side_names[SIDES.index(side)]


def searched_by(direction: Direction, report: ReportValues) -> str:
    """A direction of search in the names of the reader, ``caption → image``."""
    forth, back = directions_of(report.side_names)
    return forth if sides_of(direction)[0] == "source" else back


def sides_of(direction: Direction) -> tuple[Side, Side]:
    """The side that searches, and the side that is searched."""
    return ("source", "target") if direction == "source to target" else ("target", "source")


def heading(column: Column) -> str:
    """The name of a state above a column."""
    return f"{column} (control)" if column == CONTROL else column


def rows_by_family(report: ReportValues) -> Iterator[tuple[Family, list[ReportRow]]]:
    """Each family of which a probe is defined in some state, with those rows, in order."""
    for family in FAMILIES:
        if rows := [row for row in report.rows if row.family == family and row.readings]:
            yield family, rows


def defined(rows: Sequence[ReportRow], report: ReportValues) -> tuple[Column, ...]:
    """The states in which at least one of the rows is defined, in order."""
    return tuple(c for c in report.columns if any(c in row.readings for row in rows))


def last(row: ReportRow, report: ReportValues) -> Reading | None:
    """The reading of the last state that a search would use, the control aside."""
    return next(
        (row.readings[c] for c in reversed(report.columns) if c != CONTROL and c in row.readings),
        None,
    )


def undefined(report: ReportValues) -> list[str]:
    """Which states are not defined and why, a sentence for each reason."""
    found: dict[str, tuple[dict[Column, None], dict[str, None]]] = {}
    for row in report.rows:
        for column in report.columns:
            if column in row.undefined:
                states, labels = found.setdefault(row.undefined[column], ({}, {}))
                states[column] = labels[label(row, report)] = None
    sentences = []
    for reason, (states, labels) in found.items():
        # Where many probes share a reason, it is a matter of the states and not of the probes.
        which = f"{' and '.join(labels)}: " if len(labels) <= 2 else ""
        opening = f"{which}{' and '.join(states)} {'are' if len(states) > 1 else 'is'}"
        sentences.append(f"{opening[:1].upper()}{opening[1:]} {reason.rstrip('.')}.")
    return sentences
