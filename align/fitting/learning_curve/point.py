"""What was found after a fit on so many pairs: one point of a learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from align._display.lines import count, one_line
from align.metrics.estimates import Estimate

METRICS = ("recall_at_1", "recall_at_10", "mean_reciprocal_rank")
LABELS = {"recall_at_1": "R@1", "recall_at_10": "R@10", "mean_reciprocal_rank": "MRR"}


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What was found after a fit on so many pairs, mean of both directions, with 95 % intervals.

    Attributes:
        n_pairs: Pairs that were fitted on; the mean over folds.
        metrics: Those of ``METRICS``, by name.
    """

    n_pairs: int
    metrics: Mapping[str, Estimate]

    def __repr__(self) -> str:
        shown = (f"{LABELS[name]} {each.value:.3f}" for name, each in self.metrics.items())
        return one_line("CurvePoint", count(self.n_pairs, "pair"), *shown)
