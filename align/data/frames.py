"""Pairs as rows of a pandas data frame, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.data.named_rows import is_pandas, labels_of
from align.data.readers import Table, TableRow, check_once
from align.data.sides import RawPairs
from align.data.splits import is_missing
from align.data.writers import columns_of_pairs

if TYPE_CHECKING:
    from pandas import DataFrame

FRAME = "the frame"  # what messages call it


def read_frame(frame: DataFrame, folder: Path) -> Table:
    """The rows of a data frame; a missing cell is empty, and labels of the index are names.

    Raises:
        TypeError: It is no data frame of pandas.
        PairsError: A column is named twice.
        ValueError: The index repeats a label, or lacks one.
    """
    if not is_pandas(frame) or not hasattr(frame, "columns"):
        raise TypeError(
            f"pairs are read from a pandas DataFrame; got {type(frame).__name__}. "
            "Convert it, as with .to_pandas(), or pass two lists to Pairs.from_lists."
        )
    columns = tuple(map(str, frame.columns))
    check_once(FRAME, columns)
    labels = labels_of(frame, FRAME)
    cells = [frame.iloc[:, place].tolist() for place in range(len(columns))]
    rows = (
        TableRow(
            f"row {label!r}",
            {c: None if is_missing(cell) else cell for c, cell in zip(columns, row, strict=True)},
            name=label,
        )
        for label, *row in zip(labels, *cells, strict=True)
    )
    return Table(FRAME, folder, columns, tuple(rows))


def to_frame(pairs: RawPairs) -> DataFrame:
    """One row per pair: both sides under their names, the group, and what else is known of it.

    The index holds the ids. Raises ``PairsError`` where a side is called as another column.
    """
    import pandas

    columns = columns_of_pairs(pairs)
    made: dict[str, Any] = {
        name: pandas.Series(list(values), dtype=object) for name, values in columns.items()
    }
    return pandas.DataFrame(made).set_axis(pandas.Index(pairs.ids, name="id"), axis=0)
