"""The index: items of one or several vectors under string ids, kept in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from align._checks import as_list, check_at_least, check_side
from align._display.interruption import saying_what_is_kept
from align._display.panel import Panel, render
from align.data.embeddings import Vectors
from align.data.multi_vector import MultiVector
from align.data.sides import Side
from align.retrieval.first_stages import Budget
from align.retrieval.hits import SearchResults
from align.retrieval.index.calibrated import check_calibrated, confidence_in
from align.retrieval.index.candidates import First, StageCache
from align.retrieval.index.changes import Changes, appended, put, split_saved
from align.retrieval.index.exact import Queries
from align.retrieval.index.filters import Where
from align.retrieval.index.inputs import as_packed, check_rows, check_whole, new_segment
from align.retrieval.index.lookup import (
    StoredItems,
    check_absent,
    count_modalities,
    holds,
    stored_items,
    without,
)
from align.retrieval.index.panel import index_line, index_panel
from align.retrieval.index.search import check_options, check_size, search, search_set
from align.retrieval.storage.adapter_files import AnyAdapter, load_adapter
from align.retrieval.storage.commit import first_manifest, words_of_kept, write_commit
from align.retrieval.storage.folder import check_new, remove_others
from align.retrieval.storage.id_table import check_ids
from align.retrieval.storage.manifest import Manifest, Stored, one_writer
from align.retrieval.storage.segment import check_dtype
from align.retrieval.storage.segments import (
    Group,
    LiveSegment,
    merge_all,
    merge_small,
    one_each,
    read_segments,
    reread,
)  # fmt: skip


class Index:
    """Items of one side under string ids, with one vector each or several; searches are exact.

    Changes are seen by the next search and kept by the next ``save``; a process killed while it
    saves leaves the last saved state. Small saves are merged, so that many leave few files.
    ``open`` maps the files, so that a large index costs memory only where it is read. One process
    writes at a time; others may search meanwhile, and see what was saved after ``refresh``.

    Attributes:
        folder: Where it is saved. A ``path`` in the metadata of an item that is not whole is read
            from there, by ``retrieval.picture_paths``.
        side: The side that the items belong to; queries come from the other.
        adapter: Maps items and queries into the shared space; ``None`` where they come mapped.
        dtype: How vectors are stored; int8 keeps one scale per item.
        budget: Vectors kept of each item if the index was opened truncated, else ``None``; then
            whatever would change it raises ``RuntimeError``.
        dim: Width of a vector, or ``None`` before the first item.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((200, 8))
        >>> photos = captions @ rng.standard_normal((8, 12))
        >>> adapter = align.fit(captions, photos, effort="fast")
        >>> index = align.Index.create("idx", adapter)
        >>> index.add([f"photo-{row}" for row in range(200)], photos)
        >>> index.save()
        >>> index.search(captions[5:6], k=1)[0][0].id
        'photo-5'
    """

    def __init__(self, path: Path, adapter: AnyAdapter | None, side: Side, dtype: Stored) -> None:
        self.side = side
        self.adapter = adapter
        self.dtype = dtype
        self.budget: int | None = None
        self.dim: int | None = None
        self.folder = path
        # In the order of adding: first what is in the folder, then what is not yet.
        self._segments: list[LiveSegment] = []
        self._stages = StageCache()
        self._manifest: Manifest | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        adapter: AnyAdapter | None = None,
        *,
        side: Side = "target",
        dtype: Stored = "float32",
    ) -> Self:
        """An empty index; nothing is written before ``save``.

        Args:
            path: Folder to save to. It may hold other files, but none of the names that an index
                gives to its own: ``index.json``, ``segments``, ``deletions``, ``adapter``.
            adapter: Adapter or head of meta tokens, saved with the index; ``None`` if items and
                queries come as vectors of one space.
            side: The side that the items belong to.
            dtype: How to store vectors. int8 takes a quarter of float32.

        Raises:
            ValueError: ``side`` or ``dtype`` is another.
            FileExistsError: The folder holds an index, or something of those names.
            NotADirectoryError: It is a file, or one of those names is a link.
        """
        check_side(side)
        check_dtype(dtype)
        check_new(folder := Path(path).expanduser())
        return cls(folder, adapter, side, dtype)

    @classmethod
    def open(cls, path: str | Path, *, budget: int | None = None) -> Self:
        """The index as it was last saved, with its adapter; files are mapped, not read.

        The adapter and the marks of what is deleted are compared with their checksums. Of a mapped
        segment only the size and the header are checked, so that a cut or foreign file is refused:
        a flipped bit in a vector changes scores until ``verify``, which reads all files, names it.
        ``save`` and ``compact`` compare a segment before they copy from it.

        Args:
            path: What ``save`` wrote.
            budget: First vectors of each item to read into memory; all are mapped if left out.
                Nothing can be changed with a budget.

        Raises:
            FileNotFoundError: The folder holds no index, or its adapter or a segment is missing.
            OSError: A file or subfolder is a link or a device, or cannot be read.
            ValueError: The manifest is of another version or has a field that no index writes, a
                file does not match it, or ``budget`` is below 1.
        """
        if budget is not None:
            check_at_least("budget", budget, 1)
        folder = Path(path).expanduser()
        manifest, segments = read_segments(folder, {}, budget)
        index = cls(folder, load_adapter(folder, manifest), manifest.side, manifest.dtype)
        index.budget = budget
        index._take_over(manifest, segments)
        return index

    def __repr__(self) -> str:
        return index_line(self, self._segments)

    def _repr_html_(self) -> str:
        return render(self.panel())

    def panel(self) -> Panel:
        """What a notebook shows of it; the index is not read through."""
        return index_panel(self, self._segments)

    def __len__(self) -> int:
        return sum(map(len, self._segments))

    def __contains__(self, id: object) -> bool:
        return holds(self._segments, id)

    def __iter__(self) -> Iterator[str]:
        """The ids, in the order of adding."""
        for each in self._segments:
            yield from (each.segment.ids[row] for row in each.rows().tolist())

    @property
    def nbytes(self) -> int:
        """Bytes of vectors, offsets and scales, deleted ones included."""
        return sum(each.segment.nbytes for each in self._segments)

    @property
    def modalities(self) -> dict[str | None, int]:
        """How many items there are of each modality, ``None`` for those that have none."""
        return count_modalities(self._segments)

    def add(
        self,
        ids: Sequence[str],
        items: Vectors | MultiVector,
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        modality: str | Sequence[str] | None = None,
    ) -> None:
        """Add items; they are found at once, and kept by the next ``save``.

        Args:
            ids: ``n`` strings that the index does not hold.
            items: Embeddings from the encoder of ``side``, ``(n, d_side)``, whose fingerprint the
                adapter checks if it comes with them; or ``n`` packed items, of any number of
                vectors, that are in the index's own space. Without an adapter, matrices are too.
            metadata: One mapping per item that JSON can write, such as ``{"path": "a.jpg"}``.
            modality: A name of ``Modality`` for each item, such as ``"image"``, or one for all.

        Raises:
            TypeError: An id is no string, metadata is not what JSON can write, or one id, item or
                mapping stands where several are wanted.
            ValueError: An id repeats or is in the index, the adapter refuses the items, their width
                is another, a vector is not finite in the dtype of the index, a modality is unknown,
                or lengths differ. Nothing is added then.
        """
        ids = as_list("ids", ids)
        new = new_segment(self, ids, items, metadata, modality)
        check_absent(self._segments, ids)
        self._append(new)

    def update(
        self,
        ids: Sequence[str],
        items: Vectors | MultiVector,
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        modality: str | Sequence[str] | None = None,
    ) -> None:
        """Replace items and all that is stored of them; they count as added now.

        Raises:
            KeyError: An id is not in the index. Nothing is changed then.
            TypeError: As for ``add``, and so are the arguments.
            ValueError: As for ``add``, but for ids that are there.
        """
        ids = as_list("ids", ids)
        new = new_segment(self, ids, items, metadata, modality)
        self._segments = without(self._segments, ids)
        self._append(new)

    def put(
        self,
        ids: Sequence[str],
        items: Vectors | MultiVector,
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        modality: str | Sequence[str] | None = None,
    ) -> Changes:
        """Add items whose ids are new, replace those that differ, and leave the others as they are.

        What is replaced counts as added now. The arguments are those of ``add``.

        Raises:
            TypeError: As for ``add``.
            ValueError: As for ``add``, but for ids that are there.
        """
        ids = as_list("ids", ids)
        new = new_segment(self, ids, items, metadata, modality)
        self._segments, changes = put(self._segments, ids, new)
        self.dim = new.segment.dim if len(new) else self.dim
        return changes

    def delete(self, ids: Sequence[str]) -> None:
        """Delete items; their ids may be added again. ``compact`` frees the room that they took.

        Raises:
            KeyError: An id is not in the index. Nothing is deleted then.
            TypeError: An id is not a string.
            ValueError: An id repeats.
        """
        check_whole(self.budget)
        ids = as_list("ids", ids)
        check_ids(ids, len(ids))
        self._segments = without(self._segments, ids)

    def get(self, ids: Sequence[str]) -> StoredItems:
        """What is stored of some items, in the order of ``ids``.

        Raises:
            KeyError: An id is not in the index.
            TypeError: ``ids`` is one id, or one is no string.
            ValueError: There are no ids.
        """
        return stored_items(self._segments, ids)

    def search(
        self,
        queries: Vectors | MultiVector,
        *,
        k: int = 10,
        where: Where | None = None,
        standardize: bool = False,
        budget: Budget | None = None,
        candidates: int | None = None,
        first: First | None = None,
    ) -> SearchResults:
        """The ``k`` best items for each query, best first; of equal scores the one added first.

        Hits of embeddings have a ``confidence`` where the adapter is calibrated, the search is
        exact, and items have one vector each.

        Args:
            queries: Embeddings from the encoder of the other side, ``(q, d_other)``; or ``q``
                packed queries in the index's own space. Without an adapter, matrices are too.
            k: Hits per query, ``1 <= k <= len(index)``; there are fewer where fewer items suit.
            where: For each field of the metadata, or ``"modality"``, a value, several values, or a
                function that says of a value whether it suits; see ``filters.Where``.
            standardize: Score by how far an item is above the mean of the scores of its modality
                for the query, in standard deviations, so that no modality crowds out the others.
            budget: Vectors used of each query and each item, the first ones; all if left out.
            candidates: Items per query that are scored, chosen by ``first``; all if left out,
                which is exact. ``candidates_for`` measures how many are needed.
            first: What chooses candidates: that many first vectors of each query and item, (1, 1)
                if left out; a fixed dimensional encoding; or a function that makes a
                ``FirstStage`` of a ``MultiVector``, called once for each segment. What it keeps
                stays in memory for the same ``first``: name a function, each ``lambda`` is another.

        Raises:
            OSError: A file of the index was cut since it was opened.
            TypeError: ``where`` is no mapping of names, or holds what metadata cannot.
            ValueError: ``where`` has a field that no item has, or an unknown modality; the index is
                empty; an option is out of range or does not go with others; the adapter refuses the
                queries, or their width is another.
        """
        check_size(k, len(self))
        check_options(budget, candidates, first, standardize, opened=self.budget)
        check_rows("queries", queries)
        packed = as_packed("queries", queries, self.adapter, self.side, self.dim)
        return search(
            self._segments,
            Queries(packed, budget),
            k=k,
            where=where,
            standardize=standardize,
            candidates=candidates,
            first=(1, 1) if first is None else first,
            stages=self._stages,
            folder=self.folder,
            confidence=confidence_in(self._segments, queries, self.adapter, self.side),
        )

    def search_set(
        self, queries: Vectors, *, coverage: float = 0.9, where: Where | None = None
    ) -> SearchResults:
        """For each query the items that may be right, best first; none where nothing fits.

        The right item of a query like those of training is among them with probability
        ``coverage``, whatever the size of the index: they are all that score as high as that share
        of right items did for held-out queries (``adapters.calibration``).

        Args:
            queries: Embeddings from the encoder of the other side, ``(q, d_other)``.
            coverage: That probability, in (0, 1).
            where: As for ``search``.

        Raises:
            ValueError: As for ``search``; the adapter is not calibrated, or not for so high a
                coverage; or items have several vectors.
        """
        check_size(1, len(self))
        check_rows("queries", queries)
        packed = as_packed("queries", queries, self.adapter, self.side, self.dim)
        known = confidence_in(self._segments, queries, self.adapter, self.side)
        return search_set(
            self._segments,
            Queries(packed, None),
            check_calibrated(known),
            coverage=coverage,
            where=where,
            folder=self.folder,
        )

    def save(self) -> None:
        """Write what has changed since the last save; the first save writes the adapter too.

        What was written is mapped from then on, so memory holds only what is not saved. Files that
        the index wrote and no longer needs are removed; no others are.

        Raises:
            OSError: The folder cannot be written, as on a full disk, or holds a link or file of
                others under a name of the index's own. What was last saved stays.
            RuntimeError: Another process is saving to the folder, or has saved since.
            ValueError: A segment to be merged does not hold the bytes that were written.
        """
        with one_writer(self.folder, self._manifest):
            now = tuple(each.entry if each.is_saved else None for each in self._segments)
            if self._manifest is None or now != self._manifest.segments:
                saved, unsaved = split_saved(self._segments)
                self._commit(merge_small([*one_each(saved), *merge_all(unsaved)]))

    def compact(self) -> None:
        """Save, drop what is deleted, and merge the segments; mapped files stay readable.

        What remains is one segment, or one for each run of items that have one vector or several.
        Some tens of bytes for each item are held meanwhile. Errors are those of ``save``.
        """
        check_whole(self.budget)
        with one_writer(self.folder, self._manifest):
            self._commit(merge_all(self._segments), compacting=True)

    def refresh(self) -> bool:
        """Take over what another process has saved; whether there was anything.

        Raises:
            FileNotFoundError: The folder no longer holds the index.
            RuntimeError: There are unsaved changes here, or the folder holds an index that was made
                anew: of another adapter, side or dtype.
            ValueError: As for ``open``.
        """
        manifest, segments = reread(self.folder, self._manifest, self._segments, self.budget)
        changed = manifest != self._manifest
        self._take_over(manifest, segments)
        return changed

    def verify(self) -> list[str]:
        """What is wrong with the saved files, in words; nothing if every byte is as it was written.

        All are read and compared with the checksums of when the index was opened or saved.

        Raises:
            RuntimeError: The index was never saved.
        """
        if self._manifest is None:
            raise RuntimeError("verify reads saved files; this index has none. Call save first.")
        return self._manifest.problems(self.folder)

    def _commit(self, groups: Sequence[Group], *, compacting: bool = False) -> None:
        """Make these groups the index, on disk and here; the caller holds the lock."""
        before = self._manifest
        last = before or first_manifest(self.folder, self.adapter, self.side, self.dtype)
        with saying_what_is_kept(lambda: words_of_kept(self.folder, before, self._manifest)):
            manifest, written = write_commit(
                self.folder, last, groups, dim=self.dim, compacting=compacting
            )
            self._take_over(manifest, written)
            remove_others(self.folder, [file.path for file in manifest.all_files])

    def _take_over(self, manifest: Manifest, segments: Sequence[LiveSegment]) -> None:
        self._manifest, self._segments, self.dim = manifest, list(segments), manifest.dim

    def _append(self, new: LiveSegment) -> None:
        if len(new):
            self.dim = new.segment.dim
            self._segments = appended(self._segments, new)
