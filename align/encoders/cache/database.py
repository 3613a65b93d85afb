"""The SQLite database of an embedding store: vectors by encoder and item, each with a checksum."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from align._files.atomic import reworded
from align._files.codec import Schema

NAME = "store.sqlite"
COMPANIONS = ("-wal", "-shm", "-journal")  # what SQLite writes beside the file while it is open
_APPLICATION_ID, _SCHEMA = 0x69737468, Schema("isthmus-store", 1)

Kind = Literal["pooled", "tokens"]
StoreDtype = Literal["float32", "float16"]

_TABLES = """
CREATE TABLE labels (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, kind TEXT NOT NULL, dtype TEXT NOT NULL,
    width INTEGER NOT NULL, UNIQUE (fingerprint, kind, dtype)
) STRICT;
CREATE TABLE items (
    id INTEGER PRIMARY KEY, label INTEGER NOT NULL, key BLOB NOT NULL, sha256 BLOB NOT NULL,
    vectors BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX of_item ON items (label, key);
"""


@dataclass(frozen=True, slots=True)
class Label:
    """What vectors are: those of one encoder, pooled or of tokens, in one dtype and width."""

    fingerprint: str
    kind: Kind
    dtype: StoreDtype
    width: int


def checksum(label: Label, key: bytes, vectors: bytes) -> bytes:
    """SHA-256 over the label, the key of an item and the bytes of its vectors."""
    digest = hashlib.sha256(json.dumps(asdict(label), sort_keys=True).encode())
    digest.update(key)
    digest.update(vectors)
    return digest.digest()


def check_folder(root: Path) -> None:
    """Raise unless ``root`` is a store, or free or empty, so that it may become one."""
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(
            f"a store is a folder; {str(root)!r} is a file. Choose another name."
        )
    with _errors_explained(root):
        names = sorted(os.listdir(root)) if root.exists() else []
    path = root / NAME
    if names and (path.is_symlink() or not path.is_file()):
        raise FileExistsError(
            f"a store is a folder with {NAME}, or a new or an empty one; {str(root)!r} holds "
            f"{names[:5]} and is none. Nothing in it was changed. Choose another folder, such as "
            "a new one inside it."
        )


_Identity = tuple[int, int, int]
_abandoned: list[sqlite3.Connection] = []


class Database:
    """The database of the store in a folder, opened when it is first used and kept open.

    It is opened anew in a process that was forked, and where the file was removed or replaced.
    """

    def __init__(self, root: Path, *, wait_seconds: float = 60.0) -> None:
        self.root = root
        self.wait_seconds = wait_seconds  # for another process to end its batch
        self._open: list[tuple[sqlite3.Connection, _Identity | None]] = []
        weakref.finalize(self, _shut, self._open, root / NAME)

    def __reduce__(self) -> tuple[type[Database], tuple[Path]]:
        return Database, (self.root,)

    @contextmanager
    def opened(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """The connection; ``None`` where there is no database and none is to be created.

        Raises:
            FileExistsError: The folder holds files and is no store.
            OSError: The disk is full, or the file cannot be opened, read or written.
            ValueError: The file is damaged, or of another version.
        """
        path = self.root / NAME
        with _errors_explained(path):
            if not self._open or self._open[0][1] != _identity(path):
                self.close()
                check_folder(self.root)
                if not create and not path.exists():
                    yield None
                    return
                self.root.mkdir(parents=True, exist_ok=True)
                self._open.append((connect(path, self.wait_seconds), _identity(path)))
            yield self._open[0][0]

    def close(self) -> None:
        """Close the file; it is opened again when it is next used."""
        _shut(self._open, self.root / NAME)


def _shut(connections: list[tuple[sqlite3.Connection, _Identity | None]], path: Path) -> None:
    """Close a connection, unless it is a parent process's or its file is gone.

    SQLite, closing that, would remove what belongs to a new file of the same name.
    """
    while connections:
        db, identity = connections.pop()
        if identity == _identity(path):
            db.close()
        else:
            _abandoned.append(db)


def _identity(path: Path) -> _Identity | None:
    """Process and file that a connection belongs to."""
    try:
        status = path.stat()
    except OSError:
        return None
    return os.getpid(), status.st_dev, status.st_ino


def connect(path: Path, wait_seconds: float = 60.0) -> sqlite3.Connection:
    """A connection to a database of ours, which is made where there is none or an empty file."""
    # A reader of a folder that it may not write to cannot make SQLite's companions of the file.
    name = path if os.access(path.parent, os.W_OK) else f"{path.resolve().as_uri()}?immutable=1"
    db = sqlite3.connect(
        name,
        timeout=wait_seconds,
        isolation_level=None,
        check_same_thread=False,
        uri=isinstance(name, str),
    )
    try:
        db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last batches
        if _header(db) == (0, 0, 0):
            db.execute("PRAGMA page_size = 16384")  # ten vectors, where 4096 bytes would hold two
            with transaction(db):
                if _header(db) == (0, 0, 0):  # another process may have been first
                    for statement in _TABLES.split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {_SCHEMA.major}")
            # Readers and a writer do not wait for each other.
            db.execute("PRAGMA journal_mode = WAL")
        application, version, _ = _header(db)
        schema = f"{_SCHEMA.name}-{version}" if application == _APPLICATION_ID else None
        again = "Choose another folder, or read it with the version that wrote it."
        _SCHEMA.is_newer(schema, str(path), again)
    except BaseException:
        db.close()
        raise
    return db


def _header(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Application id, version, and number of tables and indexes."""
    numbers: tuple[int, int, int] = db.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    return numbers


def is_ours(path: Path) -> bool:
    """Whether a file, damaged or not, bears the application id of our databases."""
    with path.open("rb") as file:
        return file.read(72)[68:] == _APPLICATION_ID.to_bytes(4)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit all that is done inside, or where it fails none of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # SQLite may have rolled it back by itself
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def known_labels(db: sqlite3.Connection) -> dict[int, Label]:
    """Every label by its number."""
    rows = db.execute("SELECT id, fingerprint, kind, dtype, width FROM labels").fetchall()
    return {number: Label(*rest) for number, *rest in rows}


def _label_number(db: sqlite3.Connection, label: Label) -> int | None:
    """Number of a label; ``None`` where the store has nothing of it."""
    row = db.execute(
        "SELECT id, width FROM labels WHERE fingerprint = ? AND kind = ? AND dtype = ?",
        (label.fingerprint, label.kind, label.dtype),
    ).fetchone()
    if row is None:
        return None
    number, width = row
    if width != label.width:
        raise ValueError(
            "an encoder must keep its width as long as its fingerprint; the store has vectors "
            f"of width {width} for {label.fingerprint!r}, and now the encoder says "
            f"{label.width}. Put whatever changed into the fingerprint."
        )
    return int(number)


def read(
    db: sqlite3.Connection, label: Label, keys: Sequence[bytes]
) -> Iterator[tuple[bytes, bytes | None]]:
    """Key and vectors of each item that is there; ``None`` for vectors that are damaged."""
    number = _label_number(db, label)
    if number is None:
        return
    at_once = 500
    for start in range(0, len(keys), at_once):
        some = keys[start : start + at_once]
        marks = ", ".join("?" * len(some))
        for key, digest, vectors in db.execute(
            f"SELECT key, sha256, vectors FROM items WHERE label = ? AND key IN ({marks})",
            (number, *some),
        ):
            yield key, vectors if checksum(label, key, vectors) == digest else None


def write(
    db: sqlite3.Connection,
    label: Label,
    items: Iterable[tuple[bytes, bytes]],
    *,
    damaged: Iterable[bytes] = (),
) -> None:
    """Write key and vectors of each item, all or none; an item that is there already stays.

    Vectors of the ``damaged`` keys are removed first.
    """
    with transaction(db):
        number = _label_number(db, label)
        if number is None:
            number = db.execute(
                "INSERT INTO labels (fingerprint, kind, dtype, width) VALUES (?, ?, ?, ?)",
                (label.fingerprint, label.kind, label.dtype, label.width),
            ).lastrowid
        db.executemany(
            "DELETE FROM items WHERE label = ? AND key = ?", ((number, key) for key in damaged)
        )
        db.executemany(
            "INSERT OR IGNORE INTO items (label, key, sha256, vectors) VALUES (?, ?, ?, ?)",
            ((number, key, checksum(label, key, vectors), vectors) for key, vectors in items),
        )


_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_LOCKED: errno.EBUSY,
    sqlite3.SQLITE_IOERR: errno.EIO,
}


@contextmanager
def _errors_explained(path: Path) -> Iterator[None]:
    """Say of errors of SQLite and of the system what they mean for a store, and what to do."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        if isinstance(error, OSError):
            code, reason = error.errno, error.strerror
            if code is None or reason is None:  # already explained
                raise
        else:
            code, reason = _ERRNO.get(getattr(error, "sqlite_errorcode", 0) & 0xFF), str(error)
            if code is None:
                raise ValueError(
                    f"{path} must be a whole database of an embedding store; reading it failed "
                    f"with: {error}. `align store prune` keeps every vector that can still be read."
                ) from error
        raise reworded(
            OSError(code, reason),
            f"{path} must be readable and writable; the system says: {reason}. What was stored "
            "before is kept. Free space, wait for other processes, or choose another folder.",
        ) from error
