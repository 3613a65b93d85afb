"""A pair of encoders, and how it did on held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from align._display.lines import LONGEST, one_line, percent, rounded, shortened
from align._display.numbers import number
from align._display.panel import Panel, Table, render
from align.data.encoding import Encoder, spec_of
from align.fitting.scouting.agreement import Agreement
from align.scoring.ties import MEANS

SIDES = ("source", "target")
NUMBERS = ("MRR", "behind the best", "recall@10", "kNN", "p", "dimensions", "ms an item")


@dataclass(frozen=True, slots=True, repr=False)
class EncoderPair:
    """A source encoder with a target encoder, and how they did on held-out pairs.

    Attributes:
        source: Ready for ``encode``.
        target: Likewise.
        names: The line that builds each again, or else what it is in short.
        mrr: Mean reciprocal rank of held-out pairs, both directions, in [0, 1].
        error: Its standard error.
        recall_at_10: Share of held-out queries with their pair in the top ten.
        behind: Mean reciprocal rank by which it is behind the best; 0 for the best itself.
        margin: Half of the 95 % interval of ``behind``, which holds for all candidates at once.
        agreement: Of the nearest neighbours of both sides.
        seconds: Seconds that encoding an item of each side takes.
        as_named: Whether both were named by the caller, as they are.
    """

    source: Encoder
    target: Encoder
    names: tuple[str, str]
    mrr: float
    error: float
    recall_at_10: float
    behind: float
    margin: float
    agreement: Agreement
    seconds: tuple[float, float]
    as_named: bool

    def __repr__(self) -> str:
        return one_line(
            "EncoderPair",
            f"MRR {rounded(self.mrr)} ± {rounded(self.error)}",
            f"recall@10 {percent(self.recall_at_10)}",
            *self.names,
        )

    def _repr_html_(self) -> str:
        return render(Panel("EncoderPair", tables=[table_of([self])]))

    @property
    def together(self) -> str:
        """Both names, so short that they stand indented on a line."""
        return shortened(" with ".join(self.names), LONGEST - 10)

    @property
    def dims(self) -> tuple[int, int]:
        """Width of the vectors of each side."""
        return self.source.dim, self.target.dim

    @property
    def within_noise(self) -> bool:
        """Whether its interval of what it is behind the best holds 0: more pairs might turn it."""
        return self.behind <= self.margin + MEANS

    @property
    def specs(self) -> tuple[str | None, str | None]:
        """Lines for ``--source-encoder`` and ``--target-encoder``, where a line can say it."""
        return spec_of(self.source), spec_of(self.target)

    def to_dict(self) -> dict[str, Any]:
        """Everything that is known of it, by name; ready for JSON."""
        return {
            "source": self.names[0],
            "target": self.names[1],
            "mrr": self.mrr,
            "error": self.error,
            "recall_at_10": self.recall_at_10,
            "behind": self.behind,
            "margin": self.margin,
            "within_noise": self.within_noise,
            "overlap": self.agreement.overlap,
            "calibrated_overlap": self.agreement.calibrated,
            "overlap_p": self.agreement.p,
            "source_dim": self.dims[0],
            "target_dim": self.dims[1],
            "source_seconds": self.seconds[0],
            "target_seconds": self.seconds[1],
            "as_named": self.as_named,
        }

    def numbers(self) -> list[str]:
        """What ``NUMBERS`` heads, as people read it."""
        behind = f"{rounded(self.behind)} ± {rounded(self.margin)}"
        return [
            f"{rounded(self.mrr)} ± {rounded(self.error)}",
            "best" if self.margin == 0 else behind + (" noise" if self.within_noise else " behind"),
            percent(self.recall_at_10),
            rounded(self.agreement.calibrated),
            rounded(self.agreement.p),
            " + ".join(f"{dim:,}" for dim in self.dims),
            " + ".join(number(1000 * seconds) for seconds in self.seconds),
        ]


def table_of(pairs: Sequence[EncoderPair], note: str = "") -> Table:
    """One row for each pair, for a panel."""
    rows = [[*pair.names, *pair.numbers()] for pair in pairs]
    return Table([*SIDES, *NUMBERS], rows, numeric=range(2, 9), note=note)
