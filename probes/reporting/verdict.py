"""A report in one paragraph: what each family of probes says, and what follows from them together.

What a reader must know first comes first: that pairs were trained on, that the adapter does harm,
that a side has collapsed. No family decides alone. Centroids can meet while nothing is matched, and
clouds can coincide while pairs are shuffled; so that a gap is closed is said only where offset,
distribution and pairing all say so, each against its null.
"""

from __future__ import annotations

from typing import Literal

from probes.reporting.before_after import BeforeAfter, before_after
from probes.reporting.harm import collapse, harm
from probes.reporting.model import ReportValues
from probes.space import Family

_NOTHING = "None of the headline probes was run, so there is nothing to sum up."
_SMALL_EXCESS = 0.01
"""Squared distance above chance that is still called none; unrelated unit vectors are 2 apart."""


def verdict(report: ReportValues) -> str:
    """The paragraph; what was not measured is named, and no sentence speaks of it."""
    sentences = [*filter(None, (_judged(report), *findings(report).values()))]
    if sentences:
        sentences.append(_not_measured(report))
    return f"{report.caution} {' '.join(sentences) or _NOTHING}".strip()


def conclusion(report: ReportValues) -> str:
    """What follows from all families, in a sentence or two; else what the first of them says.

    What was not measured is named. The caution, which stands above all values, is not part of it.
    """
    said = _judged(report) or next(iter(findings(report).values()), "")
    return f"{said} {_not_measured(report)}".strip() if said else _NOTHING


def findings(report: ReportValues) -> dict[Family, str]:
    """What each family of probes says, of those that were run."""
    said: dict[Family, tuple[str, ...]] = {
        "offset": (_offset(report), _mixing(report)),
        "distribution": (_distribution(report),),
        "pairing": (_pairing(report),),
        "pathology": (_pathology(report),),
        "structure": (_structure(report),),
    }
    joined = {family: " ".join(filter(None, sentences)) for family, sentences in said.items()}
    return {family: words for family, words in joined.items() if words}


def _judged(report: ReportValues) -> str:
    return " ".join(filter(None, (harm(report), collapse(report), _conclusion(report))))


_QUESTIONS = {
    "the offset": ("gap_energy_share",),
    "the shape": ("sinkhorn_divergence_centred",),
    "the pairing": ("recall_at_10", "foscttm"),
    "the mixing": ("modality_mixing",),
    "a collapse": ("effective_rank_source", "effective_rank_target"),
}
"""What a conclusion rests on, and the rows of which one at least answers it, or both of a side."""


def _not_measured(report: ReportValues) -> str:
    """Which questions no row of the report answers, as a sentence; empty if each has one."""
    there = {row.name for row in report.rows}
    open_ones = [
        f"{question} ({rows[0]})"
        for question, rows in _QUESTIONS.items()
        if not there.intersection(rows)
    ]
    if not open_ones:
        return ""
    listed = ", ".join(open_ones)
    if there.isdisjoint(_QUESTIONS["the offset"]) or there.isdisjoint(_QUESTIONS["the pairing"]):
        return f"Whether there is a gap is not said: not measured were {listed}."
    return f"Not measured were {listed}."


def _offset(report: ReportValues) -> str:
    share = before_after(report, "gap_energy_share")
    if share is None:
        return ""
    if not share.after.is_beyond_null:
        finding = "the centroids coincide as far as can be told"
    elif _offset_is_small(share):
        finding = "the centroids nearly coincide, though not by chance"
    else:
        finding = "the centroids lie apart"
    return (
        f"Offset: {finding}; which side an item is on explains this share of the variance: "
        f"{share.values}{share.p}."
    )


def _offset_is_small(share: BeforeAfter) -> bool:
    """Whether the share of the variance that the modality explains is surely below 1 %."""
    after = share.after
    return (after.value if after.high is None else after.high) < 0.01


def _mixing(report: ReportValues) -> str:
    mixing = before_after(report, "modality_mixing")
    if mixing is None or mixing.after.null is None:
        return ""
    finding = "near items are of their own side" if _is_sorted(mixing) else "the sides are mixed"
    return (
        f"Mixing: {finding}; of the nearest items this share is of the other side: "
        f"{mixing.values}{mixing.by_chance}{mixing.p}."
    )


def _is_sorted(mixing: BeforeAfter | None) -> bool:
    """Whether items lie nearer to their own side, beyond chance and by more than can matter."""
    if mixing is None or mixing.after.null is None or not mixing.after.is_beyond_null:
        return False
    return mixing.after.value < mixing.after.null - 0.05


def _distribution(report: ReportValues) -> str:
    shape = before_after(report, "sinkhorn_divergence_centred")
    if shape is None:
        return ""
    chance = f" ({shape.by_chance[2:]}{shape.p})" if shape.by_chance else ""
    if _shapes_differ(shape):
        finding = "differ in shape"
        if shape.before and shape.has_fallen and shape.after.excess < shape.before.excess:
            finding += ", less than before"
    elif not shape.after.is_beyond_null or shape.after.excess <= 0:
        finding = "do not differ in shape beyond chance"
    elif shape.after.excess <= _SMALL_EXCESS:
        finding = "do not differ in shape by more than matters"
    else:
        finding = "do not differ in shape for certain, nor are they surely alike"
    return (
        f"Distribution: with the centroids set aside the clouds {finding}; Sinkhorn divergence "
        f"{shape.values}{chance}."
    )


