"""One look at a training set before it is fitted on: what repeats, what does not fit, what it is.

Nothing is removed: the report has a decision for each row, and ``kept`` names the rows that a
cleaned set would hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from align._display.escaping import plain
from align._display.interruption import saying_what_is_kept
from align._display.lines import count, one_line, percent, quoted
from align._display.panel import Cell, Folded, Panel, Table, Tile, render
from align._display.progress import progress_bar
from align.curation.duplicates import Duplicates, equal_items, near_vectors
from align.curation.minhash import near_texts
from align.curation.mismatches import CUT, Mismatches, mismatches
from align.curation.mixing import Composition, composition
from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs

Decision = Literal["keep", "drop", "suspect"]
NEAR_TEXT = 0.9
NEAR_VECTOR = 0.98


@dataclass(frozen=True, slots=True)
class Finding:
    """The decision on one pair.

    ``score`` is the similarity to the earlier pair for a repeat, in [0, 1]; for a suspect, the
    share of false pairs that fit as well; ``None`` for a pair to keep.
    """

    id: str
    decision: Decision  # "drop" for a repeat, "suspect" for a pair that may not belong together
    reason: str = ""  # in words; empty for a pair to keep
    of: str = ""  # id of the earlier pair that it repeats; empty unless it is dropped
    score: float | None = None

    def __repr__(self) -> str:
        of = f"of {quoted(self.of, 30)}" if self.of else ""
        return one_line("Finding", quoted(self.id, 30), self.decision, of, self.reason)


@dataclass(frozen=True, slots=True, eq=False)
class CurationReport:
    """What a set of pairs holds and which of them deserve a look.

    Attributes:
        findings: One entry per pair, in order.
        composition: Pairs by modality.
        shared: Items that occur in kept pairs of several groups, source and target side: as
            negatives of each other these pairs would be wrong, so tie them together with a group.
        mismatched: How well the pairs in ``kept`` fit, in that order.
    """

    findings: tuple[Finding, ...]
    composition: Composition
    shared: tuple[int, int]
    mismatched: Mismatches

    @property
    def kept(self) -> Tensor:
        """Rows to keep, suspects included, int64."""
        return self._rows("keep", "suspect")

    @property
    def unsuspected(self) -> Tensor:
        """Rows to keep if no suspect is looked at, int64."""
        return self._rows("keep")

    def _rows(self, *decisions: Decision) -> Tensor:
        rows = [row for row, each in enumerate(self.findings) if each.decision in decisions]
        return torch.tensor(rows, dtype=torch.int64)

    def __repr__(self) -> str:
        dropped = len(self.findings) - len(self.kept)
        suspects = len(self.kept) - len(self.unsuspected)
        return one_line(
            "CurationReport",
            count(len(self.findings), "pair"),
            f"{dropped:,} dropped",
            count(suspects, "suspect"),
            f"about {percent(self.mismatched.share)} mismatched",
        )

    def _repr_html_(self) -> str:
        return render(curation_panel(self))

    def __str__(self) -> str:
        lines = [f"{len(self.findings):,} pairs", "", str(self.composition), ""]
        lines += [f"{count:,} dropped: {plain(reason)}" for reason, count in self.reasons("drop")]
        lines += [
            f"{count:,} suspects: {plain(reason)}" for reason, count in self.reasons("suspect")
        ]
        lines.append(f"about {100 * self.mismatched.share:.1f} % of those kept are mismatched")
        for side, several in zip(("source", "target"), self.shared, strict=True):
            if several:
                lines.append(f"{several:,} {side} items are in several groups; tie them by a group")
        lines.append(f"{len(self.kept):,} kept, {len(self.unsuspected):,} without suspects")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Counts and composition, ready for JSON; the findings are a table of their own."""
        return {
            "pairs": len(self.findings),
            "kept": len(self.kept),
            "unsuspected": len(self.unsuspected),
            "dropped": dict(self.reasons("drop")),
            "suspects": dict(self.reasons("suspect")),
            "mismatched_share": self.mismatched.share,
            "shared_items": {"source": self.shared[0], "target": self.shared[1]},
            "composition": self.composition.to_dict(),
        }

    def reasons(self, decision: Decision) -> list[tuple[str, int]]:
        """Why pairs got a decision, and how many for each reason."""
        return sorted(Counter(f.reason for f in self.findings if f.decision == decision).items())


