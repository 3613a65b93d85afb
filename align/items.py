"""Items of one side, to be indexed: from a folder of images, a text file, or a table's column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from align.pairs import Pairs
from align.pictures import SUFFIXES, picture_problem
from align.rows import OnError
from align.tables import PairsError, read_table


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
        path: A folder, whose images are taken however deep they lie; a ``.txt`` file with one item
            per line; or a table as ``Pairs.read`` takes it, with ``column`` named.
        column: The column that holds the items; for tables only.
        id: The column that holds their ids; for tables only.
        modality: The column that names the modality of each; for tables only.
        keep: Further columns of a table to keep, which needs ``id``; a row without one has none.
        on_error: ``"raise"`` lists all bad rows in one error; ``"skip"`` drops and reports them.

    Raises:
        PairsError: There is nothing to index, rows are bad and not to be skipped, or a column to
            keep is not there.
        ValueError: A table was given without ``column``, its ids differ for one item, or there are
            columns to keep without a table and ``id``.
        FileNotFoundError: There is no such file or folder.
    """
    path = Path(path)
    if keep and (id is None or path.is_dir() or path.suffix.lower() == ".txt"):
        raise ValueError(
            f"columns are kept of the rows of a table with ids; got {list(keep)} of {path} with id "
            f"column {id!r}. Name the column of ids, or keep no columns."
        )
    if path.is_dir():
        return _from_folder(path, on_error)
    if path.suffix.lower() == ".txt":
        lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        return _distinct(path, [(line, line, "text") for line in lines], ())
    if column is None:
        raise ValueError(
            f"a table needs the name of the column to index; {path} came without one. "
            "Name it with --column, or column= in Python."
        )
    pairs = Pairs.read(
        path,
        source=column,
        target=column,
        id=id,
        source_modality=modality,
        target_modality=modality,
        on_error=on_error,
    )
    names = pairs.ids if id is not None else [str(item) for item in pairs.source]
    kinds = pairs.source_modality or [None] * len(pairs)
    found = _distinct(path, list(zip(names, pairs.source, kinds, strict=True)), pairs.skipped)
    return replace(found, kept=_kept(path, str(id), keep, found.ids)) if keep else found


def _kept(
    path: Path, id: str, keep: Sequence[str], ids: Sequence[str]
) -> tuple[Mapping[str, object], ...]:
    table = read_table(path, [id, *keep])
    absent = [name for name in keep if name not in table.columns]
    if absent:
        raise PairsError(
            f"{path} must have the columns to keep, {list(keep)}; it lacks {absent}. "
            f"Choose among those that it has: {list(table.columns)}."
        )
    rows = {str(row.cells.get(id)): row.cells for row in table.rows}
    return tuple(
        {name: rows[each][name] for name in keep if rows[each].get(name) is not None}
        for each in ids
    )


def _from_folder(folder: Path, on_error: OnError) -> Items:
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
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
