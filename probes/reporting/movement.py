"""What a change from raw to aligned may be called: better and worse have to be earned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from probes.reporting.model import ReportRow, ReportValues

Kind = Literal["better", "worse", ""]

_SAME_CHANCE = 0.1
"""Of a change: what chance gives may have changed by so much, and the change still be judged."""


def movement(row: ReportRow, report: ReportValues) -> tuple[str, Kind]:
    """What to call the change of a row, in words, and whether that is praise or blame.

    A change is neither where it is within its interval; where no direction is better; where the
    value depends on the number of dimensions and that has changed, on how far apart the vectors
    lie, or on the raw state itself; where chance gives another value than before; and where the
    value was at chance, or beyond it, before and after. The last is for offset and distribution,
    whose best value is that of chance: a classifier of modality with an AUC of 0.2 is no better
    news than one of 0.5.

    Args:
        row: A row with a change.
        report: The report.

    Returns:
        Words, and ``"better"``, ``"worse"`` or ``""``.
    """
    change = row.change
    assert change is not None  # rows without a change have no such cell
    if change.low <= 0 <= change.high:
        return "no clear change", ""
    if row.better == "neither":
        return "changed", ""
    made = report.provenance
    if row.scale == "width" and {made.source_dim, made.target_dim} != {made.dim}:
        return "changed, as did the width", ""
    if row.scale == "raw":
        return "perfect when raw by definition", ""
    if row.scale == "spread":
        return "changed, as do all cosines", ""
    before, after = row.readings["raw"], row.readings["aligned"]
    gain = change.value if row.better == "higher" else -change.value
    if before.null is not None and after.null is not None:
        if abs(after.null - before.null) > _SAME_CHANCE * abs(change.value):
            return "changed, as did chance", ""
        if row.family in ("offset", "distribution"):
            sign = 1 if row.better == "higher" else -1
            gain = min(sign * (after.value - after.null), 0) - min(
                sign * (before.value - before.null), 0
            )
    if gain == 0:
        return "at chance before and after", ""
    return ("better", "better") if gain > 0 else ("worse", "worse")
