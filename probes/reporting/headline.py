"""The few values that a reader came for: raw before, aligned after, and what chance gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from probes.reporting.model import CONTROL
from probes.reporting.numbers import number

if TYPE_CHECKING:
    from probes.reporting.model import Column, Reading, ReportRow, ReportValues

HEADLINES = (
    "gap_energy_share",
    "sinkhorn_divergence_centred",
    "foscttm",
    "recall_at_10",
    "hubness_skewness_target",
    "canonical_energy",
)

ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True, slots=True)
class Headline:
    """One value from where it starts to where it ends.

    Attributes:
        name: Identifier of the probe.
        label: What a reader sees.
        better: Which direction is better.
        before: The raw reading, or ``None`` where it is not defined or nothing came after it.
        after: The aligned reading; the raw one without an adapter.
        state: The state of ``after``.
        no_before: Why there is no raw value beside an aligned one, in a few words; empty where
            there is one.
        corrected: The reading with the search corrected, if there is one.
        centred: The reading of the control, if there is one.
    """

    name: str
    label: str
    better: Literal["lower", "higher", "neither"]
    before: Reading | None
    after: Reading
    state: Column
    no_before: str
    corrected: Reading | None
    centred: Reading | None

    @property
    def move(self) -> str:
        """``0.408 → 0.014``, or the one value that there is."""
        after = number(self.after.value)
        return after if self.before is None else f"{number(self.before.value)} {ARROW} {after}"

    @property
    def states(self) -> str:
        """``raw → aligned``, in words that go with ``move``."""
        if self.before is not None:
            return f"raw {ARROW} {self.state}"
        return self.state if not self.no_before else f"{self.state}; raw {self.no_before}"

    @property
    def asides(self) -> tuple[str, ...]:
        """Interval, chance, p and notes of the last value, each in a few words."""
        after, said = self.after, []
        if after.low is not None and after.high is not None:
            said.append(f"{self.state} [{number(after.low)}, {number(after.high)}]")
        if after.null is not None:
            said.append(f"by chance {number(after.null)}")
        if after.p is not None:
            said.append(f"p\N{NO-BREAK SPACE}{number(after.p)}")
        return tuple(said)

    @property
    def besides(self) -> tuple[str, ...]:
        """The other states, which are no headline: the corrected search, and the control."""
        said = []
        if self.corrected is not None:
            said.append(f"with the search corrected {number(self.corrected.value)}")
        if self.centred is not None:
            said.append(f"centred, a control: {number(self.centred.value)}")
        return tuple(said)


def headlines(report: ReportValues) -> list[Headline]:
    """The headline of each of ``HEADLINES`` that was measured raw or aligned, in order.

    Sides of two widths have no cosine before alignment. The aligned value then stands alone, with
    the reason, beside what chance gives: that is where a search without an adapter would stand.

    Args:
        report: The report.
    """
    named = {row.name: row for row in report.rows}
    found = [_headline(named[name]) for name in HEADLINES if name in named]
    return [each for each in found if each is not None]


def _headline(row: ReportRow) -> Headline | None:
    raw, aligned = row.readings.get("raw"), row.readings.get("aligned")
    after = aligned or raw
    if after is None:
        return None
    reason = ""
    if raw is None:
        reason = row.undefined.get("raw", "not measured").partition(":")[0]
    return Headline(
        row.name, row.label, row.better,
        None if aligned is None else raw, after, "raw" if aligned is None else "aligned", reason,
        row.readings.get("corrected"), row.readings.get(CONTROL),
    )  # fmt: skip
