"""The numbers of a comparison as people read them, and the verdict in words."""

from __future__ import annotations

from dataclasses import replace

from align._display.numbers import number
from align.metrics.comparison.values import (
    ComparisonRow,
    ComparisonValues,
    Difference,
    Score,
)

ARROWS = {
    "lower": "\N{DOWNWARDS ARROW}",
    "higher": "\N{UPWARDS ARROW}",
    "neither": "",
}
MINUS = "\N{MINUS SIGN}"


def verdict(comparison: ComparisonValues) -> str:
    """What is shown of each system beside the baseline, a sentence or two for each."""
    return " ".join(_sentence(comparison, name) for name in comparison.others)


def _sentence(comparison: ComparisonValues, system: str) -> str:
    baseline = comparison.baseline
    rows = [row for row in comparison.deciding if row.outcome(system)]
    if not rows:
        return f"Nothing that decides could be compared between {system} and {baseline}."
    lead = next((row for row in rows if row.name == comparison.lead), None)
    rest = _listed([row for row in rows if row is not lead], system)
    if lead is None:
        return f"{system} beside {baseline}: {rest}."
    outcome, difference = lead.outcome(system), lead.differences[system]
    if outcome == "no difference shown":
        first = f"No difference in partners found is shown between {system} and {baseline}"
    elif outcome == "better":
        first = f"{system} finds more partners than {baseline}"
    else:
        first = f"{baseline} finds more partners than {system}"
        difference = _turned(difference)
    points = " points" if lead.is_share else ""
    first += f": {_lower(lead.label)} {shown_difference(lead, difference)}{points}."
    return f"{first} Besides, {system} is {rest}." if rest else first


def _listed(rows: list[ComparisonRow], system: str) -> str:
    """``better in MRR; no difference is shown in recall@1``, or what there is of it."""
    words = {
        "better": "better in {}",
        "worse": "worse in {}",
        "differs": "other, neither better nor worse, in {}",
        "no difference shown": "not shown to differ in {}",
    }
    parts = []
    for outcome, sentence in words.items():
        labels = [_inside(row.label) for row in rows if row.outcome(system) == outcome]
        if labels:
            parts.append(sentence.format(", ".join(labels)))
    return "; ".join(parts)


def _inside(label: str) -> str:
    """A label in a list: ``Hubness skewness, target`` becomes ``Hubness skewness (target)``."""
    name, comma, detail = label.partition(", ")
    return f"{name} ({detail})" if comma else name


def _lower(label: str) -> str:
    """A label inside a sentence: ``Recall@10`` becomes ``recall@10``, ``MRR`` stays."""
    return label[0].lower() + label[1:] if label[1:2].islower() else label


def _turned(difference: Difference) -> Difference:
    """The same difference seen from the other side."""
    low, high = difference.low, difference.high
    return replace(
        difference,
        value=-difference.value,
        low=None if high is None else -high,
        high=None if low is None else -low,
    )


def heading(row: ComparisonRow) -> str:
    """The label with its unit and an arrow towards better: ``Recall@10 (%) ↑``."""
    return f"{row.label}{' (%)' if row.is_share else ''} {ARROWS[row.better]}".rstrip()


def shown(row: ComparisonRow, value: float) -> str:
    """A value in the unit of its row, without a sign that is not needed."""
    if not row.is_share:
        return number(value)
    text = f"{abs(100 * value):.1f}"
    return (MINUS if value < 0 and text.strip("0.") else "") + text


def _signed(row: ComparisonRow, value: float) -> str:
    text = shown(row, value)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def shown_score(row: ComparisonRow, score: Score) -> str:
    """``43.2 [40.1, 46.0]``, the value with its 95 % interval, if it has one."""
    if score.low is None or score.high is None:
        return shown(row, score.value)
    return f"{shown(row, score.value)} [{shown(row, score.low)}, {shown(row, score.high)}]"


def shown_difference(row: ComparisonRow, difference: Difference) -> str:
    """``+3.1 [1.2, 5.0]``, with a sign, and the interval if there is one."""
    value = _signed(row, difference.value)
    if difference.low is None or difference.high is None:
        return value
    return f"{value} [{shown(row, difference.low)}, {shown(row, difference.high)}]"


def shown_p(difference: Difference) -> str:
    """``p 0.012``, adjusted; empty where there is none."""
    if difference.p_holm is None:
        return ""
    if difference.p_holm < 0.001:
        return "p < 0.001"
    return f"p {difference.p_holm:.2g}" if difference.p_holm < 1 else "p 1"


def shown_chance(row: ComparisonRow) -> str:
    """What chance gives, ``2.0``, or one number per system where they differ; empty if unknown."""
    texts = [shown(row, s.chance) for s in row.scores.values() if s.chance is not None]
    return " / ".join(dict.fromkeys(texts))


def shown_outcome(row: ComparisonRow, system: str) -> str:
    """``better, p 0.012``; empty where nothing can be said."""
    difference = row.differences.get(system)
    if difference is None:
        return ""
    parts = [row.outcome(system), difference.caveat, shown_p(difference)]
    if not difference.is_paired:
        parts.append("unpaired")
    return ", ".join(filter(None, parts))
