"""From the rows of a table to pairs: choose columns, find images, and list what is wrong."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from align.data.pictures import SUFFIXES, picture_problem
from align.data.readers import PairsError, Row, Table, in_utf8

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what; all but the two sides may be left out."""

    source: str
    target: str
    id: str | None = None
    group: str | None = None
    source_modality: str | None = None
    target_modality: str | None = None
    instruction: str | None = None

    @property
    def named(self) -> list[str]:
        """The columns that are wanted, each once."""
        wanted = (getattr(self, each.name) for each in fields(self))
        return list(dict.fromkeys(name for name in wanted if name is not None))


@dataclass(frozen=True, slots=True)
class Picked:
    """The good rows, in order, and one line for each bad one.

    Attributes:
        rows: Their places among the rows of the table; the other fields are those of ``Pairs``.
    """

    rows: tuple[int, ...]

    ids: tuple[str, ...]
    source: tuple[str | Path, ...]
    target: tuple[str | Path, ...]
    groups: tuple[str, ...]
    skipped: tuple[str, ...]
    source_modality: tuple[str, ...] | None
    target_modality: tuple[str, ...] | None
    instructions: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Pair:
    """One row as it was read; names of modalities are empty where no column gives them."""

    id: str = ""
    group: str = ""
    source: str | Path = ""
    target: str | Path = ""
    source_modality: str = ""
    target_modality: str = ""
    instruction: str = ""


