"""A row of a report from where it starts to where it ends: what a verdict reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.reporting.model import CONTROL
from probes.reporting.numbers import interval, number

if TYPE_CHECKING:
    from probes.reporting.model import Change, Column, Reading, ReportRow, ReportValues

SMALL_P = 0.05


@dataclass(frozen=True, slots=True)
class Story:
    """A row from where it starts to where it ends.

    Attributes:
        before: The raw reading, or ``None`` where that is the last one or not defined.
        after: The last reading, the control left aside.
        state: The state of ``after``.
        aligned: The aligned reading, or ``None``: what ``change`` leads to.
        change: Aligned minus raw, if both are defined.
    """

    before: Reading | None
    after: Reading
    state: Column
    aligned: Reading | None
    change: Change | None

    @property
    def is_beyond_null(self) -> bool:
        """Whether the last value differs from what chance gives."""
        return differs_from_null(self.after)

    @property
    def has_fallen(self) -> bool:
        """Whether the aligned value is lower than the raw one, beyond its interval."""
        return self.change is not None and self.change.high < 0

    @property
    def has_risen(self) -> bool:
        """Whether the aligned value is higher than the raw one, beyond its interval."""
        return self.change is not None and self.change.low > 0

    @property
    def move(self) -> str:
        """``0.43 raw, 0.01 [0.00, 0.02] aligned``, or what there is of it."""
        after = f"{interval(self.after)} {self.state}"
        return after if self.before is None else f"{number(self.before.value)} raw, {after}"


def differs_from_null(reading: Reading) -> bool:
    """Whether a value differs from what chance gives: by its p, or else by its interval.

    Args:
        reading: A reading; one without p, null or interval differs from nothing.
    """
    if reading.p is not None:
        return reading.p <= SMALL_P
    if reading.null is None or reading.low is None or reading.high is None:
        return False
    return not reading.low <= reading.null <= reading.high


def story(report: ReportValues, name: str) -> Story | None:
    """The row of that name, from the raw state to the last one it is defined in.

    Without an adapter the raw state is the matter at hand. The centred state is a control.

    Args:
        report: The report.
        name: Identifier of a probe.

    Returns:
        ``None`` where the probe was not run, or is not defined in any of these states.
    """
    row: ReportRow | None = next((row for row in report.rows if row.name == name), None)
    states: list[Column] = [
        column
        for column in report.columns
        if row is not None and column in row.readings and column != CONTROL
    ]
    if row is None or not states or ("aligned" in report.columns and states == ["raw"]):
        return None
    last = states[-1]
    first = row.readings.get("raw") if last != "raw" else None
    return Story(first, row.readings[last], last, row.readings.get("aligned"), row.change)
