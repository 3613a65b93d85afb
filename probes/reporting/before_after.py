"""Each value raw before and aligned after: the headline, and what a change may be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from probes.reporting.formatting import ARROW, bounds, effect, interval, label, number
from probes.reporting.model import CONTROL, Change, Column, Reading, ReportRow, ReportValues
from probes.space import Better, Family, Scale

HEADLINES = (
    "gap_energy_share",
    "sinkhorn_divergence_centred",
    "foscttm",
    "recall_at_10",
    "hubness_skewness_target",
    "canonical_energy",
)


@dataclass(frozen=True, slots=True)
class Headline:
    """One of the few values that a reader came for: raw before, aligned after."""

    name: str
    label: str
    better: Literal["lower", "higher", "neither"]
    before: Reading | None  # raw; None where it is not defined or nothing came after it
    after: Reading  # aligned, or raw without an adapter, as ``state`` says
    state: Column
    no_before: str  # why there is no raw value beside an aligned one, in a few words, or empty
    corrected: Reading | None  # with the search corrected
    centred: Reading | None  # of the control

    @property
    def values(self) -> str:
        """``0.408 → 0.014``, or the one value that there is."""
        after = number(self.after.value)
        return after if self.before is None else f"{number(self.before.value)} {ARROW} {after}"

    @property
    def span(self) -> str:
        """``values``, with a dash before where an aligned value has none raw: ``– → 0.014``."""
        return f"\N{EN DASH} {ARROW} {self.values}" if self.no_before else self.values

    @property
    def states(self) -> str:
        """``raw → aligned``, the states of ``values``."""
        if self.before is not None:
            return f"raw {ARROW} {self.state}"
        return self.state if not self.no_before else f"{self.state}; raw {self.no_before}"

    @property
    def uncertainty(self) -> tuple[str, ...]:
        """Interval, chance, p and effect of the last value, each in a few words."""
        after, parts = self.after, []
        if bounds(after):
            parts.append(f"{self.state} {bounds(after)}")
        if after.null is not None:
            parts.append(f"by chance {number(after.null)}")
        if after.p is not None:
            parts.append(f"p\N{NO-BREAK SPACE}{number(after.p)}")
        if effect(after):
            parts.append(f"effect {effect(after)}")
        return tuple(parts)

    @property
    def other_states(self) -> tuple[str, ...]:
        """The values that are no headline: of the corrected search, and of the control."""
        labelled = (
            ("with the search corrected", self.corrected),
            ("centred, a control:", self.centred),
        )
        return tuple(f"{label} {number(r.value)}" for label, r in labelled if r is not None)


def headlines(report: ReportValues) -> list[Headline]:
    """The headline of each of ``HEADLINES`` that was measured raw or aligned, in order.

    A report of no more rows than that was asked for just these: each of them is a headline.

    Sides of two widths have no cosine before alignment. The aligned value then stands alone, with
    the reason, beside what chance gives: that is where a search without an adapter would stand.
    """
    rows = {row.name: row for row in report.rows}
    listed = []
    for name in HEADLINES if len(rows) > len(HEADLINES) else rows:
        row = rows.get(name)
        raw, aligned = (row.readings.get(state) if row else None for state in ("raw", "aligned"))
        after = aligned or raw
        if row is None or after is None:
            continue
        reason = row.undefined.get("raw", "not measured").partition(":")[0]
        listed.append(
            Headline(
                row.name,
                label(row, report),
                row.better,
                before=raw if aligned else None,
                after=after,
                state="aligned" if aligned else "raw",
                no_before="" if raw else reason,
                corrected=row.readings.get("corrected"),
                centred=row.readings.get(CONTROL),
            )
        )
    return listed


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """A row from the raw state to the last one it is defined in: what a verdict reads."""

    before: Reading | None  # raw; None where that is the last one or not defined
    after: Reading  # the last, that of ``state``; the control left aside
    state: Column
    aligned: Reading | None  # what ``change`` leads to
    change: Change | None  # aligned minus raw, if both are defined

    @property
    def has_fallen(self) -> bool:
        """Whether the aligned value is lower than the raw one, beyond its interval."""
        return self.change is not None and self.change.high < 0

    @property
    def has_risen(self) -> bool:
        """Whether the aligned value is higher than the raw one, beyond its interval."""
        return self.change is not None and self.change.low > 0

    @property
    def values(self) -> str:
        """``0.43 raw, 0.01 [0.00, 0.02] aligned``, or what there is of it."""
        after = f"{interval(self.after)} {self.state}"
        return after if self.before is None else f"{number(self.before.value)} raw, {after}"

    @property
    def by_chance(self) -> str:
        """``, by chance 0.01``; empty where that is not known."""
        return "" if self.after.null is None else f", by chance {number(self.after.null)}"

    @property
    def p(self) -> str:
        """``, p 0.01``; empty where that is not known."""
        return "" if self.after.p is None else f", p {number(self.after.p)}"


def before_after(report: ReportValues, name: str) -> BeforeAfter | None:
    """The row of that name, from the raw state to the last one it is defined in.

    Without an adapter the raw state is the last. The centred state, a control, never is. ``None``
    where the probe was not run, or is not defined in any of these states.
    """
    row = next((row for row in report.rows if row.name == name), None)
    if row is None:
        return None
    states = [c for c in report.columns if c in row.readings and c != CONTROL]
    if not states or ("aligned" in report.columns and states == ["raw"]):
        return None
    last = states[-1]
    first = row.readings.get("raw") if last != "raw" else None
    return BeforeAfter(first, row.readings[last], last, row.readings.get("aligned"), row.change)


def describe_change(
    row: ReportRow, report: ReportValues
) -> tuple[str, Literal["better", "worse", ""]]:
    """What to call the change of a row, in words, and whether that is praise or blame.

    A change is neither where it is within its interval; where no direction is better; where the
    value depends on the number of dimensions and that has changed, on how far apart the vectors
    lie, or on the raw state itself; where chance gives another value than before; and where the
    value was at chance, or beyond it, before and after. The last is for offset and distribution,
    whose best value is that of chance: a classifier of modality with an AUC of 0.2 is no better
    news than one of 0.5.
    """
    change = row.change
    assert change is not None  # rows without a change have no such cell
    if change.low <= 0 <= change.high:
        return "no clear change", ""
    about = report.provenance
    before, after = row.readings["raw"], row.readings["aligned"]
    same_width = {about.source_dim, about.target_dim} == {about.dim}
    reason = unjudged(row, before, after, same_width=same_width, with_raw=True)
    if reason:
        return _REASONS[reason], ""
    return ("better", "better") if (change.value > 0) == (row.better == "higher") else _WORSE


_WORSE: tuple[str, Literal["worse"]] = ("worse", "worse")
_REASONS = {
    "direction": "changed",
    "width": "changed, as did the width",
    "raw": "perfect when raw by definition",
    "spread": "changed, as do all cosines",
    "chance": "changed, as did chance",
    "at chance": "at chance before and after",
}


class Judged(Protocol):
    """What of a probe says whether a difference is better or worse."""

    @property
    def family(self) -> Family: ...
    @property
    def better(self) -> Better: ...
    @property
    def scale(self) -> Scale: ...


def unjudged(
    probe: Judged, first: Reading, second: Reading, *, same_width: bool, with_raw: bool
) -> Literal["", "direction", "width", "raw", "spread", "chance", "at chance"]:
    """Why a difference of two readings of a probe is neither better nor worse; empty if it is one.

    Args:
        probe: What was read.
        first: One reading.
        second: The other.
        same_width: Whether both were read in spaces of one width.
        with_raw: Whether one of them was read in the raw state.
    """
    if probe.better == "neither":
        return "direction"
    if probe.scale == "width" and not same_width:
        return "width"
    if probe.scale == "raw" and with_raw:
        return "raw"
    if probe.scale == "spread":
        return "spread"
    if first.null is None or second.null is None:
        return ""
    if abs(second.null - first.null) > 0.1 * abs(second.value - first.value):
        return "chance"
    sign = 1 if probe.better == "higher" else -1
    if probe.family in ("offset", "distribution") and (
        min(sign * first.excess, 0) == min(sign * second.excess, 0)
    ):
        return "at chance"
    return ""
