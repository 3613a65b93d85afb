"""Maintenance of an embedding store: what it holds, what is damaged, and making it smaller."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from align._display.escaping import plain
from align._files.atomic import atomic_file
from align.encoders.cache.database import (
    COMPANIONS,
    NAME,
    Database,
    Kind,
    Label,
    StoreDtype,
    checksum,
    connect,
    is_ours,
    known_labels,
    transaction,
    write,
)


@dataclass(frozen=True, slots=True)
class StoreStat:
    """What a store holds of one encoder, in one kind and dtype: distinct items, and their bytes."""

    fingerprint: str
    kind: Kind
    dtype: StoreDtype
    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """What is wrong with the file at ``path``, or with an item in it; ``prune`` removes it."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return plain(f"{self.path}: {self.reason}")


def stat(root: Path) -> list[StoreStat]:
    """What the store at ``root`` holds, one entry per encoder, kind and dtype."""
    with closing(Database(root)) as file, file.opened() as db:
        if db is None:
            return []
        # By +label items are read as they lie; by the index, each from another page of the file.
        rows = db.execute(
            "SELECT fingerprint, kind, dtype, count(*), sum(length(vectors)) FROM items "
            "JOIN labels ON labels.id = label GROUP BY +label ORDER BY fingerprint, kind, dtype"
        )
        return [StoreStat(*row) for row in rows]


def verify(root: Path) -> list[StoreProblem]:
    """Every item that differs from its checksum, and whatever is wrong with the file itself."""
    path = root / NAME
    try:
        with closing(Database(root)) as file, file.opened() as db:
            if db is None:
                return []
            known = known_labels(db)
            names = {
                number: f"{label.fingerprint!r} ({label.kind}, {label.dtype})"
                for number, label in known.items()
            }
            reasons = [
                f"item {key.hex()} of {names.get(label, 'an encoder that is not named')}: its "
                "content differs from its checksum"
                for _, label, key in _damaged(db, known)
            ]
            reasons += _faults(db)
    except ValueError as error:
        reasons = [str(error)]
    return [StoreProblem(path, reason) for reason in reasons]


def prune(root: Path, *, drop: Collection[str]) -> int:
    """Drop encoders, remove what ``verify`` lists, give back what is free; the bytes freed."""
    if isinstance(drop, str):
        raise TypeError(
            f"drop must be a collection of fingerprints; got the string {drop!r}. Pass [{drop!r}]."
        )
    before = _size(root)
    if not _is_sound(root):
        _rebuild(root)
    with closing(Database(root)) as file, file.opened() as db:
        known = {} if db is None else known_labels(db)
        fingerprints = {label.fingerprint for label in known.values()}
        unknown = sorted(set(drop) - fingerprints)
        if unknown:
            raise ValueError(
                f"drop must name fingerprints in the store; it has none of {unknown}. "
                f"It holds {sorted(fingerprints)}."
            )
        if db is None:
            return 0
        dropped = [(number,) for number, label in known.items() if label.fingerprint in drop]
        damaged = [(number,) for number, *_ in _damaged(db, known)]
        with transaction(db):
            db.executemany("DELETE FROM items WHERE label = ?", dropped)
            db.executemany("DELETE FROM labels WHERE id = ?", dropped)
            db.executemany("DELETE FROM items WHERE id = ?", damaged)
        if db.execute("PRAGMA freelist_count").fetchone()[0]:
            db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before - _size(root)


def _damaged(db: sqlite3.Connection, known: dict[int, Label]) -> Iterator[tuple[int, int, bytes]]:
    """Number, label and key of every item that differs from its checksum; reads all of them."""
    for number, label, key, digest, vectors in db.execute(
        "SELECT id, label, key, sha256, vectors FROM items"
    ):
        if label not in known or checksum(known[label], key, vectors) != digest:
            yield number, label, key


def _faults(db: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with the file."""
    return [text for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]


def _is_sound(root: Path) -> bool:
    """Whether SQLite can read all of the file, or there is none."""
    try:
        with closing(Database(root)) as file, file.opened() as db:
            return db is None or not _faults(db)
    except ValueError:
        if is_ours(root / NAME):
            return False
        raise


def _rebuild(root: Path) -> None:
    """Put in place of a damaged file a new one with every item that is whole.

    No other process may use the store meanwhile. The old file goes when the new one is whole.
    """
    path = root / NAME
    with atomic_file(path) as scratch:
        with closing(connect(scratch)) as new, closing(sqlite3.connect(path)) as old:
            smallest = 80  # bytes of an item in the file, at least
            for label, items in _readable(old, path.stat().st_size // smallest):
                write(new, label, items)
        for ending in COMPANIONS:
            path.with_name(path.name + ending).unlink(missing_ok=True)


def _readable(
    old: sqlite3.Connection, most: int
) -> Iterator[tuple[Label, list[tuple[bytes, bytes]]]]:
    """Keys and vectors of every whole item of a damaged file, some of one label at a time."""
    try:
        known = known_labels(old)
    except sqlite3.DatabaseError:
        return
    with suppress(sqlite3.DatabaseError):
        most = old.execute("SELECT max(id) FROM items").fetchone()[0] or 0
    at_once = 64
    for first in range(1, most + 1, at_once):
        whole = defaultdict(list)
        for label, key, digest, vectors in _rows(old, first, min(first + at_once - 1, most)):
            if label in known and checksum(known[label], key, vectors) == digest:
                whole[known[label]].append((key, vectors))
        yield from whole.items()


def _rows(old: sqlite3.Connection, first: int, last: int) -> list[tuple[int, bytes, bytes, bytes]]:
    """What can be read of the items of these numbers, one by one where it must be."""
    try:
        return old.execute(
            "SELECT label, key, sha256, vectors FROM items WHERE id BETWEEN ? AND ?", (first, last)
        ).fetchall()
    except sqlite3.DatabaseError:
        if first == last:
            return []
    middle = (first + last) // 2
    return [*_rows(old, first, middle), *_rows(old, middle + 1, last)]


def _size(root: Path) -> int:
    """Bytes of the file and of its companions."""
    size = 0
    for ending in ("", *COMPANIONS):
        with suppress(FileNotFoundError):
            size += os.stat(root / f"{NAME}{ending}").st_size
    return size
