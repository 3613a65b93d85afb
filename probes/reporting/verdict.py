"""A report in one paragraph: what each family of probes says, and what follows from them together.

No family decides alone. Centroids can meet while nothing is matched, and clouds can coincide while
pairs are shuffled; so that a gap is closed is said only where offset, distribution and pairing all
say so, each against its null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.reporting.numbers import interval, number

if TYPE_CHECKING:
    from probes.reporting.document import Change, Column, Reading, Report, Row

SMALL_SHARE = 0.01
"""Share of the variance that a modality label may explain and still be called gone."""

SMALL_EXCESS = 0.01
"""Squared distance above chance that is still called none; unrelated unit vectors are 2 apart."""

SMALL_EXCESS = 0.01
"""Squared distance above chance that is still called none; unrelated unit vectors are 2 apart."""

SMALL_P = 0.05


@dataclass(frozen=True, slots=True)
class _Story:
    """A row from where it starts to where it ends."""

    before: Reading | None
    after: Reading
    state: Column
    change: Change | None

    @property
    def is_beyond_null(self) -> bool:
        """Whether the last value differs from what chance gives."""
        after = self.after
        if after.p is not None:
            return after.p <= SMALL_P
        if after.null is None or after.low is None or after.high is None:
            return False
        return not after.low <= after.null <= after.high

    @property
    def has_fallen(self) -> bool:
        """Whether the value is lower than before, beyond its interval."""
        return self.change is not None and self.change.high < 0

    @property
    def has_risen(self) -> bool:
        """Whether the value is higher than before, beyond its interval."""
        return self.change is not None and self.change.low > 0


def verdict(report: Report) -> str:
    """The paragraph; sentences about probes that were not run are left out.

    Args:
        report: The report.
    """
    sentences = [
        _conclusion(report),
        _offset(report),
        _distribution(report),
        _pairing(report),
        _pathology(report),
        _structure(report),
    ]
    told = " ".join(sentence for sentence in sentences if sentence)
    return told or "None of the headline probes was run, so there is nothing to sum up."


def _story(report: Report, name: str) -> _Story | None:
    """The row of that name, from the raw state to the last one it is defined in."""
    row: Row | None = next((row for row in report.rows if row.name == name), None)
    states: list[Column] = [c for c in report.columns if row is not None and c in row.readings]
    if row is None or not states:
        return None
    # Without an adapter the raw state is the matter at hand; centring is only a what-if.
    last = states[-1] if "aligned" in report.columns else states[0]
    first = row.readings.get("raw") if last != "raw" else None
    return _Story(first, row.readings[last], last, row.change if last == "aligned" else None)


def _move(story: _Story) -> str:
    """``0.43 before, 0.01 [0.00, 0.02] aligned``, or what there is of it."""
    after = f"{interval(story.after)} {story.state}"
    return after if story.before is None else f"{number(story.before.value)} raw, {after}"


def _offset(report: Report) -> str:
    share = _story(report, "gap_energy_share")
    if share is None:
        return ""
    gone = _offset_is_gone(share)
    said = "the centroids coincide" if gone else "the centroids lie apart"
    return (
        f"Offset: {said}; which side an item is on explains this share of the variance: "
        f"{_move(share)}."
    )


def _offset_is_gone(share: _Story) -> bool:
    high = share.after.high if share.after.high is not None else share.after.value
    return high < SMALL_SHARE or not share.is_beyond_null


def _distribution(report: Report) -> str:
    shape = _story(report, "sinkhorn_divergence_centred")
    if shape is None:
        return ""
    chance = f" (by chance {number(shape.after.null)})" if shape.after.null is not None else ""
    said = "differ in shape" if _shapes_differ(shape) else "do not differ in shape beyond chance"
    if shape.before is not None and shape.has_fallen:
        said += ", less than before"
    return (
        f"Distribution: with the centroids set aside the clouds {said}; Sinkhorn divergence "
        f"{_move(shape)}{chance}."
    )


def _shapes_differ(shape: _Story) -> bool:
    """Whether the clouds differ beyond chance by more than can matter."""
    excess = shape.after.value - (shape.after.null or 0)
    return shape.is_beyond_null and excess > SMALL_EXCESS


def _pairing(report: Report) -> str:
    recall, closer = _story(report, "recall_at_10"), _story(report, "foscttm")
    parts = []
    if closer is not None:
        parts.append(
            f"{100 * closer.after.value:.1f} % of the other items are closer than the true match "
            f"({closer.state}; 50 % by chance)"
        )
    if recall is not None:
        chance = f", by chance {number(recall.after.null)}" if recall.after.null is not None else ""
        parts.append(
            f"recall@10 in a gallery of {report.provenance.pairs:,} is {_move(recall)}{chance}"
        )
    if not parts:
        return ""
    found = "pairs are found" if _pairs_are_found(recall, closer) else "pairs are not found"
    return f"Pairing: {found}; {', and '.join(parts)}."


def _pairs_are_found(recall: _Story | None, closer: _Story | None) -> bool:
    """Whether all that was measured says so: a cloud's rough place alone can better FOSCTTM."""
    return all(
        story.is_beyond_null
        and story.after.null is not None
        and (story.after.value - story.after.null) * sign > 0
        for story, sign in ((recall, 1), (closer, -1))
        if story is not None
    )


def _pathology(report: Report) -> str:
    skewness = _story(report, "hubness_skewness_target")
    if skewness is None or skewness.after.null is None:
        return ""
    crowded = skewness.after.low is not None and skewness.after.low > 1 + skewness.after.null
    said = "a few hubs crowd the answers" if crowded else "answers are spread over the gallery"
    return f"Hubs: {said}; skewness of the k-occurrence {_move(skewness)}."


def _structure(report: Report) -> str:
    dims = _story(report, "canonical_dims")
    if dims is None:
        return ""
    count = round(dims.after.value)
    return (
        f"Structure: {count} canonical dimension{'s' * (count != 1)} carry over to held-out pairs "
        "beyond shuffled ones."
    )


def _conclusion(report: Report) -> str:
    share = _story(report, "gap_energy_share")
    shape = _story(report, "sinkhorn_divergence_centred")
    recall, closer = _story(report, "recall_at_10"), _story(report, "foscttm")
    if share is None or (recall is None and closer is None):
        return ""
    found = _pairs_are_found(recall, closer)
    gone = _offset_is_gone(share)
    if not found:
        if gone:
            return "However near the clouds are, the two sides are not aligned."
        return "The two sides are not aligned."
    if "aligned" not in report.columns:
        offset = "without an offset" if gone else "with an offset between them"
        return f"The two sides share a space, {offset}."
    better = recall is None or recall.before is None or _risen(report, "recall_at_10")
    if not better:
        moved = "Only the centroids moved" if share.has_fallen else "The adapter changed little"
        return f"{moved}, and retrieval is no better than before."
    left = [
        what
        for what, there in (
            ("an offset", not gone),
            ("a difference in shape", shape is not None and _shapes_differ(shape)),
        )
        if there
    ]
    if left:
        are = "are" if len(left) > 1 else "is"
        return f"Pairs are found across, and {' and '.join(left)} {are} left."
    if shape is None:
        return "The offset is gone and pairs are found across."
    return "The gap is closed in offset and in shape, and pairs are found across it."


def _risen(report: Report, name: str) -> bool:
    change = report.row(name).change
    return change is not None and change.low > 0
