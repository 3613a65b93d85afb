"""Byte strings end to end: a million of them open without being read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

Array = np.ndarray[Any, Any]


def damaged(what: str) -> ValueError:
    """An error that says what of an open index cannot be read."""
    return ValueError(
        f"an index must hold what was written to it; {what} is damaged. Index.verify() names the "
        "file: restore it from a copy, or rebuild the index."
    )


def ends_of(lengths: Array) -> Array:
    """Where things of these lengths end when they lie end to end from 0, ``(n + 1,)`` int64."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """``n`` byte strings without a gap, in memory or mapped from a file."""

    data: Array  # all bytes, uint8
    ends: Array  # string i is data[ends[i]:ends[i + 1]]; (n + 1,) int64

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Self:
        """Strings packed in their order."""
        # A bytearray can be written to, which torch asks of what it shares.
        data = np.frombuffer(bytearray(b"".join(strings)), dtype=np.uint8)
        return cls(data, ends_of(np.array(list(map(len, strings)), dtype=np.int64)))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, row: int) -> bytes:
        start, stop = int(self.ends[row]), int(self.ends[row + 1])
        if not 0 <= start <= stop <= len(self.data):
            raise damaged(f"where the text of its row {row} lies")
        return self.data[start:stop].tobytes()
