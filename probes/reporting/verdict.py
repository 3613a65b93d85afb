"""A report in one paragraph: what each family of probes says, and what follows from them together.

What a reader must know first comes first: that pairs were trained on, that the adapter does harm,
that a side has collapsed. No family decides alone. Centroids can meet while nothing is matched, and
clouds can coincide while pairs are shuffled; so that a gap is closed is said only where offset,
distribution and pairing all say so, each against its null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from probes.reporting.harm import collapse, harm
from probes.reporting.numbers import number
from probes.reporting.story import Story, differs_from_null, story

if TYPE_CHECKING:
    from probes.reporting.model import Reading, ReportValues

SMALL_SHARE = 0.01
"""Share of the variance that a modality label may explain and still be called small."""

SMALL_EXCESS = 0.01
"""Squared distance above chance that is still called none; unrelated unit vectors are 2 apart."""

WEAK_SHARE = 0.1
"""Recall above chance, as a share of what there is above it, below which pairs are seldom found."""

SMALL_SORTING = 0.05
"""How far below chance the share of near items of the other side may be, and still be mixed."""

Found = Literal["no", "seldom", "yes"]


def verdict(report: ReportValues) -> str:
    """The paragraph; sentences about probes that were not run are left out.

    Args:
        report: The report.
    """
    told = _join(
        harm(report), collapse(report), _conclusion(report), _offset(report), _mixing(report),
        _distribution(report), _pairing(report), _pathology(report), _structure(report),
    )  # fmt: skip
    told = told or "None of the headline probes was run, so there is nothing to sum up."
    return _join(report.caution, told)


def _join(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _offset(report: ReportValues) -> str:
    share = story(report, "gap_energy_share")
    if share is None:
        return ""
    if not share.is_beyond_null:
        said = "the centroids coincide as far as can be told"
    elif _offset_is_small(share):
        said = "the centroids nearly coincide, though not by chance"
    else:
        said = "the centroids lie apart"
    return (
        f"Offset: {said}; which side an item is on explains this share of the variance: "
        f"{share.move}{_p(share)}."
    )


def _p(told: Story) -> str:
    return "" if told.after.p is None else f", p {number(told.after.p)}"


def _offset_is_small(share: Story) -> bool:
    high = share.after.high if share.after.high is not None else share.after.value
    return high < SMALL_SHARE


def _offset_is_gone(share: Story) -> bool:
    return _offset_is_small(share) or not share.is_beyond_null


def _mixing(report: ReportValues) -> str:
    mixing = story(report, "modality_mixing")
    if mixing is None or mixing.after.null is None:
        return ""
    said = "near items are of their own side" if _is_sorted(mixing) else "the sides are mixed"
    return (
        f"Mixing: {said}; of the nearest items this share is of the other side: {mixing.move}, "
        f"by chance {number(mixing.after.null)}{_p(mixing)}."
    )


def _is_sorted(mixing: Story | None) -> bool:
    """Whether items lie nearer to their own side, beyond chance and by more than can matter."""
    if mixing is None or mixing.after.null is None or not mixing.is_beyond_null:
        return False
    return mixing.after.value < mixing.after.null - SMALL_SORTING


def _distribution(report: ReportValues) -> str:
    shape = story(report, "sinkhorn_divergence_centred")
    if shape is None:
        return ""
    null = shape.after.null
    chance = "" if null is None else f" (by chance {number(null)}{_p(shape)})"
    if _shapes_differ(shape):
        said = "differ in shape"
        if (
            shape.before is not None
            and shape.has_fallen
            and _excess(shape) < _excess_of(shape.before)
        ):
            said += ", less than before"
    elif not shape.is_beyond_null or _excess(shape) <= 0:
        said = "do not differ in shape beyond chance"
    elif _excess(shape) <= SMALL_EXCESS:
        said = "do not differ in shape by more than matters"
    else:
        said = "do not differ in shape for certain, nor are they surely alike"
    return (
        f"Distribution: with the centroids set aside the clouds {said}; Sinkhorn divergence "
        f"{shape.move}{chance}."
    )


def _excess(shape: Story) -> float:
    return _excess_of(shape.after)


def _excess_of(reading: Reading) -> float:
    return reading.value - (reading.null or 0)


def _shapes_differ(shape: Story) -> bool:
    """Whether the clouds differ beyond chance, by p and by interval, by more than can matter.

    Transport is solved for few draws of its null, so that the smallest p is not small; the interval
    tells a difference of many pairs from one that twenty-five pairs show by accident.
    """
    after = shape.after
    sure = after.low is None or after.null is None or after.low > after.null
    return shape.is_beyond_null and sure and _excess(shape) > SMALL_EXCESS


def _shapes_are_alike(shape: Story) -> bool:
    return not shape.is_beyond_null or _excess(shape) <= SMALL_EXCESS


def _pairing(report: ReportValues) -> str:
    recall, closer = story(report, "recall_at_10"), story(report, "foscttm")
    parts = []
    if closer is not None:
        parts.append(
            f"{100 * closer.after.value:.1f} % of the other items are closer than the true match "
            f"({closer.state}; 50 % by chance)"
        )
    if recall is not None:
        null = recall.after.null
        chance = "" if null is None else f", by chance {number(null)}"
        parts.append(
            f"recall@10 in a gallery of {report.provenance.pairs:,} is {recall.move}{chance}"
        )
    if not parts:
        return ""
    said = {
        "no": "pairs are not found", "seldom": "pairs are seldom found", "yes": "pairs are found",
    }[_found(recall, closer)]  # fmt: skip
    return f"Pairing: {said}; {', and '.join(parts)}."


def _found(recall: Story | None, closer: Story | None) -> Found:
    """Whether all that was measured says so: a cloud's rough place alone can better FOSCTTM."""
    for told, sign in ((recall, 1), (closer, -1)):
        if told is None:
            continue
        null = told.after.null
        if null is None or not told.is_beyond_null or (told.after.value - null) * sign <= 0:
            return "no"
    if recall is not None and recall.after.null is not None:
        null = recall.after.null
        if recall.after.value - null < WEAK_SHARE * (1 - null):
            return "seldom"
    return "yes"


