"""The manifest of an index: what its folder holds, with checksums; replaced whole at each save."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from align._checks import check_side
from align.adapters.adapter import Side
from align.atomic import atomic_file
from align.retrieval.segments import STORED

SCHEMA = 2
MANIFEST, LOCK = "index.json", "index.lock"

Stored = Literal["float16", "bfloat16", "float32", "int8"]
AdapterKind = Literal["adapter", "meta tokens"] | None


@dataclass(frozen=True, slots=True)
class File:
    """A file of an index that is never changed.

    Attributes:
        path: Where it is, from the folder of the index.
        size: Its bytes.
        checksum: BLAKE2b of its bytes, 128 bits as hexadecimal digits.
    """

    path: str
    size: int
    checksum: str

    @classmethod
    def of(cls, folder: Path, path: Path) -> File:
        """What is at ``path``, read to the end."""
        return cls(str(path.relative_to(folder)), path.stat().st_size, _checksum(path))

    def problem(self, folder: Path) -> str | None:
        """What is wrong with the file now, in words."""
        path = folder / self.path
        if not path.is_file():
            return f"{self.path} is missing"
        size = path.stat().st_size
        if size != self.size:
            return f"{self.path} has {size} bytes; {self.size} were written"
        if _checksum(path) != self.checksum:
            return f"{self.path} does not hold the bytes that were written"
        return None


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment.

    Attributes:
        file: Its vectors, ids and records.
        items: How many it holds.
        deleted: How many of them are deleted.
        deletions: Which, or ``None`` where none are.
    """

    file: File
    items: int
    deleted: int = 0
    deletions: File | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in the folder of an index.

    Attributes:
        side: The side that the gallery items belong to.
        dtype: How vectors are stored, a key of ``STORED``.
        dim: Width of a vector, or ``None`` before the first item.
        adapter: What is in the folder ``adapter``: a fitted adapter, or one with a head of meta
            tokens; ``None`` where items come as vectors of the index's own space.
        files: The files of the adapter.
        segments: In the order of adding.
        schema: Version of the layout of the folder.
    """

    side: Side
    dtype: Stored
    dim: int | None
    adapter: AdapterKind
    files: tuple[File, ...]
    segments: tuple[Entry, ...]
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        check_side(self.side)
        check_dtype(self.dtype)

    @property
    def held(self) -> tuple[File, ...]:
        """All files of the index but the manifest itself."""
        deletions = [entry.deletions for entry in self.segments if entry.deletions is not None]
        return (*self.files, *(entry.file for entry in self.segments), *deletions)


def check_dtype(dtype: str) -> None:
    """Raise ``ValueError`` unless ``dtype`` is a way to store vectors."""
    if dtype not in STORED:
        raise ValueError(
            f"dtype must be one of {sorted(STORED)}; got {dtype!r}. Name one of them as a string."
        )


def has_manifest(folder: Path) -> bool:
    """Whether an index was saved in ``folder``."""
    return (folder / MANIFEST).exists()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the index in ``folder``.

    Raises:
        FileNotFoundError: The folder holds no index.
        ValueError: The manifest is damaged, of another version, or has unknown or missing fields.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"an index is a folder with {MANIFEST}; {folder} has none. "
            "Pass the folder that an index was saved to, or create and save one."
        ) from None
    except ValueError as error:
        raise ValueError(
            f"{path} must be JSON that an index wrote; reading it failed with: {error}. "
            "Restore it from a copy, or rebuild the index."
        ) from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"{path} must have schema {SCHEMA}; got {schema!r}. "
            "Read it with the version of this package that wrote it, or rebuild the index."
        )
    known = {field.name for field in fields(Manifest)}
    if set(found) != known:
        raise ValueError(
            f"{path} must have the fields {sorted(known)}; got {sorted(found)}. "
            "Restore it from a copy, or rebuild the index."
        )
    files = tuple(File(**file) for file in found["files"])
    return Manifest(**found | {"files": files, "segments": tuple(map(_entry, found["segments"]))})


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in ``folder`` by ``manifest``, whole or not at all."""
    with atomic_file(folder / MANIFEST) as scratch:
        scratch.write_text(json.dumps(asdict(manifest), indent=1))


@contextmanager
def one_writer(folder: Path, manifest: Manifest | None) -> Iterator[None]:
    """Hold the lock of ``folder``, which must be as it was when ``manifest`` was read or written.

    ``None`` stands for a folder without an index.

    Raises:
        RuntimeError: Another process is saving to it, or has saved since.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"an index has one writer at a time; another process is saving to {folder} now. "
            "Open it again when that one is done, and make the changes there."
        ) from None
    try:
        if (read_manifest(folder) if has_manifest(folder) else None) != manifest:
            raise RuntimeError(
                f"{folder} must be as this index left it; another process has saved to it "
                "since. Open it again and make the changes there."
            )
        yield
    finally:
        lock.release()


def _entry(found: dict[str, Any]) -> Entry:
    gone = found["deletions"]
    held = {"file": File(**found["file"]), "deletions": None if gone is None else File(**gone)}
    return Entry(**found | held)


def _checksum(path: Path) -> str:
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
