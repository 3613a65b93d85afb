"""The card of an adapter: what it was made from, what was tried, and how the choice fell."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Annotated, Any, Self

from align._display.lines import count, one_line, percent, quoted, rounded, shortened
from align._display.panel import render
from align._display.parts import Cell, Folded, Panel, Table, Tile
from align._files.codec import ADDED, Rule, decode, whole_number
from align.data.embeddings import PairedEmbeddings
from align.data.sides import SIDE_NAMES, Side

LARGEST = 2**53  # whole numbers up to here mean the same to every reader of JSON
LONGEST = 100_000  # characters of a text

Text = Annotated[
    str,
    Rule(
        f"a text of at most {LONGEST} characters",
        lambda v: isinstance(v, str) and len(v) <= LONGEST,
    ),
]
Whole = Annotated[int, whole_number(-LARGEST, LARGEST)]
Count = Annotated[int, whole_number(0, LARGEST)]
Size = Annotated[int, whole_number(1, LARGEST)]
Share = Annotated[
    float, Rule("a number in [0, 1]", lambda v: type(v) in (int, float) and 0 <= v <= 1)
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that cross-validation tried.

    Attributes:
        stage: ``"shares"`` (of parts), ``"map"`` (some folds), ``"final"`` or ``"average"`` (all
            folds), ``"hubness"``, ``"expansion"``, ``"query expansion"``, ``"refine"``,
            ``"identity"``, ``"instructions"`` or ``"tuned"``.
        name: The method and its settings, in words.
        mrr: Mean reciprocal rank over held-out queries of both directions, in [0, 1].
        low: Lower end of its 95 % interval (normal approximation over groups).
        high: Upper end of the same.
        recall_at_10: Share of held-out queries with their pair in the top ten, in [0, 1].
        chosen: Whether it is part of the adapter.
        chance_mrr: Mean reciprocal rank of a random order of the same galleries, or ``None`` where
            it was not worked out.
        chance_at_10: Recall at 10 of a random order, likewise.
    """

    stage: Text
    name: Text
    mrr: Share
    low: float
    high: float
    recall_at_10: Share
    chosen: bool = False
    chance_mrr: Share | None = None
    chance_at_10: Share | None = None

    def __repr__(self) -> str:
        return one_line(
            "Candidate",
            f"{self.stage}: {quoted(self.name, 60)}",
            f"MRR {beside_chance(rounded, self.mrr, self.chance_mrr)}",
            "chosen" if self.chosen else "",
        )


@dataclass(frozen=True, slots=True)
class Card:
    """How an adapter came to be; saved beside it as ``card.json``.

    Attributes:
        method: The map in words, for example ``"rcca(ridge=(3, 1), power=0.5)"``.
        n_pairs: Training pairs.
        n_groups: Distinct groups among them.
        n_unpaired: Unpaired items that helped, source and target side.
        d_source: Width of the source encoder's vectors.
        d_target: Width of the target encoder's vectors.
        source_fingerprint: Of the source encoder, or ``None`` if it was not known.
        target_fingerprint: Of the target encoder, or ``None`` if it was not known.
        seed: Seed of folds and samples.
        folds: Number of folds, and how often they were redrawn.
        fold_gallery: Items in the gallery of one held-out fold: recall depends on it.
        seconds: Seconds per stage.
        candidates: What was tried, in order.
        verdict: How held-out pairs were found against chance, what was chosen and why.
        better_than_chance: Whether held-out pairs were found more often than by chance, beyond
            doubt; ``None`` where nothing was held out.
        versions: Versions of isthmus, torch, NumPy and Python.
        encoders: How to build the encoders again, by ``"source"``, ``"target"`` and
            ``"instruction"``, of those that one line can name (``align.encoders.spec``).
        side_names: What people call the sides, such as ``("caption", "image")``.
        n_before_updates: Pairs of the fit that chose the settings and gave the held-out numbers,
            where ``Adapter.update`` added others since; 0 where nothing was added.
    """

    method: Text
    n_pairs: Count
    d_source: Size
    d_target: Size
    n_groups: Count = 0
    n_unpaired: tuple[Count, Count] = (0, 0)
    source_fingerprint: Text | None = None
    target_fingerprint: Text | None = None
    seed: Whole | None = None
    folds: tuple[Count, Count] = (0, 0)
    fold_gallery: Count = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    candidates: Sequence[Candidate] = ()
    verdict: Text = ""
    better_than_chance: bool | None = None
    versions: Mapping[str, Text] = field(default_factory=dict)
    encoders: Mapping[str, Text] = field(default_factory=dict)
    side_names: tuple[Text, Text] = field(default=SIDE_NAMES, metadata=ADDED)
    n_before_updates: Count = field(default=0, metadata=ADDED)

    def __repr__(self) -> str:
        return one_line(
            "Card",
            quoted(self.method, 50),
            f"{self.d_source:,} → {self.d_target:,} dimensions",
            count(self.n_pairs, "pair"),
            held_out_words(self),
        )

    def _repr_html_(self) -> str:
        return render(card_panel(self))

    def side_name(self, side: Side) -> str:
        """What people call a side, cut to what a line or a cell holds."""
        return shortened(self.side_names[side == "target"], 30)

    @property
    def held_out(self) -> Candidate | None:
        """What was chosen last, whose numbers are those of the adapter on held-out pairs.

        ``None`` where nothing was held out. What instructions gained is left aside: it is about
        other galleries.
        """
        chosen = [c for c in self.candidates if c.chosen and c.stage != "instructions"]
        return chosen[-1] if chosen else None

    def of_encoders(self, pairs: PairedEmbeddings) -> Self:
        """The same, with the encoders and the names of sides of ``pairs`` where it has none."""
        return replace(
            self,
            source_fingerprint=self.source_fingerprint or pairs.source_fingerprint,
            target_fingerprint=self.target_fingerprint or pairs.target_fingerprint,
            encoders={**pairs.encoders, **self.encoders},
            side_names=pairs.side_names if self.side_names == SIDE_NAMES else self.side_names,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, newer: bool = False) -> Self:
        """Read what ``to_dict`` wrote; ``newer`` ignores unknown fields.

        Raises:
            ValueError: A field is unknown, missing, or not of its type or range.
        """
        card: Self = decode(cls, data, "a card", "save or download the adapter again", newer=newer)
        return card


