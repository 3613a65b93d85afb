"""Which words of a query met which parts of an item, in terms that add up to a score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from align._checks import check_length
from align._display.lines import aligned, one_line, shortened
from align._display.panel import render
from align._display.parts import Cell, Panel, Picture, Table, Tile
from align.data.arrays import dense_tensor
from align.data.multi_vector import MultiVector, Tokens
from align.retrieval.explanation.heat import EDGE, heat_map
from align.scoring.pair_scores import best_tokens

_PICTURES = 9  # words with a heat map, those that add or take away most
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class TokenExplanation:
    """What each token or word of a query adds to a score, and which part of the item it met.

    Attributes:
        score: The sum of ``values``.
        words: What the query is made of, ``s`` texts.
        values: What each adds to the score, ``(s,)``.
        heat: How well each goes with each part of the item, ``(s, t)``: similarities where the
            best counts (MaxSim), parts of the score where all count.
        parts: The parts of the item, ``t`` texts; patches are named by row and column from 1.
        grid: Rows and columns of patches, or ``None`` for an item that is no picture.
        picture: The Pillow picture that the patches cover, or ``None``.

    Examples:
        >>> import torch, align
        >>> words, text = torch.eye(3)[[2, 0]], torch.eye(3)
        >>> found = align.explain_tokens(words, text, words=["red", "dog"], parts=["a", "b", "red"])
        >>> found.score, found.best
        (2.0, ('red', 'a'))
    """

    score: float
    words: tuple[str, ...]
    values: Tensor
    heat: Tensor
    parts: tuple[str, ...]
    grid: tuple[int, int] | None = None
    picture: Any = None

    @property
    def best(self) -> tuple[str, ...]:
        """The part of the item that each word goes best with; of equal ones the first."""
        return tuple(self.parts[at] for at in self.heat.argmax(dim=1).tolist())

    def __repr__(self) -> str:
        largest = self.values.argsort(descending=True, stable=True)[:4].tolist()
        words = (f"{shortened(self.words[at], 16)} {self.values[at]:+.3f}" for at in largest)
        return one_line("TokenExplanation", f"score {self.score:.3f}", *words)

    def __str__(self) -> str:
        rows = [["word", "adds", "goes best with"], *self._rows(40)]
        return "\n".join([f"score {self.score:.3f}", aligned(rows, indent="  ")])

    def _repr_html_(self) -> str:
        return render(self.panel())

    def panel(self) -> Panel:
        """What a notebook shows: a row for each word, with a heat map over the picture."""
        rows: list[list[Cell]] = [list(row) for row in self._rows(60)]
        head, note = ["word", "adds", "goes best with"], ""
        if self.picture is not None:
            head, note = [*head, "where"], "Red goes with the word, blue against it."
            largest = self.values.abs().argsort(descending=True, stable=True)[:_PICTURES].tolist()
            for at, row in enumerate(rows):
                row.append(self.heat_map(at) if at in largest else "")
            rows.insert(0, ["all words", f"{self.score:+.3f}", "", self.heat_map()])
        table = Table(head, rows, title="Words", numeric=(1,), note=note)
        tiles = [Tile("score", f"{self.score:.3f}")]
        return Panel(
            "TokenExplanation",
            "What the words add makes up the score.",
            tiles=tiles,
            tables=[table],
        )

    def heat_map(self, word: int | None = None, *, edge: int = EDGE) -> Picture:
        """The picture under the heat of a word, by its number, or of all words together.

        Words are on one scale. There must be a picture.
        """
        assert self.grid is not None, "there is a grid where there is a picture"
        heat = self.heat.sum(dim=0) if word is None else self.heat[word]
        most = (heat if word is None else self.heat).abs().max().clamp_min(_FLOOR)
        caption = "all words" if word is None else self.words[word]
        return heat_map(self.picture, (heat / most).view(self.grid), caption, edge=edge)

    def to_dict(self) -> dict[str, Any]:
        """All numbers and words, ready for JSON; without the picture."""
        return {
            "score": self.score,
            "words": list(self.words),
            "values": self.values.tolist(),
            "heat": self.heat.tolist(),
            "parts": list(self.parts),
            "grid": self.grid,
        }

    def _rows(self, longest: int) -> list[list[str]]:
        values = self.values.tolist()
        return [
            [shortened(word, longest), f"{value:+.3f}", shortened(part, longest)]
            for word, value, part in zip(self.words, values, self.best, strict=True)
        ]


@torch.no_grad()
def explain_tokens(
    query: Tokens,
    item: Tokens,
    *,
    words: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    picture: Any = None,
) -> TokenExplanation:
    """Which query token met which token of an item, and what each adds to their MaxSim score.

    MaxSim is a sum over the tokens of the query, each with the token of the item that it goes best
    with, so what they add makes up the score.

    Args:
        query: Vectors of the query, ``(s, d)``.
        item: Vectors of the item, ``(t, d)``.
        words: A text for each vector of the query; numbered if left out.
        parts: A text for each vector of the item; numbered if left out.
        picture: The Pillow picture that the vectors of the item cover as a grid, row by row. Its
            shape says how many rows there are.

    Raises:
        ValueError: A side is no matrix, widths differ, there is not one text per vector, or the
            vectors of a picture make no grid.

    Reference:
        Khattab and Zaharia 2020, arXiv:2004.12832, figure 1; on patches of pictures, Faysse et al.
        2024, arXiv:2407.01449, section 5.

    Examples:
        >>> import torch, align
        >>> found = align.explain_tokens(torch.eye(3)[:2], torch.eye(3), words=["red", "dog"])
        >>> found.values.tolist(), found.best
        ([1.0, 1.0], ('token 1', 'token 2'))
    """
    queries, items = MultiVector.pack([query]), MultiVector.pack([item])
    values = best_tokens(queries, items, [(0, 0)]).values
    heat = dense_tensor(query, name="query").float() @ dense_tensor(item, name="item").float().T
    return of_heat(values, heat, words=words, parts=parts, picture=picture)


def of_heat(
    values: Tensor,
    heat: Tensor,
    *,
    words: Sequence[str] | None,
    parts: Sequence[str] | None,
    picture: Any = None,
) -> TokenExplanation:
    """An explanation of what each token adds, ``(s,)``, and how it goes with parts, ``(s, t)``."""
    s, t = heat.shape
    grid = None if picture is None else grid_of(t, picture)
    if parts is None and grid is not None:
        parts = [f"row {at // grid[1] + 1}, column {at % grid[1] + 1}" for at in range(t)]
    words = [f"token {row + 1}" for row in range(s)] if words is None else words
    parts = [f"token {row + 1}" for row in range(t)] if parts is None else parts
    check_length("words", words, s)
    check_length("parts", parts, t)
    score = float(values.double().sum())
    return TokenExplanation(score, tuple(words), values, heat, tuple(parts), grid, picture)


def grid_of(tokens: int, picture: Any) -> tuple[int, int]:
    """Rows and columns of a grid over a picture: square, or else in its shape.

    Raises:
        ValueError: There is none with so many tokens.
    """
    side = math.isqrt(tokens)
    if side * side == tokens:
        return side, side
    width, height = picture.size
    rows = max(1, round(math.sqrt(tokens * height / width)))
    if tokens % rows:
        raise ValueError(
            f"the tokens of a picture must make a grid over it; got {tokens} for a picture of "
            f"{width} x {height}. Pass the patches alone, without CLS or register tokens."
        )
    return rows, tokens // rows
