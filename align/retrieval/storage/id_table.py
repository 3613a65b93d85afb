"""Ids of stored items, and the row of each, found through a table that stays on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np

from align._checks import check_length
from align.data.readers import in_utf8
from align.retrieval.storage.packed_strings import Array, Packed, damaged


def hash_ids(ids: Sequence[bytes]) -> Array:
    """A 64-bit hash of each id, int64 ``(n,)``; the same on every machine."""
    digests = b"".join(blake2b(id, digest_size=8).digest() for id in ids)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def sort_hashes(by_row: Array) -> tuple[Array, Array]:
    """The hashes of rows 0, 1, ... in rising order, and the row of each."""
    order = np.argsort(by_row, kind="stable")
    return by_row[order], order


@dataclass(frozen=True, slots=True, eq=False)
class IdTable:
    """``n`` distinct ids in the order of their rows, with a sorted table of their hashes."""

    names: Packed  # the ids in UTF-8
    hashes: Array  # their hashes, rising, (n,) int64
    rows: Array  # the row that each hash belongs to, (n,) int64

    @classmethod
    def of(cls, ids: Sequence[str]) -> Self:
        """A table of ids in their order."""
        encoded = [id.encode() for id in ids]
        return cls(Packed.of(encoded), *sort_hashes(hash_ids(encoded)))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> str:
        try:
            return self.names[row].decode()
        except UnicodeDecodeError as error:
            raise damaged(f"the id of its row {row}") from error

    def find(self, ids: Sequence[bytes], hashes: Array) -> Array:
        """The row of each id in UTF-8, whose ``hash_ids`` these are; -1 where it is not here."""
        first = np.searchsorted(self.hashes, hashes, side="left")
        last = np.searchsorted(self.hashes, hashes, side="right")
        matches = np.full(len(ids), -1, dtype=np.int64)
        for place in np.flatnonzero(last > first).tolist():
            # Ids that share a hash lie side by side, and only the bytes tell them apart.
            for row in self.rows[first[place] : last[place]].tolist():
                if not 0 <= row < len(self.names):
                    raise damaged(f"the row of the id {ids[place]!r}")
                if self.names[row] == ids[place]:
                    matches[place] = row
        return matches

    def hashes_by_row(self) -> Array:
        """The hash of each id, in the order of the ids."""
        by_row = np.empty_like(self.hashes)
        by_row[self.rows] = self.hashes
        return by_row


def check_ids(ids: Sequence[str], items: int) -> None:
    """Raise unless ``ids`` are ``items`` distinct strings that UTF-8 can write."""
    check_length("ids", ids, items)
    check_texts(ids)
    if len(set(ids)) < len(ids):
        repeated = [id for id, times in Counter(ids).items() if times > 1]
        raise ValueError(
            f"every id can be given once; {len(repeated)} repeat, the first {repeated[:5]}. "
            "Leave the repeats out, or name those items differently."
        )


def check_texts(ids: Sequence[str]) -> None:
    """Raise unless all ids are strings that UTF-8 can write."""
    for row, id in enumerate(ids):
        if not isinstance(id, str):
            raise TypeError(
                f"ids must be strings, as JSON keeps them; got {id!r} in row {row}. Use str."
            )
    if not in_utf8("\n".join(ids)):
        row = next(row for row, id in enumerate(ids) if not in_utf8(id))
        raise ValueError(
            f"ids must be text that UTF-8 can write; that of row {row} is {ids[row]!r}. "
            "Decode the name with the right encoding first."
        )
