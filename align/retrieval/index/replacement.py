"""An index made anew in the place of another, which is searched until the new one is whole."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from align._checks import check_side
from align._files.atomic import Layout, atomic_folder
from align.adapters.artifact.files import FILES
from align.adapters.multi_vector.files import LAYOUT as HEAD
from align.data.sides import Side
from align.retrieval.index.index import Index
from align.retrieval.storage.adapter_files import AnyAdapter
from align.retrieval.storage.folder import (
    ADAPTER,
    LOCK,
    MANIFEST,
    SUFFIXES,
    has_manifest,
    is_ours,
)
from align.retrieval.storage.manifest import Manifest, Stored, one_writer, read_manifest
from align.retrieval.storage.segment import check_dtype


@contextmanager
def replaced_index(
    path: str | Path,
    adapter: AnyAdapter | None = None,
    *,
    side: Side = "target",
    dtype: Stored = "float32",
) -> Iterator[Index]:
    """An empty index, which takes the place of the one in ``path`` when the block ends.

    It is written to a folder beside it and saved on the way out, so the old index stays, and can
    be searched, until the new one is whole; an error or a kill leaves the old one. No other process
    can save to the old one meanwhile. Where there is no index yet, one is made.

    The arguments are those of ``Index.create``. The index is for filling inside the block only:
    open the folder afterwards.

    Raises:
        FileExistsError: The folder holds files that no index wrote.
        RuntimeError: Another process is saving to the old index.
        ValueError: ``side`` or ``dtype`` is another, or the block added nothing.
    """
    check_side(side)
    check_dtype(dtype)
    folder = Path(path).expanduser()
    if not has_manifest(folder):
        fresh = Index.create(folder, adapter, side=side, dtype=dtype)
        yield fresh
        _check_filled(fresh)
        fresh.save()
        return
    old = read_manifest(folder)
    _layout(old).check_free(folder)
    with one_writer(folder, old), atomic_folder(folder, _layout(old)) as scratch:
        fresh = Index.create(scratch, adapter, side=side, dtype=dtype)
        yield fresh
        _check_filled(fresh)
        fresh.save()


def _check_filled(index: Index) -> None:
    if not len(index):
        raise ValueError(
            "a new index takes the place of another when it holds items; it holds none. Nothing "
            "was changed: add items before the block ends."
        )


class _IndexLayout(Layout):
    """Whatever an index may hold: names of segments and of marks of deletion are drawn."""

    def foreign(self, folder: Path) -> list[str]:
        """Paths of what no index wrote: other names, links, devices."""
        return [path for path in super().foreign(folder) if not self._is_drawn(folder, path)]

    def _is_drawn(self, folder: Path, path: str) -> bool:
        at, _, name = path.rpartition("/")
        mode = (folder / path).lstat().st_mode
        if stat.S_ISDIR(mode):
            return path in (*SUFFIXES, ADAPTER)
        return stat.S_ISREG(mode) and at in SUFFIXES and is_ours(at, name)


def _layout(manifest: Manifest) -> Layout:
    """What the folder of this index, or of the one that takes its place, may hold."""
    adapters = {f"{ADAPTER}/{name}" for name in (*FILES, *HEAD.files)}
    files = {MANIFEST, LOCK, *(file.path for file in manifest.files), *adapters}
    return _IndexLayout("index", frozenset(files), has_manifest)