def _pathology(report: ReportValues) -> str:
    skewness = story(report, "hubness_skewness_target")
    if skewness is None or skewness.after.null is None:
        return ""
    crowded = skewness.after.low is not None and skewness.after.low > 1 + skewness.after.null
    said = "a few hubs crowd the answers" if crowded else "answers are spread over the gallery"
    return (
        f"Hubs: {said}; skewness of the k-occurrence {skewness.move}, "
        f"by chance {number(skewness.after.null)}."
    )


def _structure(report: ReportValues) -> str:
    dims = story(report, "canonical_dims")
    if dims is None:
        return ""
    count = round(dims.after.value)
    if count == 0:
        return "Structure: no canonical dimension carries over to held-out pairs beyond chance."
    carry = "dimension carries" if count == 1 else "dimensions carry"
    return f"Structure: {count} canonical {carry} over to held-out pairs beyond shuffled ones."


def _conclusion(report: ReportValues) -> str:
    share = story(report, "gap_energy_share")
    recall, closer = story(report, "recall_at_10"), story(report, "foscttm")
    if share is None or (recall is None and closer is None):
        return _without_a_common_space(report)
    found, gone = _found(recall, closer), _offset_is_gone(share)
    if found == "no":
        if gone and "aligned" in report.columns:
            return "However near the clouds are, the two sides are not aligned."
        return "The two sides are not aligned."
    if "aligned" not in report.columns:
        offset = "without an offset" if gone else "with an offset between them"
        if found == "seldom":
            return f"The two sides are only weakly related, {offset}."
        return f"The two sides share a space, {offset}."
    if harm(report) or collapse(report):
        return ""  # what was said of these is the conclusion
    if found == "seldom":
        return "The two sides are only weakly aligned: pairs are found above chance, but seldom."
    if recall is not None and recall.before is not None and not recall.has_risen:
        moved = "Only the centroids moved" if share.has_fallen else "The adapter changed little"
        return f"{moved}, and retrieval is no better than before."
    return _what_is_left(report, offset=not gone)


def _what_is_left(report: ReportValues, *, offset: bool) -> str:
    shape = story(report, "sinkhorn_divergence_centred")
    left = ["an offset"] * offset
    if shape is not None and _shapes_differ(shape):
        left.append("a difference in shape")
    if _is_sorted(story(report, "modality_mixing")):
        left.append("a nearness of items to their own side")
    share = story(report, "gap_energy_share")
    before = None if share is None else share.before
    # Of pairs that were trained on, all is said of these pairs and of no others.
    on_these = "On these pairs the" if report.caution else "The"
    if left:
        pairs = "On these pairs partners" if report.caution else "Pairs"
        are = "are" if len(left) > 1 else "is"
        return f"{pairs} are found across, and {' and '.join(left)} {are} left."
    if shape is None:
        return f"{on_these} offset is gone and pairs are found across."
    if not _shapes_are_alike(shape):
        return (
            f"{on_these} offset is gone and pairs are found across; "
            "whether the clouds differ in shape is not certain."
        )
    if before is not None and not differs_from_null(before):
        return f"{on_these} clouds lie together as they did, and pairs are found more often."
    return f"{on_these} gap is closed in offset and in shape, and pairs are found across it."


def _without_a_common_space(report: ReportValues) -> str:
    """What can be said of sides of two widths, of which no adapter was given."""
    made = report.provenance
    dims = story(report, "canonical_dims")
    if dims is None or made.source_dim == made.target_dim or "aligned" in report.columns:
        return ""
    related = "are related" if dims.after.value >= 1 else "show no relation"
    return (
        f"The two sides {related}, but have no common space before alignment: "
        f"{made.source_dim:,} and {made.target_dim:,} dimensions."
    )
