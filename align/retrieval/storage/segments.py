"""The parts of an index: a segment each, what is deleted in it, and whether it is on disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from pathlib import Path

import numpy as np

from align._files.atomic import atomic_file
from align.retrieval.storage.folder import DELETIONS, SEGMENTS, SUFFIXES, open_file
from align.retrieval.storage.manifest import Entry, File, Manifest, read_manifest
from align.retrieval.storage.packed_strings import Array
from align.retrieval.storage.segment import STORED, Segment, Source, write_segment

MERGE_BYTES = 64 << 20
"""Segments are merged by themselves up to this size: it bounds what a save writes again."""

MIXED_ITEMS = 4096
"""Items with one vector are merged with items of several up to so many: apart, they are searched
faster; together, they take fewer files."""

_HEADER = 4096
"""Bytes that may stand before the marks of a file of deletions."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A segment as the index sees it.

    Attributes:
        segment: Its items, the deleted ones too.
        dead: Which are deleted, ``(n,)`` bool, or ``None`` where none are.
        entry: What the manifest says of it, or ``None`` where it was never saved.
    """

    segment: Segment
    dead: Array | None = None
    entry: Entry | None = None

    def __len__(self) -> int:
        return len(self.segment) - self.deleted

    @property
    def deleted(self) -> int:
        """How many items are deleted."""
        return 0 if self.dead is None else int(np.count_nonzero(self.dead))

    @property
    def alive(self) -> Array | None:
        """Which items are not deleted, or ``None`` where all are there."""
        return None if self.dead is None else ~self.dead

    @property
    def is_saved(self) -> bool:
        """Whether the folder holds the part as it is: what is deleted never comes back."""
        return self.entry is not None and self.entry.deleted == self.deleted

    def without(self, rows: Array) -> Part:
        """The part with ``rows``, of which there are some, deleted as well."""
        dead = np.zeros(len(self.segment), dtype=bool) if self.dead is None else self.dead.copy()
        dead[rows] = True
        return replace(self, dead=dead)


def starts_of(parts: Sequence[Part]) -> list[int]:
    """The number of the first row of each part, deleted rows counted, and of all rows."""
    return list(accumulate((len(part.segment) for part in parts), initial=0))


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Parts whose live items shall lie in one segment.

    Attributes:
        parts: In their order; all hold live items.
        is_kept: Whether it is one part that may stay as it is, with marks of what is deleted.
    """

    parts: tuple[Part, ...]
    is_kept: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def is_pooled(self) -> bool:
        """Whether every item has one vector."""
        return all(part.segment.offsets is None for part in self.parts)

    @property
    def nbytes(self) -> int:
        """About how many bytes of vectors the live items have."""
        return sum(p.segment.nbytes * len(p) // len(p.segment) for p in self.parts)

    def and_then(self, other: Run) -> Run:
        """This run with another behind it."""
        return Run(self.parts + other.parts)

    def in_memory(self) -> Part:
        """One part of the live items, which stays in memory."""
        if self.is_kept:
            return self.parts[0]
        live = [p.segment if p.dead is None else p.segment.where(~p.dead) for p in self.parts]
        return Part(Segment.join(live))


def joined(parts: Sequence[Part]) -> list[Run]:
    """The live items of all parts in one run, or one for each kind of search that suits."""
    runs: list[Run] = []
    for part in parts:
        if len(part):
            own = Run((part,), is_kept=not part.deleted)
            if runs and _suit(runs[-1], own):
                own = runs.pop().and_then(own)
            runs.append(own)
    return runs


def kept(parts: Sequence[Part]) -> list[Run]:
    """Parts with live items, each as it is."""
    return [Run((part,), is_kept=True) for part in parts if len(part)]


def merged(runs: Sequence[Run]) -> list[Run]:
    """The same items in fewer runs, each larger than the next one while they are small.

    A run is merged with the one before it if that has no more items, so that an item is written
    again about ``log2(n)`` times however many saves there are, and ``n`` saves leave about
    ``log2(n)`` segments.
    """
    done: list[Run] = []
    for run in runs:
        done.append(run)
        while len(done) > 1 and _is_due(*done[-2:]):
            done[-2:] = [done[-2].and_then(done[-1])]
    return done


def _is_due(left: Run, right: Run) -> bool:
    small = left.nbytes + right.nbytes <= MERGE_BYTES
    return len(left) <= len(right) and small and _suit(left, right)


def _suit(left: Run, right: Run) -> bool:
    return left.is_pooled == right.is_pooled or len(left) + len(right) <= MIXED_ITEMS


def read_parts(
    folder: Path, known: Mapping[str, Segment], prepare: Callable[[Segment], Segment]
) -> tuple[Manifest, list[Part]]:
    """The manifest of a folder and its parts.

    A writer may remove files between the reading of the manifest and theirs; then there is a newer
    manifest, which is read instead.

    Args:
        folder: Of an index.
        known: Segments that are open already, by the path of their file.
        prepare: What to do with a segment that was not.

    Raises:
        FileNotFoundError: The folder holds no index, or a file of it is missing.
        ValueError: The manifest or a file is damaged, or they do not match.
    """
    while True:
        manifest = read_manifest(folder)
        try:
            return manifest, [_read(folder, manifest, e, known, prepare) for e in manifest.segments]
        except FileNotFoundError:
            if read_manifest(folder) == manifest:
                raise


def _read(
    folder: Path,
    manifest: Manifest,
    entry: Entry,
    known: Mapping[str, Segment],
    prepare: Callable[[Segment], Segment],
) -> Part:
    path = entry.file.path
    segment = known.get(path)
    if segment is None:
        found = Segment.read(folder / path, inside=folder)
        segment = prepare(_checked(found, manifest, entry))
    dead = None if entry.deletions is None else _read_marks(folder, entry, entry.deletions)
    return Part(segment, dead, entry)


def _read_marks(folder: Path, entry: Entry, file: File) -> Array:
    """Which items are deleted, of a file that is as it was written."""
    file.check(folder)
    with open_file(folder / file.path, inside=folder) as opened:
        data = opened.read(entry.items + _HEADER)
    marks = np.frombuffer(data[max(0, len(data) - entry.items) :], dtype=np.uint8)
    header = _header(entry.items)
    if data[: len(header)] != header or len(data) != len(header) + entry.items:
        raise _not_marks(file, f"other bytes, {len(data)} in all", entry)
    if int(marks.max()) > 1 or np.count_nonzero(marks) != entry.deleted:
        raise _not_marks(file, f"{np.count_nonzero(marks)} marks", entry)
    return marks.astype(bool)


def _header(items: int) -> bytes:
    """What ``numpy.save`` writes before ``items`` marks."""
    buffer = BytesIO()
    description = {"descr": "|b1", "fortran_order": False, "shape": (items,)}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def _not_marks(file: File, got: str, entry: Entry) -> ValueError:
    return ValueError(
        f"{file.path} must mark {entry.deleted} of {entry.items} items; got {got}. "
        "Restore the folder from a copy, or rebuild the index."
    )


def _checked(segment: Segment, manifest: Manifest, entry: Entry) -> Segment:
    vectors = len(segment.tokens if segment.offsets is None else segment.offsets[1:])
    if not len(segment) == len(segment.records) == vectors == entry.items:
        raise ValueError(
            f"{entry.file.path} must hold {entry.items} items; got {len(segment)} ids, "
            f"{len(segment.records)} records and {vectors} vectors. "
            "Restore the folder from a copy, or rebuild the index."
        )
    if segment.tokens.dtype != STORED[manifest.dtype] or segment.dim != manifest.dim:
        raise ValueError(
            f"{entry.file.path} must hold {manifest.dtype} vectors of width {manifest.dim}; got "
            f"{segment.tokens.dtype} of width {segment.dim}. "
            "Restore the folder from a copy, or rebuild the index."
        )
    held = 0 if segment.file is None else len(segment.file)
    if held != entry.file.size:
        raise ValueError(
            f"{entry.file.path} must have {entry.file.size} bytes, as they were written; got "
            f"{held}. Restore the folder from a copy, or rebuild the index."
        )
    return segment


def check_readable(folder: Path, runs: Sequence[Run]) -> None:
    """Raise unless all that is to be read whole and written anew is as it was written.

    Damage that is copied would get a checksum of its own, and nobody could tell any more.

    Raises:
        FileNotFoundError: A file is missing.
        OSError: A file was cut, or cannot be read.
        ValueError: A file does not hold the bytes that were written.
    """
    for part in (part for run in runs if not run.is_kept for part in run.parts):
        part.segment.check_there()
        file = part.segment.file
        if part.entry is None or file is None:
            continue
        # What is mapped is what would be copied, also where another file has its name by now.
        written = part.entry.file
        if len(file) != written.size or file.digest() != written.checksum:
            raise ValueError(
                f"{written.path} must hold the bytes that were written before it is written anew; "
                "it holds others. Nothing was changed. Restore that file from a copy, or rebuild "
                "the index; verify() names all that is damaged."
            )


def write_run(folder: Path, run: Run) -> Part:
    """Put what is not on disk there under a new name; files that are there stay as they are."""
    if not run.is_kept:
        sources = [(part.segment, part.alive) for part in run.parts]
        return _write_segment(folder, sources, len(run))
    (part,) = run.parts
    if part.is_saved:
        return part
    if part.entry is None or part.dead is None:
        return _write_segment(folder, [(part.segment, part.alive)], len(part))
    path = folder / DELETIONS / f"{uuid.uuid4().hex}{SUFFIXES[DELETIONS]}"
    with atomic_file(path) as scratch, scratch.open("wb") as file:
        np.save(file, part.dead)
    entry = replace(part.entry, deleted=part.deleted, deletions=File.of(folder, path))
    return replace(part, entry=entry)


def _write_segment(folder: Path, sources: Sequence[Source], items: int) -> Part:
    """Write a segment, and map it, so that what was in memory can go."""
    path = folder / SEGMENTS / f"{uuid.uuid4().hex}{SUFFIXES[SEGMENTS]}"
    with atomic_file(path) as scratch:
        checksum = write_segment(scratch, sources)
        size = scratch.stat().st_size
    file = File(path.relative_to(folder).as_posix(), size, checksum)
    return Part(Segment.read(path, inside=folder), entry=Entry(file, items))
