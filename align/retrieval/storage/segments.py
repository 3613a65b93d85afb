"""The segments of an index: what is deleted in each, what is on disk, and what is merged when."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from pathlib import Path

import numpy as np

from align._files.atomic import atomic_file
from align.retrieval.storage.folder import DELETIONS, RESTORE, SEGMENTS, SUFFIXES, open_file
from align.retrieval.storage.manifest import Entry, File, Manifest, read_manifest
from align.retrieval.storage.packed_strings import Array
from align.retrieval.storage.segment import STORED, Segment, write_segment

MERGE_BYTES = 64 << 20
"""Segments are merged by themselves up to this size: it bounds what a save writes again."""

MIXED_ITEMS = 4096
"""Items with one vector are merged with items of several up to so many: apart, they are searched
faster; together, they take fewer files."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveSegment:
    """A segment as the index sees it."""

    segment: Segment  # its items, the deleted ones too
    dead: Array | None = None  # which are deleted, (n,) bool, or None where none are
    entry: Entry | None = None  # what the manifest says of it, or None where it was never saved

    def __len__(self) -> int:
        return len(self.segment) - self.deleted

    @property
    def deleted(self) -> int:
        """How many of its items are deleted."""
        return 0 if self.dead is None else int(np.count_nonzero(self.dead))

    @property
    def alive(self) -> Array | None:
        """Which items are not deleted, or ``None`` where all are there."""
        return None if self.dead is None else ~self.dead

    @property
    def is_saved(self) -> bool:
        """Whether the folder holds it as it is: what is deleted never comes back."""
        return self.entry is not None and self.entry.deleted == self.deleted

    def rows(self) -> Array:
        """The rows of the items that are not deleted."""
        rows = np.arange(len(self.segment))
        return rows if self.dead is None else rows[~self.dead]

    def without(self, rows: Array) -> LiveSegment:
        """The same with ``rows``, of which there are some, deleted as well."""
        dead = np.zeros(len(self.segment), dtype=bool) if self.dead is None else self.dead.copy()
        dead[rows] = True
        return replace(self, dead=dead)


def starts_of(segments: Sequence[LiveSegment]) -> list[int]:
    """The number of the first row of each segment, deleted rows counted, and of all rows."""
    return list(accumulate((len(each.segment) for each in segments), initial=0))


Group = list[LiveSegment]
"""Segments whose live items shall lie in one, in their order."""


def one_each(segments: Sequence[LiveSegment]) -> list[Group]:
    """Segments with live items, each by itself."""
    return [[each] for each in segments if len(each)]


def merge_all(segments: Sequence[LiveSegment]) -> list[Group]:
    """All live items in one group, or one for each kind of search that suits."""
    groups: list[Group] = []
    for own in one_each(segments):
        groups.append(groups.pop() + own if groups and _suit(groups[-1], own) else own)
    return groups


def merge_small(groups: Sequence[Group]) -> list[Group]:
    """The same items in fewer groups, each larger than the next one while they are small.

    A group is merged with the one before it if that has no more items, so that an item is written
    again about ``log2(n)`` times however many saves there are, and ``n`` saves leave about
    ``log2(n)`` segments.
    """
    done: list[Group] = []
    for group in groups:
        while done and _items(done[-1]) <= _items(group) and _are_small(done[-1], group):
            group = done.pop() + group
        done.append(group)
    return done


def _items(group: Group) -> int:
    return sum(map(len, group))


