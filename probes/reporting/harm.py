"""What an adapter spoiled, and what had collapsed before: the first thing that a verdict says."""

from __future__ import annotations

from align.data.sides import SIDES
from probes.reporting.before_after import BeforeAfter, before_after
from probes.reporting.formatting import number, side_name
from probes.reporting.model import Column, ReportValues

_SMALL_LOSS = 0.01  # of recall or of FOSCTTM, still called none


def harm(report: ReportValues) -> str:
    """What the adapter lost, as sentences; empty if nothing, or without an adapter."""
    return " ".join(filter(None, (_lost_pairs(report), _lost_by_correction(report))))


def collapse(report: ReportValues) -> str:
    """Which sides have collapsed to a line or to one direction, as a sentence; empty if none."""
    after: Column = "aligned" if "aligned" in report.columns else "raw"
    collapsed = {side: how for side in SIDES if (how := _collapsed(report, side, after))}
    if not collapsed:
        return ""
    if after == "raw":
        opening = "The vectors have collapsed"
    elif all(_collapsed(report, side, "raw") for side in collapsed):
        opening = "The space has collapsed before alignment"
    else:
        opening = "The adapter collapses the space"
    found = (f"the {side_name(s, report)} side {how}" for s, how in collapsed.items())
    return f"{opening}: {', and '.join(found)}."


def _lost_pairs(report: ReportValues) -> str:
    for name, label in (
        ("recall_at_10", "recall@10"),
        ("recall_at_1", "recall@1"),
        ("mean_reciprocal_rank", "mean reciprocal rank"),
    ):
        lost = before_after(report, name)
        change = lost and lost.change
        if lost and change and change.high < 0 and change.value < -_SMALL_LOSS:
            return _loss(label, lost)
    recall, closer = before_after(report, "recall_at_10"), before_after(report, "foscttm")
    if closer is None or closer.change is None or closer.change.low <= _SMALL_LOSS:
        return ""
    if recall is not None and recall.has_risen:
        return ""
    assert closer.before is not None and closer.aligned is not None  # there is a change
    return (
        "The adapter moves partners apart: "
        f"{100 * closer.before.value:.1f} % of the other items were closer than the true match, "
        f"and {100 * closer.aligned.value:.1f} % are now, by chance 50 %."
    )


def _loss(label: str, lost: BeforeAfter) -> str:
    assert lost.before is not None and lost.aligned is not None  # there is a change
    fall = f"{label} falls from {number(lost.before.value)} to {number(lost.aligned.value)}"
    null = lost.aligned.null
    if null is None:
        return f"The adapter harms retrieval: {fall}."
    if lost.aligned.is_beyond_null and lost.aligned.value > null:
        return f"The adapter harms retrieval: {fall}, by chance {number(null)}."
    return f"The adapter destroys the pairing: {fall}, where chance gives {number(null)}."


def _lost_by_correction(report: ReportValues) -> str:
    recall = before_after(report, "recall_at_10")
    if recall is None or recall.state != "corrected" or recall.aligned is None:
        return ""
    high, low = recall.after.high, recall.aligned.low
    if high is None or low is None or high >= low:
        return ""
    return (
        "The correction of the search harms retrieval: recall@10 falls from "
        f"{number(recall.aligned.value)} aligned to {number(recall.after.value)} corrected"
        f"{recall.by_chance}."
    )


def _collapsed(report: ReportValues, side: str, state: Column) -> str:
    """How a side has collapsed in a state; empty if it has not."""
    readings = {row.name: row.readings for row in report.rows}
    about = report.provenance
    width = about.source_dim if side == "source" else about.target_dim
    dim = (about.dim if state == "aligned" else width) or 0
    ranks = readings.get(f"effective_rank_{side}", {})
    rank, before = ranks.get(state), ranks.get("raw")
    if rank is not None and dim > 3:
        # An aligned side may lose dimensions, but not four fifths of those that it could fill; an
        # effective rank below 2 is near one line, whatever came before.
        possible = min(before.value, dim) if before and state != "raw" else 0.0
        if rank.value < max(2.0, 0.2 * possible):
            return f"fills {number(rank.value)} of {dim:,} dimensions"
    # An encoder whose vectors all lie in one cone tells items apart within it: that is no collapse.
    cosines = readings.get(f"mean_cosine_{side}", {})
    then, now = cosines.get("raw"), cosines.get(state)
    if state != "raw" and then and now and then.value <= 0.95 < now.value:
        return f"points all in one direction, mean cosine {number(now.value)}"
    return ""
