"""How the values of a report are written for people, in text and on a page."""

from __future__ import annotations

from collections.abc import Iterator

from align._display.numbers import number as number
from probes.reporting.model import CONTROL, Column, Reading, ReportRow, ReportValues

ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", "neither": ""}
FAMILIES = {
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


def bounds(reading: Reading) -> str:
    """The 95 % interval, ``[0.41, 0.45]``; empty if there is none."""
    if reading.low is None or reading.high is None:
        return ""
    return f"[{number(reading.low)}, {number(reading.high)}]"


def interval(reading: Reading) -> str:
    """The value with its 95 % interval, if it has one: ``0.43 [0.41, 0.45]``."""
    return f"{number(reading.value)} {bounds(reading)}".rstrip()


def heading(column: Column) -> str:
    """The name of a state above a column."""
    return f"{column} (control)" if column == CONTROL else column


def rows_by_family(report: ReportValues) -> Iterator[tuple[str, list[ReportRow]]]:
    """Each family of which a probe was run, with its rows, in order."""
    for family in FAMILIES:
        if rows := [row for row in report.rows if row.family == family]:
            yield family, rows
