"""Items of one side, to be indexed: from a folder of images, a text file, or a table's column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from align._advice import Advised
from align.data.composite import Composite
from align.data.readers import (
    PairsError,
    check_names,
    check_there,
    is_visible,
    read_table,
    read_text,
)
from align.data.validation import Columns, OnError, columns_advice, part_columns, valid_pairs
from align.data.visual_files import SUFFIXES, file_problem, visual_kind


@dataclass(frozen=True, slots=True)
class ItemTable:
    """Distinct items with unique ids.

    An id is from the column of ids if one was named, else the text itself or the path as it was
    written. Modalities come from a column of a table; a folder has images and videos, a ``.txt``
    texts.
    """

    ids: tuple[str, ...]
    items: tuple[str | Path | Composite, ...]
    modality: tuple[str, ...] | None = None  # None where none was named
    kept: tuple[Mapping[str, object], ...] | None = None  # cells of the columns to keep
    repeats: int = 0  # rows that repeated an earlier item and were not taken again
    skipped: tuple[str, ...] = ()  # a line for each bad row that was dropped


class _NamedItem(NamedTuple):
    id: str
    item: str | Path | Composite
    modality: str | None
    where: str = ""  # its place in a table, for people
    cells: Mapping[str, object] = {}

    @property
    def key(self) -> tuple[str | Path | Composite, str | None]:
        """What makes two of them the same item."""
        return self.item, self.modality


def read_items(
    path: str | Path,
    *,
    column: str | None = None,
    id: str | None = None,
    modality: str | None = None,
    keep: Sequence[str] = (),
    on_error: OnError = "raise",
) -> ItemTable:
    """Read what is to be indexed; an item that occurs several times is taken once.

    Args:
        path: A folder, whose images and videos are taken however deep they lie, hidden files and
            folders aside; a ``.txt`` file with one item per line; or a table as ``Pairs.read``
            takes it. For a table, the further arguments name columns.
        column: The items.
        id: Their ids.
        modality: The modality of each.
        keep: Further columns to keep, which needs ``id``; a row without one has none.
        on_error: ``"raise"`` lists all bad rows in one error; ``"skip"`` drops and reports them,
            and of several ids of one item takes the first.

    Raises:
        PairsError: There is nothing to index, rows are bad and not to be skipped, or a column to
            keep is not there.
        ValueError: A table was given without ``column``, its ids differ for one item, or there are
            columns to keep without a table and ``id``.
        FileNotFoundError: There is no such file or folder.
    """
    path = Path(path)
    check_there(path)
    if keep and (id is None or path.is_dir() or path.suffix.lower() == ".txt"):
        raise ValueError(
            Advised(
                f"columns are kept of the rows of a table with ids; got {list(keep)} of {path} "
                f"with id column {id!r}.",
                python="Name the column of ids, or keep no columns.",
                command="Name the column of ids by --id, or leave --metadata out.",
            )
        )
    if path.is_dir():
        named, skipped = _from_folder(path, on_error)
    elif path.suffix.lower() == ".txt":
        lines = [line for line in read_text(path).split("\n") if line.strip()]
        named, skipped = [_NamedItem(line, line, "text") for line in lines], []
    else:
        if column is None:
            raise ValueError(
                Advised(
                    f"a table needs the name of the column to index; {path} came without one.",
                    python="Name it by column=.",
                    command="Name it by --column.",
                )
            )
        columns = Columns(column, column, id, None, modality, modality)
        named, skipped = _from_table(path, columns, keep, on_error)
    if not named:
        raise PairsError(f"{path} must hold something to index; it has no items. Check the path.")
    first: dict[object, _NamedItem] = {}
    for each in named:
        first.setdefault(each.key, each)
    distinct = first.values()
    return ItemTable(
        tuple(each.id for each in distinct),
        tuple(each.item for each in distinct),
        tuple(each.modality for each in distinct if each.modality is not None) or None,
        tuple(
            {name: each.cells[name] for name in keep if each.cells.get(name) is not None}
            for each in distinct
        )
        if keep
        else None,
        repeats=len(named) - len(first),
        skipped=tuple(skipped),
    )


def _from_table(
    path: Path, columns: Columns, keep: Sequence[str], on_error: OnError
) -> tuple[list[_NamedItem], list[str]]:
    table = read_table(path, [*columns.to_read, *keep])
    if columns.id is None and len(part_columns(columns.source, table.columns)) > 1:
        raise ValueError(
            Advised(
                f"composite items need ids of their own; got {columns.source!r} of {path} without.",
                python="Name the column of ids by id=.",
                command="Name the column of ids by --id.",
            )
        )
    absent = [name for name in keep if name not in table.columns]
    if absent:
        raise PairsError(
            f"{path} must have the columns to keep, {list(keep)}; it lacks {absent}. "
            f"{columns_advice(absent, table.columns)}"
        )
    good, bad = valid_pairs(table, columns, None, on_error)
    named = [
        _NamedItem(
            str(pair.source) if columns.id is None else pair.id,
            pair.source,
            pair.source_modality or None,
            table.rows[pair.row].where,
            table.rows[pair.row].cells,
        )
        for pair in good
    ]
    if columns.id is not None and on_error == "raise":
        _check_one_id(path, named)
    return named, bad


def _check_one_id(path: Path, named: Sequence[_NamedItem]) -> None:
    """Raise ``PairsError`` where an item comes again under another id."""
    first: dict[object, _NamedItem] = {}
    problems = []
    for each in named:
        if (before := first.setdefault(each.key, each)) is not each:
            problems.append(
                f"{each.where}: id {each.id!r} is of the item of {before.where}, whose id is "
                f"{before.id!r}"
            )
    if problems:
        raise PairsError(
            Advised(
                f"an item is indexed once, under one id; {len(problems)} of {len(named)} rows of "
                f"{path} give a second. Remove them, or keep the first of each",
                python='with on_error="skip":',
                command="with --skip-bad:",
            ),
            problems,
        )


def _from_folder(folder: Path, on_error: OnError) -> tuple[list[_NamedItem], list[str]]:
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file() and is_visible(file, folder)
    )
    check_names(files)
    problems = {file: file_problem(file) for file in files}
    bad = [f"{file} {problem}" for file, problem in problems.items() if problem]
    if bad and on_error == "raise":
        raise PairsError(
            Advised(
                f"every image or video in {folder} must open; {len(bad)} of {len(files)} do not. "
                "Mend or remove them, or skip them",
                python='with on_error="skip":',
                command="with --skip-bad:",
            ),
            bad,
        )
    good = [file for file in files if not problems[file]]
    return [_NamedItem(str(file), file, visual_kind(file)) for file in good], bad
