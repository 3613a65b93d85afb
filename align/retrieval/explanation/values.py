"""Why an item was found, as plain values: terms that add up to its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from align._display.lines import aligned, one_line, quoted, shortened
from align._display.panel import render
from align._display.parts import Cell, Panel, Table, Tile
from align.data.item_cells import item_cell, item_words


@dataclass(frozen=True, slots=True)
class DirectionTerm:
    """What one direction of the shared space adds to a score.

    Attributes:
        number: Of the direction, from 0; canonical directions are in falling order.
        value: What it adds: the product of the next two.
        query: Where the query lies along it.
        item: Where the item lies along it.
        correlation: Of both sides of the training pairs along it, in [-1, 1]; ``None`` where no
            training pairs are known. Seen in training, so above that of new pairs.
        near: Training pairs at the end at which the query lies, farthest out first.
        far: Training pairs at the other end.
    """

    number: int
    value: float
    query: float
    item: float
    correlation: float | None = None
    near: tuple[str, ...] = ()
    far: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairTerm:
    """A training pair that is like the query on its side and like the item on the other.

    Attributes:
        name: Of the pair.
        query: Cosine of the query with the pair's item on that side, in the shared space.
        item: Cosine of the item with the pair's item on the other side.
        added: What the expansion added to the score for this pair, in units of the score; 0 where
            it did not look at the pair.
    """

    name: str
    query: float
    item: float
    added: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why an item was found: a score, and the terms that add up to it.

    ``score = sum of all directions + expansion + hubness + preference``, to rounding; the
    directions are those listed and ``rest``. Pairs stand beside the score and do not add up to it:
    a map is fitted on all of them together.

    Attributes:
        score: Of the item for the query, as an index ranks it.
        directions: Those that add or take away most, largest first.
        rest: What all other directions add together.
        dim: Directions of the shared space.
        expansion: What the gallery expansion added: the item moved towards the partners of the
            training items that it is like. ``None`` where it cannot be told from the directions,
            since only the stored vector of the item is known.
        hubness: Minus the bias of an item that is near to everything; 0 without a correction.
        preference: Bonus by the instruction for the kind of the item; 0 without one.
        pairs: Training pairs most like both, by the product of their cosines.
        query: The query, where it is known.
        item: The item, or its id.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((200, 8))
        >>> photos = captions @ rng.standard_normal((8, 12))
        >>> adapter = align.fit(captions, photos, effort="fast")
        >>> found = align.explain(adapter, captions[3], photos[3])
        >>> bool(abs(found.total - found.score) < 1e-5)
        True
    """

    score: float
    directions: tuple[DirectionTerm, ...]
    rest: float
    dim: int
    expansion: float | None
    hubness: float
    preference: float
    pairs: tuple[PairTerm, ...] = ()
    query: Any = None
    item: Any = None

    @property
    def match(self) -> float:
        """What all directions add: the cosine of query and item in the shared space."""
        return sum(each.value for each in self.directions) + self.rest

    @property
    def total(self) -> float:
        """The sum of all terms: the score, to rounding."""
        return self.match + (self.expansion or 0.0) + self.hubness + self.preference

    def __repr__(self) -> str:
        return one_line("Explanation", *(f"{name} {value:+.3f}" for name, value in self._terms))

    def __str__(self) -> str:
        head = f"score {self.score:.3f}"
        if self.query is not None:
            head += f" of {_named(self.item)} for {_named(self.query)}"
        parts = [head, aligned([[n, f"{v:+.3f}"] for n, v in self._terms[1:]], indent="  ")]
        parts += [self._said_of_directions, aligned(self._direction_rows(_ENDS, 1), indent="  ")]
        if self.pairs:
            parts += ["training pairs like both", aligned(self._pair_rows(60), indent="  ")]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        return render(self.panel())

    def panel(self) -> Panel:
        """What a notebook shows of it."""
        facts: dict[str, Cell] = {}
        if self.query is not None:
            facts["query"] = item_cell(self.query)
        if self.item is not None:
            facts["item"] = item_cell(self.item)
        head, *rows = self._direction_rows(_ENDS, 3)
        tables = [
            Table(
                head, rows, title="Directions", numeric=range(1, 5), note=self._said_of_directions
            )
        ]
        if self.pairs:
            head, *rows = self._pair_rows(160)
            tables.append(
                Table(
                    head, rows, title="Training pairs like both", numeric=range(1, 4),
                    note="They do not add up to the score: a map is fitted on all pairs together.",
                )
            )  # fmt: skip
        tiles = [Tile(name, f"{value:+.3f}") for name, value in self._terms[1:]]
        tiles = [Tile("score", f"{self.score:.3f}"), *tiles]
        return Panel("Explanation", _SENTENCE, tiles=tiles, facts=facts, tables=tables)

    def to_dict(self) -> dict[str, Any]:
        """All terms, ready for JSON; without the query and the item."""
        said = asdict(self)
        del said["query"], said["item"]
        return {**said, "match": self.match}

    @property
    def _terms(self) -> list[tuple[str, float]]:
        terms = [("score", self.score), ("match", self.match)]
        if self.expansion:
            terms.append(("expansion", self.expansion))
        if self.hubness:
            terms.append(("hubness", self.hubness))
        if self.preference:
            terms.append(("preference", self.preference))
        return terms

    @property
    def _said_of_directions(self) -> str:
        listed = sum(each.value for each in self.directions)
        said = f"{len(self.directions)} of {self.dim:,} directions add {listed:+.3f}"
        if self.dim > len(self.directions):
            said += f", all others {self.rest:+.3f}"
        if self.expansion is None:
            said += "; what the expansion added is part of them"
        return said

    def _direction_rows(self, longest: int, ends: int) -> list[list[str]]:
        shown = self.directions
        columns = ["direction", "adds", "query", "item"]
        correlated = any(each.correlation is not None for each in shown)
        named = any(each.near for each in shown)
        columns += ["correlation"] * correlated + ["away from", "towards"] * named
        rows = [columns]
        for each in shown:
            row = [
                f"{each.number}",
                f"{each.value:+.3f}",
                f"{each.query:+.2f}",
                f"{each.item:+.2f}",
            ]
            if correlated:
                row.append("" if each.correlation is None else f"{each.correlation:.2f}")
            if named:
                row += [_joined(names[:ends], longest) for names in (each.far, each.near)]
            rows.append(row)
        return rows

    def _pair_rows(self, longest: int) -> list[list[str]]:
        added = any(each.added for each in self.pairs)
        rows = [["pair", "like query", "like item", *(["expansion"] * added)]]
        for each in self.pairs:
            row = [shortened(each.name, longest), f"{each.query:.2f}", f"{each.item:.2f}"]
            rows.append([*row, f"{each.added:+.4f}"] if added else row)
        return rows


_ENDS = 36  # characters of a training pair at the end of a direction
_SENTENCE = "The terms add up to the score."


def _joined(names: Sequence[str], longest: int) -> str:
    return " · ".join(shortened(name, longest) for name in names)


def _named(item: Any) -> str:
    return quoted(item, 60) if isinstance(item, str) else shortened(item_words(item), 60)