def _shapes_differ(shape: BeforeAfter) -> bool:
    """Whether the clouds differ beyond chance, by p and by interval, by more than can matter.

    Transport is solved for few draws of its null, so that the smallest p is not small; the interval
    tells a difference of many pairs from one that twenty-five pairs show by accident.
    """
    after = shape.after
    is_sure = after.low is None or after.null is None or after.low > after.null
    return shape.after.is_beyond_null and is_sure and shape.after.excess > _SMALL_EXCESS


def _pairing(report: ReportValues) -> str:
    recall, closer = before_after(report, "recall_at_10"), before_after(report, "foscttm")
    parts = []
    if closer is not None:
        parts.append(
            f"{100 * closer.after.value:.1f} % of the other items are closer than the true match "
            f"({closer.state}; 50 % by chance)"
        )
    if recall is not None:
        pairs = report.provenance.pairs
        parts.append(f"recall@10 in a gallery of {pairs:,} is {recall.values}{recall.by_chance}")
    if not parts:
        return ""
    how = {"no": "not ", "seldom": "seldom ", "yes": ""}[_pairs_are_found(recall, closer)]
    return f"Pairing: pairs are {how}found; {', and '.join(parts)}."


def _pairs_are_found(
    recall: BeforeAfter | None, closer: BeforeAfter | None
) -> Literal["no", "seldom", "yes"]:
    """Whether all that was measured says so: a cloud's rough place alone can better FOSCTTM."""
    for measured, sign in ((recall, 1), (closer, -1)):
        if measured is None:
            continue
        if (
            measured.after.null is None
            or not measured.after.is_beyond_null
            or measured.after.excess * sign <= 0
        ):
            return "no"
    # Seldom is below a tenth of the recall that there is above chance.
    if recall is not None and recall.after.excess < 0.1 * (1 - (recall.after.null or 0)):
        return "seldom"
    return "yes"


def _pathology(report: ReportValues) -> str:
    skewness = before_after(report, "hubness_skewness_target")
    if skewness is None or skewness.after.null is None:
        return ""
    crowded = skewness.after.low is not None and skewness.after.low > 1 + skewness.after.null
    finding = "a few hubs crowd the answers" if crowded else "answers are spread over the gallery"
    return f"Hubs: {finding}; skewness of the k-occurrence {skewness.values}{skewness.by_chance}."


def _structure(report: ReportValues) -> str:
    dims = before_after(report, "canonical_dims")
    if dims is None:
        return ""
    count = round(dims.after.value)
    if count == 0:
        return "Structure: no canonical dimension carries over to held-out pairs beyond chance."
    carry = "dimension carries" if count == 1 else "dimensions carry"
    return f"Structure: {count} canonical {carry} over to held-out pairs beyond shuffled ones."


def _conclusion(report: ReportValues) -> str:
    share = before_after(report, "gap_energy_share")
    recall, closer = before_after(report, "recall_at_10"), before_after(report, "foscttm")
    if share is None or (recall is None and closer is None):
        return _without_a_common_space(report)
    found = _pairs_are_found(recall, closer)
    offset_is_gone = _offset_is_small(share) or not share.after.is_beyond_null
    if found == "no":
        if offset_is_gone and "aligned" in report.columns:
            return "However near the clouds are, the two sides are not aligned."
        return "The two sides are not aligned."
    if "aligned" not in report.columns:
        relation = "are only weakly related" if found == "seldom" else "share a space"
        offset = "without an offset" if offset_is_gone else "with an offset between them"
        return f"The two sides {relation}, {offset}."
    if harm(report) or collapse(report):
        return ""  # the conclusion has been said
    if found == "seldom":
        return "The two sides are only weakly aligned: pairs are found above chance, but seldom."
    if recall is not None and recall.before is not None and not recall.has_risen:
        moved = "Only the centroids moved" if share.has_fallen else "The adapter changed little"
        return f"{moved}, and retrieval is no better than before."
    return _what_is_left(report, share, offset_is_gone)


def _what_is_left(report: ReportValues, share: BeforeAfter, offset_is_gone: bool) -> str:
    shape = before_after(report, "sinkhorn_divergence_centred")
    left = [] if offset_is_gone else ["an offset"]
    if shape is not None and _shapes_differ(shape):
        left.append("a difference in shape")
    if _is_sorted(before_after(report, "modality_mixing")):
        left.append("a nearness of items to their own side")
    # Of pairs that were trained on, all is said of these pairs and of no others.
    if left:
        pairs = "On these pairs partners" if report.caution else "Pairs"
        are = "are" if len(left) > 1 else "is"
        return f"{pairs} are found across, and {' and '.join(left)} {are} left."
    the = "On these pairs the" if report.caution else "The"
    if shape is None:
        return f"{the} offset is gone and pairs are found across."
    if shape.after.is_beyond_null and shape.after.excess > _SMALL_EXCESS:
        return (
            f"{the} offset is gone and pairs are found across; "
            "whether the clouds differ in shape is not certain."
        )
    if share.before is not None and not share.before.is_beyond_null:
        return f"{the} clouds lie together as they did, and pairs are found more often."
    return f"{the} gap is closed in offset and in shape, and pairs are found across it."


def _without_a_common_space(report: ReportValues) -> str:
    """What can be said of sides of two widths without an adapter."""
    about = report.provenance
    dims = before_after(report, "canonical_dims")
    if dims is None or about.source_dim == about.target_dim or "aligned" in report.columns:
        return ""
    related = "are related" if dims.after.value >= 1 else "show no relation"
    return (
        f"The two sides {related}, but have no common space before alignment: "
        f"{about.source_dim:,} and {about.target_dim:,} dimensions."
    )
