"""The parts of a panel: what notebooks show of an object, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a cell: a ``data:`` address, and what it shows in words."""

    address: str
    caption: str


Cell = str | int | Picture
"""Texts are shown as they are, in no markup; whole numbers stand to the right with commas."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One number in large type: a name, the number, and what it stands beside."""

    name: str
    value: str
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells below their headings; cells in columns of ``numeric`` stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    numeric: Sequence[int] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Folded:
    """Tables behind a line that opens them."""

    summary: str
    tables: Sequence[Table]


@dataclass(frozen=True, slots=True)
class Panel:
    """What is shown of one object, from the top: title, sentence, tiles, facts, tables, folded."""

    title: str
    sentence: str = ""
    warning: str = ""
    tiles: Sequence[Tile] = ()
    facts: Mapping[str, Cell] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    folded: Sequence[Folded] = ()
