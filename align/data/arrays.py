"""Vectors as callers have them, NumPy arrays or tensors or lists, as dense tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._checks import check_dense


def dense_tensor(x: Any, *, name: str = "vectors") -> Tensor:
    """``x`` as a tensor with plain entries, without a copy where none is needed.

    Torch cannot share a NumPy array that is read-only, as a memory map is, runs backwards, or has
    the bytes of its numbers in the other order: those are copied.

    Raises:
        TypeError: ``x`` does not hold numbers alone.
        ValueError: ``x`` is a sparse or quantized tensor, has no entries (as on the meta device),
            or its lists are of different lengths.
    """
    if not isinstance(x, Tensor | np.ndarray):
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
        if x.dtype.kind not in "biufc":
            raise TypeError(
                f"{name} must be an array of numbers; got {x.dtype} of shape {x.shape}. "
                "Stack the rows and convert them, with np.stack(list(x)).astype(np.float32)."
            )
        if not x.dtype.isnative or not x.flags.writeable or min(x.strides, default=0) < 0:
            x = np.array(x, dtype=x.dtype.newbyteorder("="))
        return torch.from_numpy(x)
    tensor: Tensor = x
    check_dense(name, tensor)
    return tensor
