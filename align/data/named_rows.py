"""Vectors as people have them, from arrays to columns of a table, as one matrix with named rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from align.data.arrays import dense_tensor
from align.data.splits import is_missing, names_of


class ArrayLike(Protocol):
    """What NumPy can read, as a data frame, a column of vectors, or a table of Arrow."""

    def __len__(self) -> int: ...
    def __array__(self, *args: Any, **options: Any) -> np.ndarray[Any, Any]: ...


Matrix = Tensor | np.ndarray[Any, Any] | Sequence[Any] | ArrayLike


class NamedRows(NamedTuple):
    """One vector per row, ``(n, d)``, and the names of the rows where the input has any."""

    vectors: Tensor
    ids: tuple[str, ...] | None
    is_pandas: bool = False


def named_rows(x: Matrix, *, name: str = "vectors") -> NamedRows:
    """``x`` as a matrix with the names of its rows, without a copy where none is needed.

    The rows lie one after another in memory, so that every form of the same numbers gives the same
    results to the last bit.

    - A NumPy array or a tensor is what it is, in its own dtype and on its own device. Arrays that
      are read-only, lie in another order or have foreign bytes are copied.
    - A data frame of pandas is its cells; every column is a dimension. A series of pandas holds a
      vector per cell, a list or an array. The index names the rows.
    - A list holds a row per item: lists, arrays or tensors. Numbers of Python have no precision of
      their own and become float32.
    - What NumPy can read otherwise, as frames of polars and columns of Arrow, is what NumPy reads.

    Args:
        x: The vectors.
        name: What messages call them.

    Raises:
        TypeError: There is something else than numbers; the row or the columns are named.
        ValueError: A row is missing or of another width, an index repeats a label, or a tensor is
            sparse, quantized, or has no entries.
    """
    if isinstance(x, Tensor):
        return NamedRows(dense_tensor(x, name=name).contiguous(), None)
    if is_pandas(x):
        return _from_pandas(x, name)
    if isinstance(x, list | tuple) and len(x) > 0 and not isinstance(x[0], int | float):
        return NamedRows(_stacked(x, range(len(x)), name), None)
    if not isinstance(x, np.ndarray) and hasattr(x, "__array__"):
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        if isinstance(x, np.ma.MaskedArray):
            _check_unmasked(x, name)
        if x.dtype == object and x.ndim == 1 and len(x) > 0:
            return NamedRows(_stacked(x, range(len(x)), name), None)
    return NamedRows(dense_tensor(x, name=name).contiguous(), None)


def is_pandas(x: object) -> bool:
    """Whether ``x`` is a frame or a series of pandas, which is not imported to tell."""
    return hasattr(x, "index") and any(
        kind.__module__.partition(".")[0] == "pandas" for kind in type(x).__mro__
    )


def labels_of(table: Any, name: str) -> tuple[str, ...]:
    """The labels of an index of pandas as names, each once.

    Raises:
        ValueError: A label is missing or is there twice.
    """
    labels = names_of(f"the index of {name}", table.index)
    rows: dict[str, int] = {}
    for row, label in enumerate(labels):
        first = rows.setdefault(label, row)
        if first != row:
            raise ValueError(
                f"the index of {name} must name each row once, as its labels are the ids; "
                f"{label!r} stands at rows {first} and {row}. Use .reset_index(drop=True), and "
                "give what repeats as groups."
            )
    return labels


def _from_pandas(x: Any, name: str) -> NamedRows:
    labels = labels_of(x, name)
    if not hasattr(x, "columns"):
        if x.dtype.kind in "biufc":
            raise TypeError(
                f"{name} must hold a vector per row; got a Series of single numbers, {x.dtype}. "
                "Pass a DataFrame, or a Series whose cells are lists or arrays."
            )
        return NamedRows(_stacked(x.tolist(), labels, name), labels, True)
    unfit = [
        f"{column!r} ({kind})"
        for column, kind in zip(x.columns, x.dtypes, strict=True)
        if kind.kind not in "iufc"
    ]
    if unfit:
        raise TypeError(
            f"every column of {name} must be a dimension, that is hold numbers; got "
            f"{', '.join(unfit[:5])}. Drop such columns, or make one of names the index: "
            "frame.set_index(...)."
        )
    lacking = x.isna().any(axis=1).to_numpy().nonzero()[0]
    if len(lacking):
        raise ValueError(
            f"{name} must be finite; {len(lacking)} of {len(x)} rows lack a number, the first "
            f"{labels[lacking[0]]!r}. Drop those rows on both sides, or encode their items again."
        )
    if len(x.columns) == 0:
        return NamedRows(torch.empty(len(x), 0), labels, True)
    kind = np.result_type(*(getattr(each, "numpy_dtype", each) for each in x.dtypes))
    cells = np.ascontiguousarray(x.to_numpy(dtype=kind))
    return NamedRows(dense_tensor(cells, name=name), labels, True)


def _stacked(rows: Any, labels: Sequence[object], name: str) -> Tensor:
    """Rows of one width, each a list, an array or a tensor, as one matrix."""
    made: list[Any] = []
    for label, row in zip(labels, rows, strict=True):
        where = f"row {label!r} of {name}"
        one = row if isinstance(row, Tensor) else _row(row, where)
        if one.ndim != 1:
            raise ValueError(
                f"{where} must be one vector; got {type(row).__name__} of shape "
                f"{tuple(one.shape)}. Pass a list or an array of numbers for each row."
            )
        if made and len(one) != len(made[0]):
            raise ValueError(
                f"{name} must have rows of one length; row {labels[0]!r} has {len(made[0])} "
                f"numbers and row {label!r} has {len(one)}. Encode all items with one encoder."
            )
        made.append(one)
    if any(isinstance(each, Tensor) for each in made):
        return torch.stack([dense_tensor(each, name=name) for each in made])
    return dense_tensor(np.stack(made), name=name)


def _row(row: Any, where: str) -> np.ndarray[Any, Any]:
    if not isinstance(row, list | tuple) and np.ndim(row) == 0:
        what = "nothing" if is_missing(row) else f"{type(row).__name__} {repr(row)[:40]}"
        raise (ValueError if is_missing(row) else TypeError)(
            f"{where} must be a vector; got {what}. Pass a list or an array of numbers for each "
            "row, and drop rows without on both sides."
        )
    try:
        made = np.asarray(row)
    except ValueError as error:
        raise ValueError(
            f"{where} must be one vector; got lists of different lengths. Pass a flat list."
        ) from error
    if made.dtype.kind not in "biufc":
        raise TypeError(
            f"{where} must hold numbers; got {made.dtype}. Convert or drop what is no number."
        )
    # Numbers of Python have no precision of their own: they get torch's.
    plain = isinstance(row, list | tuple) and made.dtype == np.float64
    return made.astype(np.float32) if plain else made


def _check_unmasked(x: np.ma.MaskedArray[Any, Any], name: str) -> None:
    masked = np.flatnonzero(np.ma.getmaskarray(x).any(axis=tuple(range(1, x.ndim))))
    if len(masked):
        raise ValueError(
            f"{name} must be finite; {len(masked)} of {len(x)} rows are masked in part, the first "
            f"at {masked[:5].tolist()}. Drop those rows, or fill them with what is true."
        )
