"""One commit of an index: the adapter, then segments, last the manifest that names every file.

A process that is killed in between leaves the last state whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from align.data.sides import Side
from align.retrieval.storage.adapter_files import AnyAdapter, save_adapter
from align.retrieval.storage.manifest import Manifest, Stored, write_manifest
from align.retrieval.storage.segments import Group, LiveSegment, write_groups


def first_manifest(folder: Path, adapter: AnyAdapter | None, side: Side, dtype: Stored) -> Manifest:
    """The manifest of an index without items, whose adapter is written by this."""
    kind, files = save_adapter(folder, adapter)
    return Manifest(side, dtype, None, kind, files, ())


def write_commit(
    folder: Path, last: Manifest, groups: Sequence[Group], *, dim: int | None, compacting: bool
) -> tuple[Manifest, list[LiveSegment]]:
    """Write groups as what an index holds from now on; the caller holds the lock."""
    written = write_groups(folder, groups, compacting=compacting)
    entries = tuple(each.entry for each in written if each.entry is not None)
    manifest = replace(last, dim=dim, segments=entries)
    write_manifest(folder, manifest)
    return manifest, written


def words_of_kept(folder: Path, before: Manifest | None, now: Manifest | None) -> str:
    """What is kept of a save that was interrupted, by the manifests before it and now."""
    if now is not before:
        return f"Everything is saved in {folder}."
    saved = "Nothing is saved yet" if before is None else "What was last saved stays"
    return f"{saved} in {folder}, and what changed is still here; save again."