def curate(
    pairs: Pairs,
    data: PairedEmbeddings,
    *,
    near_text: float = NEAR_TEXT,
    near_vector: float = NEAR_VECTOR,
    cut: float = CUT,
    seed: int = 0,
    progress: bool | None = None,
) -> CurationReport:
    """Look for repeats, then, among what is left, for pairs that do not belong together.

    A pair repeats another only if both of its sides do: several captions of one photo stay. Repeats
    are exact ones; near ones by text, if both sides are texts; and near ones by vector.

    Args:
        pairs: The items.
        data: Their embeddings, row by row.
        near_text: Least Jaccard similarity of near-duplicate texts, in (0, 1].
        near_vector: Least cosine of near-duplicate vectors, in (0, 1].
        cut: Share of false pairs that fit as well, from which a pair is a suspect, in (0, 1].
        seed: Seeds the folds.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Raises:
        ValueError: ``pairs`` and ``data`` do not name the same rows, or an option is out of range.
    """
    if pairs.ids != data.ids:
        raise ValueError(
            "pairs and data must hold the same pairs in the same order; got "
            f"{len(pairs)} pairs {list(pairs.ids[:3])}... and {len(data)} {list(data.ids[:3])}... "
            "Pass what pairs.encode gave."
        )
    findings = [Finding(name, "keep") for name in pairs.ids]
    rows = torch.arange(len(pairs))

    def dropped(repeats: Duplicates) -> Tensor:
        for at in repeats.dropped.tolist():
            row, other = int(rows[at]), pairs.ids[int(rows[repeats.stands_in[at]])]
            similarity = float(repeats.similarity[at])
            findings[row] = Finding(pairs.ids[row], "drop", repeats.rule, other, similarity)
        return rows[repeats.kept]

    with (
        saying_what_is_kept(lambda: "Nothing of the report is kept; run it again to start anew."),
        progress_bar(progress, total=4, unit="step", label="comparing pairs") as bar,
    ):
        rows = dropped(equal_items(pairs.source, pairs.target))
        bar.update()
        left = pairs.take(rows)
        if all(isinstance(item, str) for item in (*left.source, *left.target)):
            rows = dropped(near_texts(left.source, left.target, threshold=near_text))
        bar.update()
        rows = dropped(near_vectors(data.source[rows], data.target[rows], threshold=near_vector))
        bar.update()
        fits = mismatches(data.take(rows), cut=cut, seed=seed)
        bar.update()
    for at in fits.suspects.tolist():
        row = int(rows[at])
        words = f"at least {100 * cut:g} % of false pairs fit as well"
        findings[row] = Finding(pairs.ids[row], "suspect", words, score=float(fits.chance[at]))
    left = pairs.take(rows)
    shared = _shared(left.source, left.groups), _shared(left.target, left.groups)
    return CurationReport(tuple(findings), composition(data), shared, fits)


def curation_panel(report: CurationReport) -> Panel:
    """Counts, reasons and what the pairs are, with every finding folded away."""
    pairs, kept, sure = len(report.findings), len(report.kept), len(report.unsuspected)
    tiles = [
        Tile("pairs", f"{pairs:,}"),
        Tile("dropped", f"{pairs - kept:,}", "repeats of earlier pairs"),
        Tile("suspects", f"{kept - sure:,}", "look at them"),
        Tile("mismatched", f"about {percent(report.mismatched.share)}", "of those kept"),
        Tile("kept", f"{kept:,}", f"{sure:,} without suspects"),
    ]
    decisions: tuple[Decision, ...] = ("drop", "suspect")
    reasons: list[list[Cell]] = [
        [each, *reason] for each in decisions for reason in report.reasons(each)
    ]
    found = [
        [each.id, each.decision, each.reason, each.of, _two_decimals(each.score)]
        for each in report.findings
        if each.decision != "keep"
    ]
    columns = ["id", "decision", "reason", "repeats", "score"]
    tables = [Table(["decision", "reason", "pairs"], reasons)] if reasons else []
    listed = Folded(f"all {count(len(found), 'finding')}", [Table(columns, found, numeric=(4,))])
    shared = sum(report.shared)
    several = f"{count(shared, 'item stands', 'items stand')} in pairs of several groups"
    return Panel(
        "CurationReport",
        warning=f"{several}: tie those pairs together by a group." if shared else "",
        tiles=tiles,
        tables=[*tables, report.composition.table()],
        folded=[listed] if found else [],
    )


def _two_decimals(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _shared(items: Sequence[Any], groups: Sequence[str]) -> int:
    """How many distinct items occur in several groups."""
    clusters = equal_items(items).clusters
    return sum(len({groups[row] for row in rows}) > 1 for rows in clusters)