def installed_versions() -> dict[str, str]:
    """Versions that could change a number: isthmus, torch, NumPy, Python."""
    from align._version import __version__

    packages = {name: version(name) for name in ("torch", "numpy")}
    return {"isthmus": __version__, "python": platform.python_version(), **packages}


def card_panel(card: Card) -> Panel:
    """What an adapter was made from and how it did on held-out pairs, beside chance."""
    recorded = card.verdict or "No verdict was recorded."
    failed = card.better_than_chance is False
    return Panel(
        f"Card: {card.method}",
        sentence="" if failed else recorded,
        warning=recorded if failed else "",
        tiles=held_out_tiles(card),
        facts=card_facts(card),
        tables=[sides_table(card)],
        folded=tried(card),
    )


def held_out_words(card: Card) -> str:
    """``"held-out recall@10 41.2 % (chance 1.0 %)"``, or nothing where none was held out."""
    held = card.held_out
    if held is None:
        return ""
    recall = beside_chance(percent, held.recall_at_10, held.chance_at_10)
    return f"held-out recall@10 {recall}"


def held_out_tiles(card: Card) -> list[Tile]:
    """Training pairs, and held-out numbers beside chance."""
    groups = f"in {count(card.n_groups, 'group')}" if 0 < card.n_groups < card.n_pairs else ""
    tiles = [Tile("training pairs", f"{card.n_pairs:,}", groups)]
    held = card.held_out
    if held is not None:
        tiles += [
            Tile(
                "held-out recall@10",
                percent(held.recall_at_10),
                _chance(percent, held.chance_at_10),
            ),
            Tile("held-out MRR", rounded(held.mrr), _chance(rounded, held.chance_mrr)),
        ]
    if card.fold_gallery:
        tiles.append(Tile("gallery of a fold", f"{card.fold_gallery:,}", "recall depends on it"))
    return tiles


def card_facts(card: Card) -> dict[str, str | int]:
    """How it was chosen, and with which software."""
    facts: dict[str, str | int] = {"method": card.method}
    if card.folds[0]:
        seed = "" if card.seed is None else f" from seed {card.seed}"
        facts["chosen on"] = f"{count(card.folds[0], 'fold')}, drawn {card.folds[1]}x{seed}"
    if card.n_before_updates:
        facts["updated"] = (
            f"from {count(card.n_before_updates, 'pair')}: settings, centres and held-out numbers "
            "are of that fit"
        )
    if any(card.n_unpaired):
        source, target = card.n_unpaired
        facts["unpaired items"] = (
            f"{source:,} {card.side_name('source')}, {target:,} {card.side_name('target')}"
        )
    if card.seconds:
        facts["took"] = f"{sum(card.seconds.values()):,.1f} seconds"
    if card.versions:
        facts["versions"] = ", ".join(f"{name} {each}" for name, each in card.versions.items())
    return facts


def sides_table(card: Card) -> Table:
    """Both sides, with the width of their vectors and the encoder that gives them."""
    sides: tuple[tuple[Side, int, str | None], ...] = (
        ("source", card.d_source, card.source_fingerprint),
        ("target", card.d_target, card.target_fingerprint),
    )
    rows: list[list[Cell]] = [
        [card.side_name(side), width, card.encoders.get(side) or fingerprint or "not recorded"]
        for side, width, fingerprint in sides
    ]
    return Table(["side", "dimensions", "encoder"], rows, numeric=(1,))


def tried(card: Card) -> list[Folded]:
    """The candidates of cross-validation, folded away."""
    if not card.candidates:
        return []
    rows = [
        [
            each.stage, each.name,
            f"{rounded(each.mrr)} [{rounded(each.low)}, {rounded(each.high)}]",
            _known(rounded, each.chance_mrr),
            percent(each.recall_at_10), _known(percent, each.chance_at_10),
            "yes" if each.chosen else "",
        ]
        for each in card.candidates
    ]  # fmt: skip
    columns = ["stage", "candidate", "MRR [95 %]", "chance", "recall@10", "chance", "chosen"]
    summary = f"{count(len(rows), 'candidate was', 'candidates were')} tried"
    return [Folded(summary, [Table(columns, rows, numeric=range(2, 6))])]


def beside_chance(shown: Callable[[float], str], value: float, chance: float | None) -> str:
    """``"41.2 % (chance 1.0 %)"``; the value alone where its chance was not worked out."""
    return shown(value) + ("" if chance is None else f" ({_chance(shown, chance)})")


def _chance(shown: Callable[[float], str], chance: float | None) -> str:
    return "" if chance is None else f"chance {shown(chance)}"


def _known(shown: Callable[[float], str], value: float | None) -> str:
    return "" if value is None else shown(value)
