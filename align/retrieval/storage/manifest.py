"""The manifest of an index: what its folder holds, with checksums; replaced whole at each save."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from align._advice import Advised
from align._files.atomic import atomic_file
from align._files.codec import Schema, decode, text_like, whole_number
from align._files.strict_json import parse
from align.data.sides import Side
from align.retrieval.storage.folder import (
    ADAPTER,
    DELETIONS,
    LOCK,
    MANIFEST,
    RESTORE,
    SEGMENTS,
    check_layout,
    check_new,
    digest_of,
    explained,
    has_manifest,
    name_pattern,
    open_file,
)

SCHEMA = Schema("", 2)
_AGAIN = "restore the folder from a copy, or rebuild the index"


Stored = Literal["float16", "bfloat16", "float32", "int8"]
AdapterKind = Literal["adapter", "meta tokens"] | None
Count = Annotated[int, whole_number(0, 2**62)]
Width = Annotated[int, whole_number(1, 2**30)]
Checksum = Annotated[str, text_like("32 hexadecimal digits", "[0-9a-f]{32}")]
# A name of a file of an adapter begins with no dot, so that none leads upwards.
_PATHS = {each: f"{each}/{name_pattern(each)}" for each in (SEGMENTS, DELETIONS)}
_PATHS[ADAPTER] = rf"{ADAPTER}(/\w[\w.-]*){{1,2}}"
FilePath = Annotated[
    str, text_like("the path of a file that an index wrote", "|".join(_PATHS.values()))
]


@dataclass(frozen=True, slots=True)
class File:
    """A file of an index that is never changed."""

    path: FilePath  # where it is, from the folder of the index
    size: Count  # its bytes
    checksum: Checksum  # BLAKE2b of its bytes, 128 bits as hexadecimal digits

    @classmethod
    def of(cls, folder: Path, path: Path) -> File:
        """What is at ``path``, read to the end."""
        with open_file(path, inside=folder) as file:
            checksum = digest_of(file)
            return cls(path.relative_to(folder).as_posix(), file.tell(), checksum)

    def problem(self, folder: Path) -> str | None:
        """What is wrong with the file now, in words."""
        try:
            return self._difference(folder)
        except FileNotFoundError:
            return f"{self.path} is missing"
        except OSError as error:
            return f"{self.path} cannot be read: {error}"

    def check(self, folder: Path) -> None:
        """Raise ``ValueError`` or ``OSError`` if anything is wrong with the file."""
        difference = self._difference(folder)
        if difference is not None:
            raise ValueError(
                f"{folder} must hold the files that its manifest names, as they were written; "
                f"{difference}. {RESTORE}"
            )

    def _difference(self, folder: Path) -> str | None:
        with open_file(folder / self.path, inside=folder) as file:
            size = os.fstat(file.fileno()).st_size
            if size != self.size:
                return f"{self.path} has {size} bytes; {self.size} were written"
            if digest_of(file) != self.checksum:
                return f"{self.path} does not hold the bytes that were written"
        return None


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment."""

    file: File  # its vectors, ids and records
    items: Annotated[int, whole_number(1, 2**62)]  # how many it holds
    deleted: Count = 0  # how many of them are deleted
    deletions: File | None = None  # which, or None where none are


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in the folder of an index."""

    side: Side  # the side that the gallery items belong to
    dtype: Stored  # how vectors are stored, a key of STORED
    dim: Width | None  # width of a vector, or None before the first item
    # what is in the folder adapter: a fitted adapter, or one with a head of meta tokens;
    # None where items come as vectors of the index's own space
    adapter: AdapterKind
    files: tuple[File, ...]  # the files of the adapter
    segments: tuple[Entry, ...]  # in the order of adding

    @property
    def by_folder(self) -> list[tuple[str, File]]:
        """All files of the index but the manifest itself, and the subfolder of each."""
        files = [(ADAPTER, file) for file in self.files]
        files += [(SEGMENTS, entry.file) for entry in self.segments]
        return files + [(DELETIONS, entry.deletions) for entry in self.segments if entry.deletions]

    def continues(self, other: Manifest) -> bool:
        """Whether both are of one index, which may have gained and lost items in between."""
        kept = (self.side, self.dtype, self.adapter, self.files)
        return kept == (other.side, other.dtype, other.adapter, other.files)

    @property
    def all_files(self) -> tuple[File, ...]:
        """All files of the index but the manifest itself."""
        return tuple(file for _, file in self.by_folder)

    def problems(self, folder: Path) -> list[str]:
        """What is wrong with each of those files, in words."""
        return [problem for file in self.all_files if (problem := file.problem(folder))]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the index in ``folder``, if every field is what an index writes."""
    path = folder / MANIFEST
    if not has_manifest(folder):
        raise FileNotFoundError(
            Advised(
                f"an index is a folder with {MANIFEST}; {folder} has none.",
                python="Pass the folder that an index was saved to, or create and save one.",
                command="Name the folder that align index wrote; align info says what a folder is.",
            )
        )
    with open_file(path, inside=folder) as file:
        text = file.read(1 << 28)
    try:
        data = parse(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} must be JSON that an index wrote; reading it failed with: {error}. {RESTORE}"
        ) from error
    schema = data.pop("schema", None) if isinstance(data, dict) else None
    newer = SCHEMA.is_newer(schema, str(path))
    manifest: Manifest = decode(Manifest, data, MANIFEST, _AGAIN, newer=newer)
    _check_whole(manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in ``folder`` by ``manifest``, whole or not at all."""
    with atomic_file(folder / MANIFEST) as scratch:
        scratch.write_text(json.dumps({"schema": SCHEMA.value, **asdict(manifest)}, indent=1))


@contextmanager
def one_writer(folder: Path, manifest: Manifest | None) -> Iterator[None]:
    """Hold the lock of ``folder``, which must be as it was when ``manifest`` was read or written.

    ``None`` stands for a folder without an index, which must be new, empty or begun by an index.
    """
    from filelock import FileLock, Timeout

    advice = "What was saved last is there still. Free space or make it writable, and save again."
    with explained(folder, "a folder that can be written", advice):
        if manifest is None and not has_manifest(folder):
            check_new(folder)
        elif not has_manifest(folder):
            raise FileNotFoundError(
                f"{folder} must hold the index that was read from it; its {MANIFEST} is gone. "
                "Nothing was changed. Restore the folder from a copy, or build the index anew."
            )
        check_layout(folder)
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


def _check_whole(manifest: Manifest) -> None:
    """Raise ``ValueError`` where fields of a manifest do not fit together."""
    segments, placed = manifest.segments, manifest.by_folder
    misplaced = [file for kind, file in placed if not re.fullmatch(_PATHS[kind], file.path)]
    counts = [(e.deleted <= e.items) and (e.deleted > 0) == bool(e.deletions) for e in segments]
    wrong = {
        "name each file once": len({file.path for _, file in placed}) < len(placed),
        "name every file in the folder of its kind": len(misplaced) > 0,
        "name files of an adapter if and only if it has one": (
            (manifest.adapter is None) == (len(manifest.files) > 0)
        ),
        "say how wide vectors are where it holds any": manifest.dim is None and len(segments) > 0,
        "name the file of the deletions of a segment if and only if it has some, not above its "
        "items": not all(counts),
    }
    for rule, is_broken in wrong.items():
        if is_broken:
            raise ValueError(
                f"{MANIFEST} must {rule}; it does not. The file is damaged or was edited: {_AGAIN}."
            )
