"""Items of one side, to be indexed: from a folder of images, a text file, or a table's column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from align.data.pictures import SUFFIXES, picture_problem
from align.data.readers import PairsError, check_names, check_there, read_table, read_text, seen
from align.data.validation import Columns, OnError, pick


@dataclass(frozen=True, slots=True)
class Items:
    """Distinct items with unique ids.

    Attributes:
        ids: The id column if one was named; else the text itself, or the path as it was written.
        items: Texts, or paths of images.
        modality: Name of the modality of each: images of a folder, texts of a ``.txt``, or what a
            column of a table says; ``None`` where none was named.
        kept: What each row holds in the columns that were to be kept.
        repeats: Rows that repeated an earlier item and were not taken again.
        skipped: One line for each bad row that was dropped.
    """

    ids: tuple[str, ...]
    items: tuple[str | Path, ...]
    modality: tuple[str, ...] | None = None
    kept: tuple[Mapping[str, object], ...] | None = None
    repeats: int = 0
    skipped: tuple[str, ...] = ()


def read_items(
    path: str | Path,
    *,
    column: str | None = None,
    id: str | None = None,
    modality: str | None = None,
    keep: Sequence[str] = (),
    on_error: OnError = "raise",
) -> Items:
    """Read what is to be indexed; an item that occurs several times is taken once.

    Args:
        path: A folder, whose images are taken however deep they lie, hidden files and folders
            aside; a ``.txt`` file with one item per line; or a table as ``Pairs.read`` takes it,
            with ``column`` named.
        column: The column that holds the items; for tables only.
        id: The column that holds their ids; for tables only.
        modality: The column that names the modality of each; for tables only.
        keep: Further columns of a table to keep, which needs ``id``; a row without one has none.
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
            f"columns are kept of the rows of a table with ids; got {list(keep)} of {path} with id "
            f"column {id!r}. Name the column of ids, or keep no columns."
        )
    if path.is_dir():
        return _from_folder(path, on_error)
    if path.suffix.lower() == ".txt":
        lines = [line for line in read_text(path).split("\n") if line.strip()]
        return _distinct(path, [(line, line, "text") for line in lines], ())
    if column is None:
        raise ValueError(
            f"a table needs the name of the column to index; {path} came without one. "
            "Name it with --column, or column= in Python."
        )
    table = read_table(path, [each for each in (column, id, modality, *keep) if each is not None])
    absent = [name for name in keep if name not in table.columns]
    if absent:
        raise PairsError(
            f"{path} must have the columns to keep, {list(keep)}; it lacks {absent}. "
            f"Choose among those that it has: {list(table.columns)}."
        )
    columns = Columns(column, column, id, None, modality, modality)
    picked = pick(table, columns, None, on_error)
    names = picked.ids if id is not None else [str(item) for item in picked.source]
    kinds = picked.source_modality or [None] * len(names)
    if id is not None and on_error == "raise":
        _check_one_id(
            path, [table.rows[row].where for row in picked.rows], names, picked.source, kinds
        )
    found = _distinct(path, list(zip(names, picked.source, kinds, strict=True)), picked.skipped)
    if not keep:
        return found
    # Ids are unique among the rows that were taken, not among those that were dropped.
    cells = dict(zip(names, (table.rows[row].cells for row in picked.rows), strict=True))
    kept = tuple(
        {name: cells[each][name] for name in keep if cells[each].get(name) is not None}
        for each in found.ids
    )
    return replace(found, kept=kept)


def _check_one_id(
    path: Path,
    places: Sequence[str],
    names: Sequence[str],
    items: Sequence[object],
    kinds: Sequence[str | None],
) -> None:
    """Raise ``PairsError`` where an item comes again under another id."""
    first: dict[tuple[object, str | None], int] = {}
    problems = []
    for row, key in enumerate(zip(items, kinds, strict=True)):
        if (before := first.setdefault(key, row)) != row:
            problems.append(
                f"{places[row]}: id {names[row]!r} is of the item of {places[before]}, whose id is "
                f"{names[before]!r}"
            )
    if problems:
        raise PairsError(
            f"an item is indexed once, under one id; {len(problems)} of {len(names)} rows of "
            f'{path} give a second. Remove them, or keep the first of each with on_error="skip" or '
            "--skip-bad:",
            problems,
        )


def _from_folder(folder: Path, on_error: OnError) -> Items:
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file() and seen(file, folder)
    )
    check_names(found)
    problems = {file: picture_problem(file) for file in found}
    bad = tuple(f"{file} {problem}" for file, problem in problems.items() if problem)
    if bad and on_error == "raise":
        raise PairsError(
            f"every image in {folder} must open; {len(bad)} of {len(found)} do not. "
            'Mend or remove them, or skip them with on_error="skip":',
            bad,
        )
    good = [(str(file), file, "image") for file in found if not problems[file]]
    return _distinct(folder, good, bad)


def _distinct(
    path: Path, named: Sequence[tuple[str, str | Path, str | None]], skipped: tuple[str, ...]
) -> Items:
    if not named:
        raise PairsError(f"{path} must hold something to index; it has no items. Check the path.")
    first: dict[tuple[str | Path, str | None], str] = {}
    for name, item, kind in named:
        first.setdefault((item, kind), name)
    kinds = tuple(kind for _, kind in first if kind is not None)
    return Items(
        tuple(first.values()),
        tuple(item for item, _ in first),
        kinds or None,
        repeats=len(named) - len(first),
        skipped=skipped,
    )
