"""Ids of stored items, and the row of each, found through a table that stays on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np

from align._checks import check_length
from align.retrieval.storage.packed_strings import Array, Packed, damaged


def hash_ids(ids: Sequence[bytes]) -> Array:
    """A 64-bit hash of each id, int64 ``(n,)``; the same on every machine."""
    digests = b"".join(blake2b(id, digest_size=8).digest() for id in ids)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class IdTable:
    """``n`` distinct ids in the order of their rows, with a sorted table of their hashes.

    Attributes:
        names: The ids in UTF-8.
        hashes: Their hashes, rising, ``(n,)`` int64.
        rows: The row that each hash belongs to, ``(n,)`` int64.
    """

    names: Packed
    hashes: Array
    rows: Array

    @classmethod
    def of(cls, ids: Sequence[str]) -> Self:
        """The table of distinct ids."""
        encoded = [id.encode() for id in ids]
        return cls._sorted(Packed.of(encoded), hash_ids(encoded))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All ids of several tables, which share none."""
        by_row = np.concatenate([part._by_row() for part in parts])
        return cls._sorted(Packed.join([part.names for part in parts]), by_row)

    @classmethod
    def layout(cls, parts: Sequence[tuple[Self, Array | None]]) -> Self:
        """The hashes and rows of the kept ids of several tables, which share none; no names."""
        by_row = [part._by_row() if keep is None else part._by_row()[keep] for part, keep in parts]
        return cls._sorted(Packed.of([]), np.concatenate(by_row))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> str:
        try:
            return self.names[row].decode()
        except UnicodeDecodeError as error:
            raise damaged(f"the id of its row {row}") from error

    def where(self, keep: Array) -> Self:
        """The ids that a mask ``(n,)`` keeps."""
        return self._sorted(self.names.where(keep), self._by_row()[keep])

    def find(self, ids: Sequence[bytes], hashes: Array) -> Array:
        """The row of each id, -1 where it is not here; ``(len(ids),)`` int64.

        Args:
            ids: Ids in UTF-8.
            hashes: What ``hash_ids`` gives for them.
        """
        first = np.searchsorted(self.hashes, hashes, side="left")
        last = np.searchsorted(self.hashes, hashes, side="right")
        found = np.full(len(ids), -1, dtype=np.int64)
        for place in np.flatnonzero(last > first).tolist():
            # Ids that share a hash lie side by side, and only the bytes tell them apart.
            for row in self.rows[first[place] : last[place]].tolist():
                if not 0 <= row < len(self.names):
                    raise damaged(f"the row of the id {ids[place]!r}")
                if self.names[row] == ids[place]:
                    found[place] = row
        return found

    @classmethod
    def _sorted(cls, names: Packed, by_row: Array) -> Self:
        order = np.argsort(by_row, kind="stable")
        return cls(names, by_row[order], order)

    def _by_row(self) -> Array:
        found = np.empty_like(self.hashes)
        found[self.rows] = self.hashes
        return found


def check_ids(ids: Sequence[str], items: int) -> None:
    """Raise unless ``ids`` are ``items`` distinct strings.

    Raises:
        TypeError: An id is not a string.
        ValueError: Their number is another, an id repeats, or one cannot be written as UTF-8.
    """
    check_length("ids", ids, items)
    check_texts(ids)
    if len(set(ids)) < len(ids):
        repeated = [id for id, times in Counter(ids).items() if times > 1]
        raise ValueError(
            f"every id can be given once; {len(repeated)} repeat, the first {repeated[:5]}. "
            "Leave the repeats out, or name those items differently."
        )


def check_texts(ids: Sequence[str]) -> None:
    """Raise unless all ids are strings that UTF-8 can write.

    Raises:
        TypeError: An id is not a string.
        ValueError: An id holds half of a surrogate pair, as a name that was decoded wrongly does.
    """
    for row, id in enumerate(ids):
        if not isinstance(id, str):
            raise TypeError(
                f"ids must be strings, as JSON keeps them; got {id!r} in row {row}. Use str."
            )
    try:
        "\n".join(ids).encode()
    except UnicodeEncodeError:
        row = next(row for row, id in enumerate(ids) if not is_utf8(id))
        raise ValueError(
            f"ids must be text that UTF-8 can write; that of row {row} is {ids[row]!r}. "
            "Decode the name with the right encoding first."
        ) from None


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can write a text: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
