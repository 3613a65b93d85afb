"""The parts of an index: a segment each, what is deleted in it, and whether it is on disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from align.atomic import atomic_file
from align.retrieval.manifest import Entry, File, Manifest, read_manifest
from align.retrieval.packed import Array
from align.retrieval.segments import STORED, Segment

MERGE_BYTES = 64 << 20
"""Segments are merged by themselves up to this size: it bounds what a save writes again."""

MIXED_ITEMS = 4096
"""Items with one vector are merged with items of several up to so many: apart, they are searched
faster; together, they take fewer files."""

SEGMENTS, DELETIONS = "segments", "deletions"


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


def join_parts(parts: Sequence[Part]) -> Part:
    """One part of what is not deleted in several, in their order."""
    live = [part.segment if part.dead is None else part.segment.where(~part.dead) for part in parts]
    return Part(Segment.join(live))


def joined(parts: Sequence[Part]) -> list[Part]:
    """The live items of all parts in one, or one for each run that one kind of search suits."""
    groups: list[list[Part]] = []
    for part in parts:
        if len(part):
            if groups and _suit(groups[-1], part):
                groups[-1].append(part)
            else:
                groups.append([part])
    return [
        group[0] if len(group) == 1 and not group[0].deleted else join_parts(group)
        for group in groups
    ]


def merged(parts: Sequence[Part]) -> list[Part]:
    """The same items in fewer parts, each larger than the next one while they are small.

    A part is merged with the one before it if that has no more items, so that an item is written
    again about ``log2(n)`` times however many saves there are, and ``n`` saves leave about
    ``log2(n)`` segments. Parts without live items are left out.
    """
    done: list[Part] = []
    for part in parts:
        if not len(part):
            continue
        done.append(part)
        while len(done) > 1 and _is_due(*done[-2:]):
            done[-2:] = [join_parts(done[-2:])]
    return done


def _is_due(left: Part, right: Part) -> bool:
    size = left.segment.nbytes + right.segment.nbytes
    return len(left) <= len(right) and size <= MERGE_BYTES and _suit([left], right)


def _suit(group: Sequence[Part], part: Part) -> bool:
    kinds = {each.segment.offsets is None for each in (*group, part)}
    return len(kinds) == 1 or sum(map(len, group)) + len(part) <= MIXED_ITEMS


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
        segment = prepare(_checked(Segment.read(folder / path), manifest, entry))
    dead = None
    if entry.deletions is not None:
        dead = np.load(folder / entry.deletions.path)
        if dead.shape != (len(segment),) or int(dead.sum()) != entry.deleted:
            raise ValueError(
                f"{entry.deletions.path} must mark {entry.deleted} of {len(segment)} items; got "
                f"{int(dead.sum())} of {dead.shape}. Restore the folder from a copy, or rebuild "
                "the index."
            )
    return Part(segment, dead, entry)


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
    return segment


def write_part(folder: Path, part: Part) -> Part:
    """Put what is not on disk there under a new name; files that are there stay as they are."""
    if part.is_saved:
        return part
    entry = part.entry
    if entry is None:
        path = folder / SEGMENTS / f"{uuid.uuid4().hex}.safetensors"
        with atomic_file(path) as scratch:
            part.segment.write(scratch)
        entry = Entry(File.of(folder, path), len(part.segment))
    if part.dead is not None:
        path = folder / DELETIONS / f"{uuid.uuid4().hex}.npy"
        with atomic_file(path) as scratch, scratch.open("wb") as file:
            np.save(file, part.dead)
        entry = replace(entry, deleted=part.deleted, deletions=File.of(folder, path))
    return replace(part, entry=entry)


def remove_others(folder: Path, manifest: Manifest) -> None:
    """Remove the segments and deletions that a manifest does not name; mapped ones stay readable.

    Those are what it replaced, and what writers left that were killed. The caller holds the lock.
    """
    held = {folder / file.path for file in manifest.held}
    for room in (SEGMENTS, DELETIONS):
        for path in (folder / room).glob("*"):
            if path not in held:
                path.unlink(missing_ok=True)