def pick(
    table: Table, columns: Columns, images: Collection[str] | None, on_error: OnError
) -> Picked:
    """The pairs of ``table``.

    Raises:
        ValueError: ``on_error`` or ``images`` is out of range.
        PairsError: There are no rows, a column is not there, or rows are bad and not to be skipped.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(
            f'on_error must be "raise" or "skip"; got {on_error!r}. '
            "Use skip to drop bad rows and have them listed."
        )
    if not table.rows:
        raise PairsError(
            f"{table.path} must hold pairs; it has no rows of data. "
            "Check that it was written whole."
        )
    absent = [name for name in columns.named if name not in table.columns]
    if absent and table.columns:
        raise PairsError(
            f"{table.path} must have the columns {columns.named}; it lacks {absent}. "
            f"Choose among those that it has: {list(table.columns)}."
        )
    reader = _RowReader(table, columns, _image_columns(table, columns, images))
    good: list[_Pair] = []
    places: list[int] = []
    bad: list[str] = []
    for position, row in enumerate(table.rows):
        found, problems = reader.read(position, row)
        if problems:
            bad.append(f"{row.where}: {'; '.join(problems)}")
        else:
            good.append(found)
            places.append(position)
    if bad and (on_error == "raise" or not good):
        raise PairsError(
            f"every row of {table.path} must hold a pair; {len(bad)} of {len(table.rows)} do not. "
            'Correct them, or drop them with on_error="skip":',
            bad,
        )
    if bad:
        logger.warning(
            "%s: dropped %d of %d rows, the first: %s",
            table.path,
            len(bad),
            len(table.rows),
            bad[0],
        )
    source, target = tuple(pair.source for pair in good), tuple(pair.target for pair in good)
    if columns.group is None:
        _warn_of_repeats(table.path, {columns.source: source, columns.target: target})

    def told(column: str | None, each: Iterable[str]) -> tuple[str, ...] | None:
        return None if column is None else tuple(each)

    return Picked(
        tuple(places),
        tuple(pair.id for pair in good),
        source,
        target,
        tuple(pair.group for pair in good),
        tuple(bad),
        told(columns.source_modality, (pair.source_modality for pair in good)),
        told(columns.target_modality, (pair.target_modality for pair in good)),
        told(columns.instruction, (pair.instruction for pair in good)),
    )


def _image_columns(
    table: Table, columns: Columns, images: Collection[str] | None
) -> frozenset[str]:
    """The columns whose cells are image paths: the ones named, or else by their suffixes."""
    sides = (columns.source, columns.target)
    if images is not None:
        named = (columns.source_modality, columns.target_modality)
        if any(named):
            raise ValueError(
                "images are named once, by images= or by a column of modalities; got images="
                f"{images!r} and {[name for name in named if name]}. Leave images out."
            )
        if isinstance(images, str) or not set(images) <= set(sides):
            raise ValueError(
                f"images must be a collection of columns among {list(sides)}; got {images!r}. "
                "Name the columns that hold image paths, or [] for none."
            )
        return frozenset(images)
    found = set()
    for name in sides:
        cells = [cell for row in table.rows if _is_text(cell := row.cells.get(name))]
        pictures = sum(Path(str(cell)).suffix.lower() in SUFFIXES for cell in cells)
        if 2 * pictures > len(cells):
            found.add(name)
    return frozenset(found)


def _is_text(cell: object) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


class _RowReader:
    """Checks rows one by one; remembers ids and images that it has seen."""

    def __init__(self, table: Table, columns: Columns, images: frozenset[str]) -> None:
        self._folder = table.folder
        self._columns = columns
        self._images = images
        self._where_of_id: dict[str, str] = {}
        self._problem_of_image: dict[Path, str] = {}
        self._modality_of_cell: dict[str, tuple[str, str]] = {}

    def read(self, position: int, row: Row) -> tuple[_Pair, list[str]]:
        """What a row holds, and its problems, if any."""
        if row.problem:
            return _Pair(), [row.problem]
        problems: list[str] = []
        source_modality = self._modality(row, self._columns.source_modality, problems)
        target_modality = self._modality(row, self._columns.target_modality, problems)
        source = self._item(row, self._columns.source, source_modality, problems)
        target = self._item(row, self._columns.target, target_modality, problems)
        instruction = self._instruction(row, problems)
        name = str(position)
        if self._columns.id is not None:
            name = self._name(row, self._columns.id, problems)
            first = self._where_of_id.setdefault(name, row.where)
            if name and first != row.where:
                problems.append(f"id {name!r} is that of {first} too")
        group = name
        if self._columns.group is not None:
            group = self._name(row, self._columns.group, problems)
        pair = _Pair(name, group, source, target, source_modality, target_modality, instruction)
        return pair, list(dict.fromkeys(problems))

    def _modality(self, row: Row, column: str | None, problems: list[str]) -> str:
        """The name of a modality in one spelling, or ``""`` where no column tells."""
        if column is None:
            return ""
        cell = row.cells.get(column)
        if not isinstance(cell, str) or not cell.strip():
            problems.append(_cell_problem(column, cell, "text"))
            return ""
        if cell not in self._modality_of_cell:
            self._modality_of_cell[cell] = _parsed(cell)
        found, problem = self._modality_of_cell[cell]
        if problem:
            problems.append(f"{column!r}: {problem}")
        return found

    def _instruction(self, row: Row, problems: list[str]) -> str:
        """The instruction of a row; an empty cell is none."""
        cell = (
            None if self._columns.instruction is None else row.cells.get(self._columns.instruction)
        )
        if cell is None or isinstance(cell, str):
            return (cell or "").strip()
        problems.append(_cell_problem(str(self._columns.instruction), cell, "text"))
        return ""

    def _item(self, row: Row, column: str, modality: str, problems: list[str]) -> str | Path:
        cell = row.cells.get(column)
        if not isinstance(cell, str) or not cell.strip():
            problems.append(_cell_problem(column, cell, "text"))
            return ""
        is_image = modality == "image" if modality else column in self._images
        if not in_utf8(cell):
            problems.append(f"{column!r} holds half of a surrogate pair, which UTF-8 cannot hold")
            return ""
        if not is_image:
            return cell
        path = self._folder / cell
        if path not in self._problem_of_image:
            self._problem_of_image[path] = picture_problem(path)
        if self._problem_of_image[path]:
            problems.append(f"image {cell!r} {self._problem_of_image[path]}")
        return path

    @staticmethod
    def _name(row: Row, column: str, problems: list[str]) -> str:
        cell = row.cells.get(column)
        if isinstance(cell, int) and not isinstance(cell, bool):
            return str(cell)
        if not isinstance(cell, str) or not cell.strip():
            problems.append(_cell_problem(column, cell, "text or a whole number"))
            return ""
        if not in_utf8(cell):
            problems.append(f"{column!r} holds half of a surrogate pair, which UTF-8 cannot hold")
            return ""
        return cell


def spelled_alike(names: Sequence[str]) -> tuple[str, ...]:
    """Names of modalities in small letters without spaces.

    Raises:
        ValueError: A name is no modality.
    """
    from align.data.modality import Modality

    for name in dict.fromkeys(names):
        Modality.parse(name)
    return tuple("".join(name.lower().split()) for name in names)


def _parsed(name: str) -> tuple[str, str]:
    """The modality of a cell, and what is wrong with it."""
    try:
        return spelled_alike([name])[0], ""
    except ValueError as error:
        return "", str(error)


def _cell_problem(column: str, cell: object, wanted: str) -> str:
    if cell is None or isinstance(cell, str):
        return f"{column!r} is empty"
    return f"{column!r} must be {wanted}; it is {type(cell).__name__}"


def _warn_of_repeats(path: Path, sides: dict[str, Sequence[str | Path]]) -> None:
    """Say that pairs which share an item may leak from training into a test."""
    for name, items in sides.items():
        repeats = sum(count for count in Counter(items).values() if count > 1)
        if repeats:
            logger.warning(
                "%s: %d of %d pairs share their %r with another pair, and no group column is "
                "named, so a split may part them. Pass group=%r to keep them together.",
                path,
                repeats,
                len(items),
                name,
                name,
            )
