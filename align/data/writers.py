"""Pairs as columns of a table, and as a CSV that reads back the same."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align._files.atomic import atomic_file
from align.data.readers import check_once
from align.data.sides import RawPairs


def columns_of_pairs(pairs: RawPairs) -> dict[str, Sequence[Any]]:
    """Both sides under their names, the group, and what else is known of each pair."""
    others = {
        "group": pairs.groups,
        "source_modality": pairs.source_modality,
        "target_modality": pairs.target_modality,
        "instruction": pairs.instructions,
    }
    kept = {name: values for name, values in others.items() if values is not None}
    check_once("a table of pairs", ("id", *pairs.side_names, *kept))
    return {**dict(zip(pairs.side_names, (pairs.source, pairs.target), strict=True)), **kept}


def write_csv(pairs: RawPairs, path: Path) -> None:
    """Write the file that ``Pairs.to_csv`` describes; its errors are those of that method."""
    path = path.expanduser()
    if path.suffix.lower() != ".csv":
        raise ValueError(
            f"pairs are written as CSV, to a name that ends in .csv; got {str(path)!r}. Name it so."
        )
    columns = {"id": pairs.ids, **columns_of_pairs(pairs)}
    folder = path.absolute().parent
    rows = [
        [_cell(value, name, folder) for name, value in zip(columns, row, strict=True)]
        for row in zip(*columns.values(), strict=True)
    ]
    with atomic_file(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _cell(value: object, column: str, folder: Path) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Path):
        raise TypeError(
            f"a CSV holds texts and paths of pictures; {column!r} holds {type(value).__name__}. "
            "Save pictures as files and give their paths, or keep the pairs in Python."
        )
    whole = value.absolute()
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else str(whole)
