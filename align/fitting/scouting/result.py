"""What ``scout`` found: every pair of encoders with its score, its doubt and its cost."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from align._display.escaping import plain
from align._display.lines import aligned, count, one_line, percent, rounded
from align._display.panel import Folded, Panel, Table, Tile, render
from align.fitting.scouting.encoder_pair import NUMBERS, EncoderPair, table_of
from align.metrics.chance import AgainstChance

if TYPE_CHECKING:
    from pandas import DataFrame

    from align._display.figure import Figure

SHOWN = 12  # pairs of encoders in a short table
_WIDTH = 100  # columns
SELECTED = (
    "The score of the best of many is a little too high: evaluate on pairs that were not in "
    "align.scout."
)
CALIBRATED = (
    "kNN: nearest neighbours on which both sides agree, calibrated so that 0 is what the best of "
    "all these candidates reaches by luck in 19 of 20 random pairings, and 1 is full agreement; a "
    "maximum over many layers is inflated, and p counts that."
)


@dataclass(frozen=True, slots=True, repr=False)
class Scouting:
    """Pairs of encoders that were looked at, best first.

    Printed, it is a table; ``plot()`` draws score against cost.

    Attributes:
        pairs: All of them, by falling score.
        n_pairs: Pairs of items that were looked at.
        n_given: Pairs of items that there were.
        chance: Held-out recall of the best beside that of a random order.
        chance_mrr: Mean reciprocal rank of a random order.
        chance_at_10: Recall at 10 of a random order.
        left_out: Layers and poolings that could not be looked at, and why.
    """

    pairs: tuple[EncoderPair, ...]
    n_pairs: int
    n_given: int
    chance: AgainstChance
    chance_mrr: float
    chance_at_10: float
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return one_line(
            "Scouting",
            count(len(self.pairs), "candidate"),
            f"best MRR {rounded(self.best.mrr)} (chance {rounded(self.chance_mrr)})",
            f"{len(self.within_noise)} within the noise",
            self.best.together,
        )

    def __str__(self) -> str:
        notes = _wrapped(f"{CALIBRATED} {SELECTED}")
        return "\n\n".join([_wrapped(self.verdict), self.table(), notes])

    def _repr_html_(self) -> str:
        return render(scouting_panel(self))

    @property
    def best(self) -> EncoderPair:
        """The pair of highest score."""
        return self.pairs[0]

    @property
    def within_noise(self) -> tuple[EncoderPair, ...]:
        """The others that cannot be told from the best on these pairs, by falling score."""
        return tuple(pair for pair in self.pairs[1:] if pair.within_noise)

    @property
    def cheapest(self) -> EncoderPair:
        """Of the best and those within the noise, the one of fewest dimensions on both sides.

        Of equals one that was named, since a lead within the noise is luck; then the better one.
        """
        among = (self.best, *self.within_noise)
        return min(among, key=lambda pair: (sum(pair.dims), not pair.as_named))

    @property
    def verdict(self) -> str:
        """What was found, in a few sentences."""
        best, cheapest, alike = self.best, self.cheapest, len(self.within_noise)
        if not self.chance.better:
            return f"Not even the best of {self._looked_at} is told from chance: {self.chance}."
        said = [
            f"Best of {self._looked_at}: {best.together}, MRR {rounded(best.mrr)} ± "
            f"{rounded(best.error)}; it {self.chance}."
        ]
        if not alike:
            said.append("Every other is behind by more than the noise.")
        else:
            others = "1 other is" if alike == 1 else f"{alike:,} others are"
            said.append(f"{others} within the noise: more pairs might turn the order.")
            if sum(cheapest.dims) < sum(best.dims):
                said.append(
                    f"Cheapest of these: {cheapest.together}, {sum(cheapest.dims):,} "
                    f"dimensions for {sum(best.dims):,}."
                )
        if best.agreement.p > 0.05:
            said.append("Nearest neighbours agree no more than by luck.")
        return " ".join(said)

    @property
    def _looked_at(self) -> str:
        among = f"{count(len(self.pairs), 'candidate')} on {count(self.n_pairs, 'pair')}"
        return among + (f" of {self.n_given:,}" if self.n_given > self.n_pairs else "")

    def table(self, *, shown: int | None = SHOWN) -> str:
        """The best candidates, those that were named and the cheapest, two lines each.

        Args:
            shown: Candidates, the best first; ``None`` for all.
        """
        some = self._some(shown)
        at_random = [rounded(self.chance_mrr), "", percent(self.chance_at_10), rounded(0), *"   "]
        numbers = aligned([NUMBERS, *(pair.numbers() for pair in some), at_random]).split("\n")
        lines = [numbers[0]]
        for line, pair in zip(numbers[1:-1], some, strict=True):
            lines += [line, f"  {pair.together}"]
        lines += [numbers[-1], "  chance: a random order"]
        left = len(self.pairs) - len(some)
        return "\n".join(lines + ([f"... and {left:,} more"] if left else []))

    def to_frame(self) -> DataFrame:
        """One row per candidate, best first, with everything that is known of it.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame([pair.to_dict() for pair in self.pairs])

    def plot(self) -> Figure:
        """Score against dimensions and against seconds, with intervals.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from align.fitting.scouting.figure import draw

        return draw(self.pairs, cheapest=self.cheapest, chance=self.chance_mrr)

    def _some(self, shown: int | None) -> list[EncoderPair]:
        if shown is None:
            return list(self.pairs)
        first = self.pairs[:shown]
        also = (pair for pair in self.pairs[shown:] if pair.as_named or pair is self.cheapest)
        return [*first, *also]


def scouting_panel(scouting: Scouting) -> Panel:
    """The best beside chance, the best few in a table, and all of them folded away."""
    best = scouting.best
    tiles = [
        Tile("candidates", f"{len(scouting.pairs):,}", f"on {count(scouting.n_pairs, 'pair')}"),
        Tile(
            "best MRR",
            f"{rounded(best.mrr)} ± {rounded(best.error)}",
            f"chance {rounded(scouting.chance_mrr)}",
        ),
        Tile("recall@10", percent(best.recall_at_10), f"chance {percent(scouting.chance_at_10)}"),
        Tile("within the noise", f"{len(scouting.within_noise):,}", "cannot be told from the best"),
    ]
    folded = [Folded(f"all {len(scouting.pairs):,} candidates", [table_of(scouting.pairs)])]
    if scouting.left_out:
        rows = [[line] for line in scouting.left_out]
        folded.append(Folded("left out", [Table(["layer or pooling"], rows)]))
    return Panel(
        "Scouting",
        sentence=scouting.verdict,
        tiles=tiles,
        tables=[table_of(scouting._some(SHOWN), f"{CALIBRATED} {SELECTED}")],
        folded=folded,
    )


def _wrapped(text: str) -> str:
    # A spec is one word: it is copied to a command line.
    return textwrap.fill(plain(text), _WIDTH, break_long_words=False, break_on_hyphens=False)