def _are_small(left: Group, right: Group) -> bool:
    vectors = sum(e.segment.nbytes * len(e) // len(e.segment) for e in left + right)
    return vectors <= MERGE_BYTES and _suit(left, right)


def _suit(left: Group, right: Group) -> bool:
    """Whether both may be searched as one: items of one vector apart from those of several."""
    pooled = {each.segment.offsets is None for each in left + right}
    return len(pooled) == 1 or _items(left) + _items(right) <= MIXED_ITEMS


def in_memory(group: Group) -> LiveSegment:
    """One segment of the live items of unsaved ones."""
    if len(group) == 1:
        return group[0]
    return LiveSegment(Segment.join([(each.segment, each.alive) for each in group]))


def reread(
    folder: Path, last: Manifest | None, segments: Sequence[LiveSegment], budget: int | None
) -> tuple[Manifest, list[LiveSegment]]:
    """``read_segments`` for a reader of ``segments``, which were those of the ``last`` manifest.

    Raises ``RuntimeError`` if not all of them are saved, or the folder holds an index made anew.
    """
    if last is None or not all(each.is_saved for each in segments):
        raise RuntimeError(
            "only an index without unsaved changes can be refreshed; this one has some. "
            "Save it, or open the folder again."
        )
    known = {each.entry.file.path: each.segment for each in segments if each.entry}
    manifest, found = read_segments(folder, known, budget)
    if not manifest.continues(last):
        raise RuntimeError(
            "an index is refreshed with what was added or deleted; the folder now holds one of "
            "another adapter, side or dtype. Open it again."
        )
    return manifest, found


def read_segments(
    folder: Path, known: Mapping[str, Segment], budget: int | None
) -> tuple[Manifest, list[LiveSegment]]:
    """The manifest of a folder and its segments; ``known`` are open already, by their paths.

    A writer may remove files between the reading of the manifest and theirs; then there is a newer
    manifest, which is read instead.
    """
    while True:
        manifest = read_manifest(folder)
        try:
            return manifest, [
                _read(folder, manifest, entry, known, budget) for entry in manifest.segments
            ]
        except FileNotFoundError:
            if read_manifest(folder) == manifest:
                raise


def _read(
    folder: Path,
    manifest: Manifest,
    entry: Entry,
    known: Mapping[str, Segment],
    budget: int | None,
) -> LiveSegment:
    segment = known.get(entry.file.path)
    if segment is None:
        segment = Segment.read(folder / entry.file.path, inside=folder)
        _check_entry(segment, manifest, entry)
        if budget is not None:
            segment = segment.prefix(budget)
    dead = None if entry.deletions is None else _read_marks(folder, entry, entry.deletions)
    return LiveSegment(segment, dead, entry)


def _read_marks(folder: Path, entry: Entry, file: File) -> Array:
    """Which items are deleted, of a file that is as it was written."""
    file.check(folder)
    with open_file(folder / file.path, inside=folder) as opened:
        data = opened.read(entry.items + 4096)
    header = BytesIO()  # what numpy.save writes before the marks
    shape = {"descr": "|b1", "fortran_order": False, "shape": (entry.items,)}
    np.lib.format.write_array_header_1_0(header, shape)
    marks = np.frombuffer(data[-entry.items :], dtype=np.uint8)
    fits = data[: -entry.items] == header.getvalue() and int(marks.max()) <= 1
    if not fits or np.count_nonzero(marks) != entry.deleted:
        raise ValueError(
            f"{file.path} must mark {entry.deleted} of {entry.items} items; got "
            f"{np.count_nonzero(marks)} marks in {len(data)} bytes. {RESTORE}"
        )
    return marks.astype(bool)


def _check_entry(segment: Segment, manifest: Manifest, entry: Entry) -> None:
    """Raise ``ValueError`` unless a segment is the one that the manifest names."""
    vectors = len(segment.tokens if segment.offsets is None else segment.offsets[1:])
    sizes = {len(segment), len(segment.records), vectors}
    held = 0 if segment.file is None else len(segment.file)
    wanted = got = ""
    if sizes != {entry.items}:
        wanted = f"hold {entry.items} items"
        got = f"{len(segment)} ids, {len(segment.records)} records and {vectors} vectors"
    elif (segment.tokens.dtype, segment.dim) != (STORED[manifest.dtype], manifest.dim):
        wanted = f"hold {manifest.dtype} vectors of width {manifest.dim}"
        got = f"{segment.tokens.dtype} of width {segment.dim}"
    elif held != entry.file.size:
        wanted, got = f"have {entry.file.size} bytes, as they were written", str(held)
    if wanted:
        raise ValueError(f"{entry.file.path} must {wanted}; got {got}. {RESTORE}")


def write_groups(
    folder: Path, groups: Sequence[Group], *, compacting: bool = False
) -> list[LiveSegment]:
    """Put what is not on disk there, one segment for each group; files that are there stay.

    A segment alone that was written before gets marks of what is deleted, unless compacting.
    """

    def stays(group: Group) -> bool:
        first = group[0]
        return len(group) == 1 and first.entry is not None and not (compacting and first.deleted)

    for group in groups:
        if not stays(group):
            _check_readable(group)
    return [
        _write_marks(folder, group[0]) if stays(group) else _write_segment(folder, group)
        for group in groups
    ]


def _check_readable(group: Group) -> None:
    """Raise unless all that is to be written anew is as it was written.

    Damage that is copied would get a checksum of its own, and nobody could tell any more.
    """
    for each in group:
        each.segment.check_there()
        file = each.segment.file
        if each.entry is None or file is None:
            continue
        # What is mapped is what would be copied, also where another file has its name by now.
        written = each.entry.file
        if len(file) != written.size or file.digest() != written.checksum:
            raise ValueError(
                f"{written.path} must hold the bytes that were written before it is written anew; "
                "it holds others. Nothing was changed. Restore that file from a copy, or rebuild "
                "the index; verify() names all that is damaged."
            )


def _write_marks(folder: Path, live: LiveSegment) -> LiveSegment:
    """Put the marks of what is deleted on disk under a new name, where they are not yet."""
    if live.entry is None or live.dead is None or live.is_saved:
        return live
    path = folder / DELETIONS / f"{uuid.uuid4().hex}{SUFFIXES[DELETIONS]}"
    with atomic_file(path) as scratch, scratch.open("wb") as file:
        np.save(file, live.dead)
    marks = File.of(folder, path)
    return replace(live, entry=replace(live.entry, deleted=live.deleted, deletions=marks))


def _write_segment(folder: Path, group: Group) -> LiveSegment:
    """Write one segment, and map it, so that what was in memory can go."""
    path = folder / SEGMENTS / f"{uuid.uuid4().hex}{SUFFIXES[SEGMENTS]}"
    with atomic_file(path) as scratch:
        checksum = write_segment(scratch, [(each.segment, each.alive) for each in group])
        size = scratch.stat().st_size
    file = File(path.relative_to(folder).as_posix(), size, checksum)
    return LiveSegment(Segment.read(path, inside=folder), entry=Entry(file, _items(group)))
