"""An exact index over the items of one side, searched with items of the other side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from align._checks import check_k, check_side
from align.adapters.adapter import Adapter, Side
from align.adapters.artifact import load
from align.embeddings import Vectors
from align.kernels.topk import Neighbours, merge_neighbours, nearest
from align.retrieval.hits import Hit, name_hits
from align.retrieval.segments import (
    Manifest,
    check_free,
    check_new_ids,
    check_segment,
    check_unchanged,
    read_manifest,
    read_segment,
    write_manifest,
    write_segment,
)


class Index:
    """Gallery items of one side under string ids; searches are exact.

    ``save`` writes only what was added since the last save, as one new segment, and replaces the
    manifest last: a process killed while it saves leaves the last saved state. ``open`` maps the
    vectors from disk, so that a large gallery costs memory only where it is read. One process
    writes at a time; ``save`` refuses if another has saved in between.

    Attributes:
        side: The side that the gallery items belong to.
        adapter: Maps gallery items and queries into the shared space.
    """

    def __init__(self, path: Path, adapter: Adapter, side: Side) -> None:
        self.side = side
        self.adapter = adapter
        self._path = path
        self._ids: list[str] = []
        self._known: set[str] = set()
        # Vectors (n, d) in the order of the ids: first what is on disk, then what is not yet.
        self._saved: list[Tensor] = []
        self._fresh: list[Tensor] = []
        self._manifest: Manifest | None = None

    @classmethod
    def create(cls, path: str | Path, adapter: Adapter, *, side: Side = "target") -> Self:
        """An empty index; nothing is written before ``save``.

        Args:
            path: Folder to save to; it may not hold an index yet.
            adapter: A fitted adapter.
            side: The side that the gallery items belong to; queries come from the other.

        Raises:
            ValueError: ``side`` is neither side.
            FileExistsError: The folder holds an index.
        """
        check_side(side)
        folder = Path(path).expanduser()
        check_free(folder, cls.__name__)
        return cls(folder, adapter, side)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The index as it was last saved, with its adapter; vectors stay on disk until read.

        Args:
            path: Folder that ``save`` wrote.

        Raises:
            FileNotFoundError: The folder holds no index, or its adapter or a segment is missing.
            ValueError: The manifest is of another version or has unknown or missing fields, or a
                segment does not match it.
        """
        folder = Path(path).expanduser()
        manifest = read_manifest(folder, Manifest)
        # An absolute path cannot be taken for the name of an adapter on the hub.
        index = cls(folder, load((folder / "adapter").absolute()), manifest.side)
        for name, rows in manifest.segments.items():
            ids, tensors = read_segment(folder, name)
            check_segment(folder, name, rows, len(ids), len(tensors["vectors"]))
            index._ids += ids
            index._saved.append(tensors["vectors"])
        index._known.update(index._ids)
        index._manifest = manifest
        return index

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[str], embeddings: Vectors) -> None:
        """Add items; they are found at once, and kept by the next ``save``.

        Args:
            ids: ``n`` strings that the index does not hold yet.
            embeddings: Embeddings from the encoder of ``side``, ``(n, d_side)``; an
                ``Embeddings`` has its fingerprint checked by the adapter.

        Raises:
            TypeError: An id is not a string.
            ValueError: An id repeats or is in the index already, or the adapter refuses the
                embeddings. Nothing is added then.
        """
        check_new_ids(ids, self._known, len(embeddings))
        with torch.no_grad():
            self._fresh.append(self.adapter.gallery(embeddings, side=self.side))
        self._ids += ids
        self._known.update(ids)

    def search(self, queries: Vectors, *, k: int = 10) -> list[list[Hit]]:
        """The ``k`` best items for each query, best first; of equal ones the first added.

        Args:
            queries: Embeddings from the encoder of the other side, ``(q, d_other)``.
            k: Hits per query, ``1 <= k <= len(index)``.

        Raises:
            ValueError: The index is empty, ``k`` is out of range, or the adapter refuses the
                queries.
        """
        if not self._ids:
            raise ValueError("an index needs items to search; it holds none. Call add first.")
        check_k(k, len(self), of="the number of items in the index")
        with torch.no_grad():
            mapped = self.adapter.queries(
                queries, side="source" if self.side == "target" else "target"
            )
        self._join_fresh()
        found, start = [], 0
        for vectors in (*self._saved, *self._fresh):
            values, indices = nearest(mapped, vectors, k=min(k, len(vectors)))
            found.append(Neighbours(values, indices + start))
            start += len(vectors)
        return name_hits(self._ids, merge_neighbours(found, k=k))

    def save(self) -> None:
        """Write what was added since the last save; the first save writes the adapter too.

        Raises:
            RuntimeError: Another process has saved to the folder since this index read it.
        """
        check_unchanged(self._path, self._manifest, Manifest)
        if self._manifest is None:
            self.adapter.save(self._path / "adapter")
        segments = dict(self._manifest.segments) if self._manifest else {}
        self._join_fresh()
        for vectors in self._fresh:
            name = write_segment(self._path, self._ids[-len(vectors) :], {"vectors": vectors})
            segments[name] = len(vectors)
        manifest = Manifest(self.side, segments)
        write_manifest(self._path, manifest)
        self._saved, self._fresh, self._manifest = [*self._saved, *self._fresh], [], manifest

    def _join_fresh(self) -> None:
        """Keep unsaved items as one tensor, however many calls of ``add`` brought them."""
        if len(self._fresh) > 1:
            self._fresh = [torch.cat(self._fresh)]
