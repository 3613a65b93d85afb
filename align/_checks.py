"""What callers must get right, checked once at the public door. Depends on nothing but shapes."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def check_matrix(
    name: str, x: Tensor, *, d: int | None = None, ids: Sequence[str] | None = None
) -> None:
    """Raise ``ValueError`` unless ``x`` is a finite dense float matrix ``(n, d)``, not empty.

    Messages name rows by ``ids``, ``n`` of them, or else by number.
    """
    check_dense(name, x)
    if x.ndim != 2 or x.numel() == 0 or not x.is_floating_point():
        raise ValueError(
            f"{name} must be a floating-point matrix (n, d) with at least one row and one column; "
            f"got shape {tuple(x.shape)} and dtype {x.dtype}. "
            "Pass one embedding per row, and convert integers to float32."
        )
    if d is not None and x.shape[1] != d:
        raise ValueError(
            f"{name} must have {d} columns; got shape {tuple(x.shape)}. "
            "Pass embeddings of the encoder that this was fitted on."
        )
    if math.isfinite(x.sum().item()):
        return  # one number that is not finite would make the sum so; what follows says which it is
    bad = ~x.isfinite().all(dim=1)
    if bad.any():
        rows = bad.nonzero().flatten().tolist()
        named = rows[:5] if ids is None else [ids[row] for row in rows[:5]]
        raise ValueError(
            f"{name} must be finite; {len(rows)} of {len(x)} rows hold NaN or infinity, "
            f"the first at {named}. Find out which items gave them and drop or re-encode those."
        )


def check_dense(name: str, x: Tensor) -> None:
    """Raise unless ``x`` is a tensor with plain entries: not sparse, quantized or without any."""
    if not hasattr(x, "is_meta"):
        raise TypeError(
            f"{name} must be a torch tensor; got {type(x).__name__}. "
            "Convert it with torch.as_tensor(...)."
        )
    if x.is_meta:
        raise ValueError(
            f"{name} must hold numbers; got a tensor of shape {tuple(x.shape)} on the meta device, "
            "which has a shape only. Load or compute it on a real device first."
        )
    if str(x.layout) != "torch.strided" or x.is_quantized:
        raise ValueError(
            f"{name} must be dense; got a tensor of layout {x.layout} and dtype {x.dtype}. "
            "Convert it with .to_dense(), or .dequantize() if it is quantized."
        )


def check_no_zero_rows(name: str, x: Tensor) -> None:
    """Raise ``ValueError`` if a row of ``x`` is all zeros and so has no direction."""
    zero = (x == 0).all(dim=1)
    if zero.any():
        rows = zero.nonzero().flatten().tolist()
        raise ValueError(
            f"every row of {name} needs a direction; {len(rows)} of {len(x)} rows are all zeros, "
            f"the first at {rows[:5]}. Drop those items: a cosine with them is not defined."
        )


def check_paired(source: Tensor, target: Tensor) -> None:
    """Raise ``ValueError`` unless ``source`` and ``target`` are matrices with equally many rows."""
    check_dense("source", source)
    check_dense("target", target)
    if source.ndim != 2 or target.ndim != 2 or len(source) != len(target):
        raise ValueError(
            "source and target must be row-matched matrices, (n, d_source) and (n, d_target); "
            f"got {tuple(source.shape)} and {tuple(target.shape)}. "
            "Row i of both must come from pair i: take them from one PairedEmbeddings."
        )


def check_codes(name: str, codes: Tensor, n: int) -> None:
    """Raise ``ValueError`` unless ``codes`` are one int64 for each of ``n`` rows."""
    if codes.shape != (n,) or str(codes.dtype) != "torch.int64":
        raise ValueError(
            f"{name} must be one int64 code per row, ({n},); got shape {tuple(codes.shape)} and "
            f"dtype {codes.dtype}. Number the groups with align.data.splits.group_codes, and take "
            "the codes at the rows that there are."
        )


def as_list(name: str, values: Iterable[Any]) -> list[Any]:
    """Values of a list, array, ``Series`` or generator in their order; a single one is refused.

    Public functions call this once, so that ``[i]`` is a place and not a label: a shuffled
    ``Series`` of pandas finds ``values[i]`` by its index, the vector of another item.

    Raises:
        TypeError: It is one value, such as a string, a path, a mapping or a picture; or a set or
            a table, whose values have no order of their own.
    """
    if type(values) is list:
        return values.copy()
    one = isinstance(values, (str, bytes, bytearray, os.PathLike, Number)) or (
        values is None or getattr(values, "ndim", 1) == 0 or hasattr(values, "getpixel")
    )
    if one or not (hasattr(values, "__iter__") or hasattr(values, "__getitem__")):
        raise TypeError(
            f"{name} must be a list of items; got one {type(values).__name__}, "
            f"{repr(values)[:80]}. Wrap it in a list, even if it is alone."
        )
    if isinstance(values, (set, frozenset, Mapping)) or hasattr(values, "columns"):
        raise TypeError(
            f"{name} must be a list, in an order that says which is which; got a "
            f"{type(values).__name__}. Make a list of it, or pass one column of a table; a single "
            "mapping that is an item is wrapped in a list."
        )
    return list(values)


def check_length(name: str, values: Sequence[Any], n: int) -> None:
    """Raise ``ValueError`` unless ``values`` has one entry for each of ``n`` rows.

    One string has as many letters as some list has rows, and is refused by ``TypeError``.
    """
    if isinstance(values, (str, bytes, bytearray)):
        as_list(name, values)
    if len(values) != n:
        raise ValueError(
            f"{name} must have one entry per row, {n}; got {len(values)}. "
            f"Pass {name} in the same order as the rows."
        )


def check_unique(name: str, values: Sequence[Hashable]) -> None:
    """Raise ``ValueError`` naming the first values that occur more than once."""
    if len(set(values)) == len(values):
        return
    seen: dict[Hashable, int] = {}
    twice = []
    for row, value in enumerate(values):
        if value in seen:
            twice.append(f"{value!r} (rows {seen[value]} and {row})")
        seen.setdefault(value, row)
    if twice:
        raise ValueError(
            f"{name} must be unique; {len(twice)} repeat: {', '.join(twice[:5])}. "
            f"Rename or drop the repeats, or leave {name} out to have them made."
        )


def check_k(k: int, size: int, *, name: str = "k", of: str = "the gallery size") -> None:
    """Raise ``ValueError`` unless ``1 <= k <= size``."""
    if not 1 <= k <= size:
        raise ValueError(
            f"{name} must lie in [1, {size}], {of}; got {k}. Lower {name} or pass more items."
        )


def check_at_least(name: str, value: float, low: float) -> None:
    """Raise ``ValueError`` unless ``value`` is finite and not below ``low``."""
    if not low <= value < math.inf:
        raise ValueError(
            f"{name} must be finite and at least {low}; got {value}. Choose another {name}."
        )


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is finite and above zero."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and above 0; got {value}. Choose another {name}.")


def check_one_of(name: str, value: object, options: Sequence[object], advice: str) -> None:
    """Raise ``ValueError``, which ends with ``advice``, unless ``value`` is one of ``options``."""
    if value not in options:
        *most, last = (f'"{each}"' if isinstance(each, str) else str(each) for each in options)
        raise ValueError(f"{name} must be {', '.join(most)} or {last}; got {value!r}. {advice}")


def check_side(side: str) -> None:
    """Raise ``ValueError`` unless ``side`` is ``"source"`` or ``"target"``."""
    advice = "Name the side whose encoder made these embeddings."
    check_one_of("side", side, ("source", "target"), advice)
