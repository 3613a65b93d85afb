"""Rows of a table as pairs, with every bad row named and what is wrong with it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from align._advice import Advised
from align._checks import check_length, check_one_of, check_unique
from align.data.composite import Composite
from align.data.readers import PairsError, Table, TableRow, in_utf8
from align.data.repeats import repeated
from align.data.sides import RawPairs
from align.data.visual_files import SUFFIXES, file_problem, visual_kind

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of a table of pairs; all but the two sides may be left out."""

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
        names = (getattr(self, each.name) for each in fields(self))
        return list(dict.fromkeys(name for name in names if name is not None))

    def wanted(self, there: Collection[str]) -> list[str]:
        """The same, with each column of the parts of composite items by itself."""
        parts = [part for side in (self.source, self.target) for part in part_columns(side, there)]
        others = [name for name in self.named if name not in (self.source, self.target)]
        return list(dict.fromkeys([*parts, *others]))

    @property
    def to_read(self) -> list[str]:
        """What to look for in a file whose columns are not known yet."""
        return [*self.named, *self.wanted(())]


def part_columns(name: str, there: Collection[str]) -> list[str]:
    """The columns of the parts of composite items, as in ``title+photo``; else the one column."""
    return [name] if name in there or "+" not in name else name.split("+")


def columns_advice(absent: Sequence[str], there: Sequence[str]) -> str:
    """What to write in the place of columns that are not there."""
    near = {name: get_close_matches(name, there, n=1) for name in absent}
    meant = [f"{found[0]!r} for {name!r}" for name, found in near.items() if found]
    guess = f"Did you mean {', '.join(meant)}? " if meant else ""
    return f"{guess}Choose among those that it has: {list(there)}."


class ValidPair(NamedTuple):
    """A good row; modalities and the instruction are empty where no column gives them."""

    row: int  # its place among the rows of the table
    id: str
    group: str
    source: Any  # a text, a path, or a picture that a frame held
    target: Any
    source_modality: str
    target_modality: str
    instruction: str


