"""Whether a block of documents is copied before it is multiplied: whichever is faster here.

A copy reads memory as one stream, and what is multiplied then lies in the cache; on one processor
that saves a fifth of the time, on another it doubles it. Both give the same bits, so both are tried
on the first blocks of a process and the faster one stays.
"""

from __future__ import annotations

from functools import cache
from statistics import median

import torch

_TRIES = 8  # blocks each way


class Reading:
    """The way that is taken, for blocks of one dtype and about one number of query tokens."""

    def __init__(self) -> None:
        self._seconds: dict[bool, list[float]] = {True: [], False: []}
        self.copies: bool | None = None
        """What was found to be faster; ``None`` as long as that is not known."""

    def now(self) -> bool:
        """Whether to copy the next block."""
        if self.copies is not None:
            return self.copies
        return len(self._seconds[True]) <= len(self._seconds[False])

    def took(self, seconds: float, *, copied: bool) -> None:
        """Keep what a row took in a block; the last of the tries decides, a tie for no copy."""
        self._seconds[copied].append(seconds)
        if self.copies is None and min(map(len, self._seconds.values())) >= _TRIES:
            self.copies = median(self._seconds[True]) < median(self._seconds[False])


@cache
def _reading(dtype: torch.dtype, width: int, size: int) -> Reading:
    return Reading()


def reading(dtype: torch.dtype, width: int, columns: int) -> Reading:
    """How to read blocks of ``width`` that are multiplied in ``dtype`` with ``columns`` tokens."""
    return _reading(dtype, width, columns.bit_length())
