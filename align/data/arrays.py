"""Vectors as callers have them, NumPy arrays or tensors or lists, as dense tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._checks import check_dense

# Bytes of the widest number of each kind that torch has.
_WIDEST = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}


def dense_tensor(x: Any, *, name: str = "vectors") -> Tensor:
    """``x`` as a tensor with plain entries, without a copy where none is needed.

    Torch cannot share a NumPy array that is read-only, as a memory map is, runs backwards, or has
    the bytes of its numbers in the other order: those are copied.

    Raises:
        TypeError: ``x`` does not hold numbers alone, or has no rows in an order.
        ValueError: ``x`` is a sparse or quantized tensor, has no entries (as on the meta device),
            or its lists are of different lengths.
    """
    if isinstance(x, Tensor):
        check_dense(name, x)
        return x
    if not isinstance(x, np.ndarray):
        _check_rows(x, name)
        try:
            plain = not hasattr(x, "__array__")
            x = np.asarray(x)
        except ValueError as error:
            raise ValueError(
                f"{name} must have rows of one length; got {type(x).__name__} of others "
                f"({error}). Pass an array or a tensor."
            ) from error
        # Lists of numbers have no precision of their own: they get torch's.
        x = x.astype(np.float32) if plain and x.dtype == np.float64 else x
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "biufc" or x.dtype.itemsize > _WIDEST[x.dtype.kind]:
            raise TypeError(
                f"{name} must be an array of numbers that torch has; got {x.dtype} of shape "
                f"{x.shape}. Convert it, with np.array(x.tolist(), dtype=np.float32)."
            )
        if not x.dtype.isnative or not x.flags.writeable or min(x.strides, default=0) < 0:
            x = np.array(x, dtype=x.dtype.newbyteorder("="))
        return torch.from_numpy(x)
    tensor: Tensor = x
    check_dense(name, tensor)
    return tensor


def _check_rows(x: Any, name: str) -> None:
    """Raise ``TypeError`` for what NumPy would make one object of, with the way to numbers."""
    if isinstance(x, str | bytes | os.PathLike):
        advice = "Read the file first, as with np.load(...) or pandas.read_parquet(...)."
    elif isinstance(x, Mapping):
        advice = "Pass one of its values, or list(x.values()) if each is the vector of an item."
    elif hasattr(x, "toarray"):
        advice = "Make it dense, with x.toarray()."
    elif hasattr(x, "__iter__") and not hasattr(x, "__len__"):
        advice = "Make a list of it, with list(x)."
    elif hasattr(x, "__len__") or hasattr(x, "__array__"):
        return
    else:
        advice = "Pass an array, a tensor, a data frame or a list with one vector per row."
    what = f"{type(x).__name__} {repr(x)[:40]}" if isinstance(x, str) else type(x).__name__
    raise TypeError(f"{name} must be an array of numbers; got {what}. {advice}")
