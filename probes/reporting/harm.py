"""What an adapter spoiled, and what had collapsed before: the first thing that a verdict says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from probes.reporting.numbers import number
from probes.reporting.story import Story, differs_from_null, story

if TYPE_CHECKING:
    from probes.reporting.model import Column, Reading, ReportValues

SMALL_LOSS = 0.01
"""Of recall or of FOSCTTM: a loss that is still called none."""

COLLAPSED_SHARE = 0.2
"""Of the effective rank before: an aligned side that fills less of its dimensions has collapsed."""

COLLAPSED_RANK = 2.0
"""Effective rank below which vectors lie near one line, whatever came before."""

COLLAPSED_COSINE = 0.95
"""Mean cosine of different items above which they all point one way."""

_SIDES: tuple[Literal["source", "target"], ...] = ("source", "target")


def harm(report: ReportValues) -> str:
    """What the adapter lost, as sentences; empty if nothing, or without an adapter.

    Args:
        report: The report.
    """
    return " ".join(filter(None, (_lost_pairs(report), _lost_by_correction(report))))


def collapse(report: ReportValues) -> str:
    """Which sides have collapsed to a line or to one direction, as a sentence; empty if none has.

    Args:
        report: The report.
    """
    after: Column = "aligned" if "aligned" in report.columns else "raw"
    said = {side: _collapsed(report, side, after) for side in _SIDES}
    found = [f"the {side} side {how}" for side, how in said.items() if how]
    if not found:
        return ""
    if after == "raw":
        return f"The vectors have collapsed: {', and '.join(found)}."
    if all(_collapsed(report, side, "raw") for side in _SIDES if said[side]):
        return f"The space has collapsed before alignment: {', and '.join(found)}."
    return f"The adapter collapses the space: {', and '.join(found)}."


def _lost_pairs(report: ReportValues) -> str:
    found = story(report, "recall_at_10")
    if found is not None and _has_lost(found):
        return _loss("recall@10", found)
    for name, label in (
        ("recall_at_1", "recall@1"),
        ("mean_reciprocal_rank", "mean reciprocal rank"),
    ):
        first = story(report, name)
        if first is not None and _has_lost(first):
            return _loss(label, first)
    closer = story(report, "foscttm")
    if closer is None or closer.change is None or closer.change.low <= SMALL_LOSS:
        return ""
    if found is not None and found.has_risen:
        return ""
    return (
        "The adapter moves partners apart: "
        f"{_percent(closer.before)} of the other items were closer than the true match, and "
        f"{_percent(closer.aligned)} are now, by chance 50 %."
    )


def _has_lost(found: Story) -> bool:
    change = found.change
    return change is not None and change.high < 0 and change.value < -SMALL_LOSS


def _loss(label: str, found: Story) -> str:
    assert found.before is not None and found.aligned is not None  # there is a change
    fall = f"{label} falls from {number(found.before.value)} to {number(found.aligned.value)}"
    null = found.aligned.null
    if null is None:
        return f"The adapter harms retrieval: {fall}."
    if differs_from_null(found.aligned) and found.aligned.value > null:
        return f"The adapter harms retrieval: {fall}, by chance {number(null)}."
    return f"The adapter destroys the pairing: {fall}, where chance gives {number(null)}."


def _lost_by_correction(report: ReportValues) -> str:
    found = story(report, "recall_at_10")
    if found is None or found.state != "corrected" or found.aligned is None:
        return ""
    high, low = found.after.high, found.aligned.low
    if high is None or low is None or high >= low:
        return ""
    null = found.after.null
    return (
        "The correction of the search harms retrieval: recall@10 falls from "
        f"{number(found.aligned.value)} aligned to {number(found.after.value)} corrected"
        f"{'' if null is None else f', by chance {number(null)}'}."
    )


def _collapsed(report: ReportValues, side: str, state: Column) -> str:
    """How a side has collapsed in a state; empty if it has not."""
    rows = {row.name: row.readings for row in report.rows}
    ranks = rows.get(f"effective_rank_{side}", {})
    width = report.provenance.source_dim if side == "source" else report.provenance.target_dim
    now = report.provenance.dim if state == "aligned" else width
    rank, before = ranks.get(state), ranks.get("raw")
    if rank is not None and (now or 0) > 3:
        room = min(before.value if before and state != "raw" else 0.0, float(now or 0))
        if rank.value < max(COLLAPSED_RANK, COLLAPSED_SHARE * room):
            return f"fills {number(rank.value)} of {now:,} dimensions"
    # An encoder whose vectors all lie in one cone tells items apart within it: that is no collapse.
    cosines = rows.get(f"mean_cosine_{side}", {})
    then, cosine = cosines.get("raw"), cosines.get(state)
    if state == "raw" or then is None or cosine is None:
        return ""
    if then.value <= COLLAPSED_COSINE < cosine.value:
        return f"points all in one direction, mean cosine {number(cosine.value)}"
    return ""


def _percent(reading: Reading | None) -> str:
    return "" if reading is None else f"{100 * reading.value:.1f} %"