def valid_pairs(
    table: Table, columns: Columns, images: Collection[str] | None, on_error: OnError
) -> tuple[list[ValidPair], list[str]]:
    """The good rows of ``table`` in order, and one line for each bad one."""
    advice = "Use skip to drop bad rows and have them listed."
    check_one_of("on_error", on_error, get_args(OnError), advice)
    if not table.rows:
        raise PairsError(
            f"{table.path} must hold pairs; it has no rows of data. "
            "Check that it was written whole."
        )
    absent = [name for name in columns.wanted(table.columns) if name not in table.columns]
    if absent and table.columns:
        raise PairsError(
            f"{table.path} must have the columns {columns.wanted(table.columns)}; it lacks "
            f"{absent}. {columns_advice(absent, table.columns)}"
        )
    sides = (
        (columns.source, columns.source_modality), (columns.target, columns.target_modality),
    )  # fmt: skip
    for side, modality in sides:
        if modality is not None and len(part_columns(side, table.columns)) > 1:
            raise ValueError(
                "a composite item is of no one modality, as each of its parts has its own; got the "
                f"column {modality!r} beside {side!r}. Leave the column of modalities out."
            )
    validator = _RowValidator(table, columns, _image_columns(table, columns, images))
    good: list[ValidPair] = []
    bad: list[str] = []
    for place, row in enumerate(table.rows):
        pair, problems = validator.validate(place, row)
        if pair is None:
            bad.append(f"{row.where}: {'; '.join(problems)}")
        else:
            good.append(pair)
    if bad and (on_error == "raise" or not good):
        raise PairsError(
            Advised(
                f"every row of {table.path} must hold a pair; {len(bad)} of {len(table.rows)} do "
                "not.",
                python='Correct them, or drop them with on_error="skip":',
                command="Correct them, or drop them with --skip-bad:",
            ),
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
    if columns.group is None:
        _warn_of_repeats(table.path, columns.source, [pair.source for pair in good])
        if columns.target != columns.source:
            _warn_of_repeats(table.path, columns.target, [pair.target for pair in good])
    return good, bad


def _image_columns(
    table: Table, columns: Columns, images: Collection[str] | None
) -> frozenset[str]:
    """The columns whose cells are image paths: the ones named, or else by their suffixes."""
    sides = [
        part
        for side in (columns.source, columns.target)
        for part in part_columns(side, table.columns)
    ]
    if images is not None:
        named = [name for name in (columns.source_modality, columns.target_modality) if name]
        if named:
            raise ValueError(
                "images are named once, by images= or by a column of modalities; got images="
                f"{images!r} and {named}. Leave images out."
            )
        if isinstance(images, str) or not set(images) <= set(sides):
            raise ValueError(
                f"images must be a collection of columns among {sides}; got {images!r}. "
                "Name the columns that hold image paths, or [] for none."
            )
        return frozenset(images)
    image_columns = set()
    for name in sides:
        cells = [cell for row in table.rows if _is_text(cell := row.cells.get(name))]
        pictures = sum(Path(str(cell)).suffix.lower() in SUFFIXES for cell in cells)
        if 2 * pictures > len(cells):
            image_columns.add(name)
    return frozenset(image_columns)


def _is_empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _is_text(cell: object) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


class _RowValidator:
    """Checks rows one by one; remembers ids, images and modalities that it has seen."""

    def __init__(self, table: Table, columns: Columns, images: frozenset[str]) -> None:
        self._folder = table.folder
        self._there = table.columns
        self._columns = columns
        self._images = images
        self._where_of_id: dict[str, str] = {}
        self._problem_of_image: dict[Path, str] = {}
        self._modality_of_cell: dict[str, tuple[str, str]] = {}
        self._problems: list[str] = []

    def validate(self, place: int, row: TableRow) -> tuple[ValidPair | None, list[str]]:
        """What a row holds, or its problems."""
        if row.problem:
            return None, [row.problem]
        self._problems, columns = [], self._columns
        source_modality = self._modality(row, columns.source_modality)
        target_modality = self._modality(row, columns.target_modality)
        source = self._side(row, columns.source, source_modality)
        target = self._side(row, columns.target, target_modality)
        instruction = self._instruction(row, columns.instruction)
        name = row.name or str(place)
        if columns.id is not None:
            name = self._text(row, columns.id, or_number=True)
            first = self._where_of_id.setdefault(name, row.where)
            if name and first != row.where:
                self._problems.append(f"id {name!r} is that of {first} too")
        group = name
        if columns.group is not None:
            group = self._text(row, columns.group, or_number=True)
        if self._problems:
            return None, list(dict.fromkeys(self._problems))
        modalities = source_modality, target_modality
        return ValidPair(place, name, group, source, target, *modalities, instruction), []

    def _text(self, row: TableRow, column: str, *, or_number: bool = False) -> str:
        """The text of a cell, or ``""`` and a problem."""
        cell = row.cells.get(column)
        if or_number and isinstance(cell, int) and not isinstance(cell, bool):
            return str(cell)
        if _is_empty(cell):
            problem = "is empty"
        elif not isinstance(cell, str):
            wanted = "text or a whole number" if or_number else "text"
            problem = f"must be {wanted}; it is {type(cell).__name__}"
        elif not in_utf8(cell):
            problem = "holds half of a surrogate pair, which UTF-8 cannot hold"
        else:
            return cell
        self._problems.append(f"{column!r} {problem}")
        return ""

    def _modality(self, row: TableRow, column: str | None) -> str:
        """The name of a modality in one spelling, or ``""``."""
        cell = "" if column is None else self._text(row, column)
        if not cell:
            return ""
        if cell not in self._modality_of_cell:
            try:
                self._modality_of_cell[cell] = spelled_alike([cell])[0], ""
            except ValueError as error:
                self._modality_of_cell[cell] = "", str(error)
        name, problem = self._modality_of_cell[cell]
        if problem:
            self._problems.append(f"{column!r}: {problem}")
        return name

    def _instruction(self, row: TableRow, column: str | None) -> str:
        """The instruction of a row; an empty cell is none."""
        cell = None if column is None else row.cells.get(column)
        if column is None or _is_empty(cell):
            return ""
        return self._text(row, column).strip()

    def _side(self, row: TableRow, column: str, modality: str) -> Any:
        """The item of a side: of one column, or of those of its parts, of which some are empty."""
        names = part_columns(column, self._there)
        if len(names) == 1:
            return self._item(row, column, modality)
        filled = [name for name in names if not _is_empty(row.cells.get(name))]
        if not filled:
            self._problems.append(f"every part of {column!r} is empty")
        return Composite({name: self._item(row, name, "") for name in filled})

    def _item(self, row: TableRow, column: str, modality: str) -> Any:
        cell = row.cells.get(column)
        if hasattr(cell, "getpixel"):  # a picture of Pillow
            return cell
        is_image = modality in ("image", "video") if modality else column in self._images
        if isinstance(cell, Path):
            is_image = True
        else:
            cell = self._text(row, column)
        if not cell or not is_image:
            return cell
        path = self._folder / cell
        if path not in self._problem_of_image:
            self._problem_of_image[path] = file_problem(path)
        if self._problem_of_image[path]:
            self._problems.append(
                f"{visual_kind(path)} {str(cell)!r} {self._problem_of_image[path]}"
            )
        return path


def check_rows(pairs: RawPairs) -> None:
    """Raise ``ValueError`` unless all fields of pairs have a row for each id, and ids differ."""
    for name in (
        "source",
        "target",
        "groups",
        "source_modality",
        "target_modality",
        "instructions",
    ):
        values = getattr(pairs, name)
        if values is not None:
            check_length(name, values, len(pairs.ids))
    check_unique("ids", pairs.ids)


def check_items(source: Sequence[object], target: Sequence[object]) -> None:
    """Raise ``PairsError`` for items of lists that are not there or cannot be read."""
    problems = [
        f"row {row}, {side}: {problem}"
        for row, pair in enumerate(zip(source, target, strict=True), start=1)
        for side, item in zip(("source", "target"), pair, strict=True)
        if (problem := item_problem(item))
    ]
    if problems:
        raise PairsError(
            f"every item must be there; {len(problems)} are not. Correct or drop them:", problems
        )


def item_problem(item: object) -> str:
    """What is wrong with an item of a list, or ``""``; only texts and paths can be judged."""
    if isinstance(item, Composite):
        if not item:
            return "every part is missing"
        problems = {name: item_problem(part) for name, part in item.items()}
        return "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
    if item is None:
        return "there is nothing"
    if isinstance(item, str) and not item.strip():
        return "the text is blank"
    if isinstance(item, str) and not in_utf8(item):
        return "the text holds half of a surrogate pair, which UTF-8 cannot hold"
    if isinstance(item, Path) and not item.is_file():
        return f"there is no file {item}"
    return ""


def spelled_alike(names: Sequence[str]) -> tuple[str, ...]:
    """Names of modalities in small letters without spaces."""
    from align.data.modality import Modality

    for name in dict.fromkeys(names):
        Modality.parse(name)
    return tuple("".join(name.lower().split()) for name in names)


def _warn_of_repeats(path: Path | str, column: str, items: Sequence[Any]) -> None:
    """Say that pairs which share an item may leak from training into a test."""
    count = repeated(items)
    if count:
        logger.warning(
            "%s: %d of %d pairs share their %r with another pair, and no group column is "
            "named, so a split may part them. Name %r as the column of groups.",
            path,
            count,
            len(items),
            column,
            column,
        )
