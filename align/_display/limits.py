"""How much of a panel is shown: rows, columns, letters and pictures, whatever it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from align._display.lines import shortened
from align._display.parts import Cell, Folded, Panel, Picture, Table, Tile


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so much of each part of a panel."""

    rows: int  # of a table; facts and tiles too
    columns: int
    tables: int  # folded ones too
    letters: int  # of one text
    picture_letters: int  # of the addresses of all pictures together


GENEROUS_TO_STRICT = (
    Limits(rows=60, columns=16, tables=12, letters=600, picture_letters=40_000),
    Limits(rows=30, columns=12, tables=8, letters=200, picture_letters=30_000),
    Limits(rows=10, columns=8, tables=4, letters=60, picture_letters=15_000),
    Limits(rows=5, columns=4, tables=2, letters=24, picture_letters=0),
)


def limited(panel: Panel, limits: Limits) -> Panel:
    """The panel with what goes beyond the limits cut, and a note of what was left out."""
    shrink = _Shrinking(limits)
    tables = [shrink.table(each) for each in panel.tables[: limits.tables]]
    left = limits.tables - len(tables)
    folded = []
    for each in panel.folded:
        inner = [shrink.table(table) for table in each.tables[:left]]
        left -= len(inner)
        if inner:
            folded.append(Folded(shrink.text(each.summary), inner))
    return Panel(
        shrink.text(panel.title),
        shortened(panel.sentence, 2 * limits.letters),
        shortened(panel.warning, 2 * limits.letters),
        [
            Tile(shrink.text(tile.name), shrink.text(tile.value), shrink.text(tile.beside))
            for tile in panel.tiles[: limits.rows]
        ],
        dict(shrink.facts(panel.facts)),
        tables,
        folded,
    )


class _Shrinking:
    """What is left of the pictures while the parts of a panel are cut one after another."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._picture_letters = limits.picture_letters

    def text(self, text: str) -> str:
        return shortened(text, self._limits.letters)

    def facts(self, facts: Mapping[str, Cell]) -> Iterator[tuple[str, Cell]]:
        for name, value in islice(facts.items(), self._limits.rows):
            yield self.text(name), self._cell(value)
        if len(facts) > self._limits.rows:
            yield "and", f"{len(facts) - self._limits.rows:,} more"

    def table(self, table: Table) -> Table:
        rows, columns = self._limits.rows, self._limits.columns
        note = [self.text(table.note)] if table.note else []
        if len(table.rows) > rows:
            note.append(f"{len(table.rows) - rows:,} more rows are not shown.")
        if len(table.columns) > columns:
            note.append(f"{len(table.columns) - columns:,} more columns are not shown.")
        return replace(
            table,
            columns=[self.text(each) for each in table.columns[:columns]],
            rows=[self._cells(row[:columns]) for row in table.rows[:rows]],
            title=self.text(table.title),
            note=" ".join(note),
        )

    def _cells(self, row: Sequence[Cell]) -> list[Cell]:
        return [self._cell(each) for each in row]

    def _cell(self, cell: Cell) -> Cell:
        if isinstance(cell, Picture):
            caption = self.text(cell.caption)
            if len(cell.address) > self._picture_letters:
                return caption
            self._picture_letters -= len(cell.address)
            return Picture(cell.address, caption)
        return cell if isinstance(cell, int) else self.text(cell)
