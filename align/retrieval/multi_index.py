"""An index over multi-vectors of any late-interaction model, exact or coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from align._checks import check_at_least, check_k
from align.fde import FDE
from align.kernels.topk import Neighbours, merge_neighbours
from align.late_interaction import topk
from align.multivector import MultiVector
from align.retrieval.cascade import check_candidates, rescore, rows_at_a_time
from align.retrieval.first_stages import Budget, FirstStage, first_stage
from align.retrieval.hits import Hit, name_hits
from align.retrieval.segments import (
    STORED,
    MultiVectorManifest,
    check_free,
    check_new_ids,
    check_segment,
    check_unchanged,
    read_manifest,
    read_segment,
    write_manifest,
    write_segment,
)

Stored = Literal["float16", "bfloat16", "float32", "int8"]


class MultiVectorIndex:
    """Documents of several vectors each under string ids, searched by MaxSim on the CPU.

    ``save`` writes only what was added since the last save, as one new segment, and replaces the
    manifest last: a process killed while it saves leaves the last saved state. ``open`` maps the
    vectors from disk, so that a large index costs memory only where it is read. One process writes
    at a time; ``save`` refuses if another has saved in between.

    Attributes:
        dtype: How vectors are stored; int8 keeps one scale per item.
        budget: Vectors kept of each item if the index was opened truncated, else ``None``.
    """

    def __init__(self, path: Path, manifest: MultiVectorManifest, budget: int | None) -> None:
        self.dtype = manifest.dtype
        self.budget = budget
        self._path = path
        self._ids: list[str] = []
        self._known: set[str] = set()
        # Items in the order of the ids: first what is on disk, then what is not yet.
        self._saved: list[MultiVector] = []
        self._fresh: list[MultiVector] = []
        # What each first stage that was asked for keeps of each saved block.
        self._stages: dict[FDE | Budget, list[FirstStage]] = {}
        self._manifest: MultiVectorManifest | None = None

    @classmethod
    def create(cls, path: str | Path, *, dtype: Stored = "float16") -> Self:
        """An empty index; nothing is written before ``save``.

        Args:
            path: Folder to save to; it may not hold an index yet.
            dtype: How to store vectors. int8 takes a quarter of float32.

        Raises:
            ValueError: ``dtype`` is another.
            FileExistsError: The folder holds an index.
        """
        folder = Path(path).expanduser()
        manifest = MultiVectorManifest(dtype, {})
        check_free(folder, cls.__name__)
        return cls(folder, manifest, None)

    @classmethod
    def open(cls, path: str | Path, *, budget: int | None = None) -> Self:
        """The index as it was last saved; vectors stay on disk until read.

        Args:
            path: Folder that ``save`` wrote.
            budget: Read the first vectors of each item into memory and leave the rest on disk;
                nothing can be added then. All vectors, mapped from disk, if left out.

        Raises:
            FileNotFoundError: The folder holds no index, or a segment is missing.
            ValueError: The manifest is of another version or kind of index or has unknown or
                missing fields, a segment does not match it, or ``budget`` is below 1.
        """
        if budget is not None:
            check_at_least("budget", budget, 1)
        folder = Path(path).expanduser()
        manifest = read_manifest(folder, MultiVectorManifest)
        index = cls(folder, manifest, budget)
        for name, items in manifest.segments.items():
            ids, tensors = read_segment(folder, name)
            block = MultiVector(**tensors)
            check_segment(folder, name, items, len(ids), len(block))
            index._check_kind(block, name)
            index._ids += ids
            index._saved.append(block if budget is None else block.prefix(budget))
        index._known.update(index._ids)
        index._manifest = manifest
        return index

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dim(self) -> int | None:
        """Width of a vector, or ``None`` before the first item."""
        blocks = self._blocks
        return blocks[0].dim if blocks else None

    @property
    def nbytes(self) -> int:
        """Bytes of vectors, offsets and scales; of what was read if the index is truncated."""
        return sum(block.nbytes for block in self._blocks)

    def add(self, ids: Sequence[str], documents: MultiVector) -> None:
        """Add documents; they are found at once, and kept by the next ``save``.

        Args:
            ids: ``n`` strings that the index does not hold yet.
            documents: ``n`` documents of the width of those before, on any device; a copy is
                kept on the CPU in the dtype of the index.

        Raises:
            TypeError: An id is not a string.
            ValueError: An id repeats or is in the index already, the width is another, or a vector
                is not finite in the dtype of the index. Nothing is added then.
            RuntimeError: The index was opened truncated.
        """
        if self.budget is not None:
            raise RuntimeError(
                f"an index opened with a budget is only searched; this one has {self.budget}. "
                "Open it without a budget to add to it."
            )
        check_new_ids(ids, self._known, len(documents))
        if not len(documents):
            return
        self._check_width("documents", documents)
        self._fresh.append(_stored(documents, STORED[self.dtype]))
        self._ids += ids
        self._known.update(ids)

    def search(
        self,
        queries: MultiVector,
        *,
        k: int = 10,
        budget: Budget | None = None,
        candidates: int | None = None,
        first: FDE | Budget | None = None,
    ) -> list[list[Hit]]:
        """The ``k`` best documents for each query, best first; of equal ones the first added.

        Args:
            queries: ``q`` queries on the CPU, of the width of the documents.
            k: Hits per query, ``1 <= k <= len(index)``.
            budget: Vectors used of each query and each document, the first ones; all if left out,
                and all of an item that has fewer.
            candidates: Documents per query that MaxSim scores, chosen by ``first``; all if left
                out, which is exact. ``candidates_for`` measures how many are needed.
            first: What chooses candidates: that many first vectors of each query and document,
                (1, 1) if left out, or a fixed dimensional encoding. What it keeps of the documents
                stays in memory for the next search.

        Raises:
            ValueError: The index is empty, ``k``, ``candidates`` or ``budget`` is out of range,
                the width of the queries or of the encoding is another, or there is a ``first``
                without ``candidates``.
        """
        if not self._ids:
            raise ValueError("an index needs items to search; it holds none. Call add first.")
        check_k(k, len(self), of="the number of items in the index")
        self._check_width("queries", queries)
        if budget is not None and self.budget is not None and budget[1] > self.budget:
            raise ValueError(
                f"this index was opened with the first {self.budget} vectors of each document; "
                f"got budget {budget}. Lower its second number, or open more of the index."
            )
        if first is not None and candidates is None:
            raise ValueError(
                "first chooses candidates, whose number must be given; got none. "
                "Pass candidates=, or leave first out for an exact search."
            )
        self._join_fresh()
        if candidates is None:
            found = self._merge([_best(queries, block, k, budget) for block in self._blocks], k)
        else:
            check_candidates(k, candidates, len(self))
            stages = self._staged(first or (1, 1))
            put_forward = self._merge(
                [stage(queries, min(candidates, len(stage))) for stage in stages], candidates
            )
            rows = min(rows_at_a_time(block) for block in self._blocks)
            found = rescore(queries, put_forward.indices, self._take, k=k, rows=rows, budget=budget)
        return name_hits(self._ids, found)

    def save(self) -> None:
        """Write what was added since the last save.

        Raises:
            RuntimeError: Another process has saved to the folder since this index read it.
        """
        check_unchanged(self._path, self._manifest, MultiVectorManifest)
        segments = dict(self._manifest.segments) if self._manifest else {}
        self._join_fresh()
        for block in self._fresh:
            name = write_segment(self._path, self._ids[-len(block) :], _tensors(block))
            segments[name] = len(block)
        manifest = MultiVectorManifest(self.dtype, segments)
        write_manifest(self._path, manifest)
        self._saved, self._fresh, self._manifest = self._blocks, [], manifest

    @property
    def _blocks(self) -> list[MultiVector]:
        return [*self._saved, *self._fresh]

    def _join_fresh(self) -> None:
        """Keep unsaved items as one block, however many calls of ``add`` brought them."""
        if len(self._fresh) > 1:
            self._fresh = [_joined(self._fresh)]

    def _merge(self, parts: Sequence[Neighbours], k: int) -> Neighbours:
        """The best ``k`` of answers over each block, with indices that count through them all."""
        start, shifted = 0, []
        for part, block in zip(parts, self._blocks, strict=True):
            shifted.append(Neighbours(part.values, part.indices + start))
            start += len(block)
        return merge_neighbours(shifted, k=k)

    def _staged(self, first: FDE | Budget) -> list[FirstStage]:
        kept = self._stages.setdefault(first, [])
        kept += [first_stage(block, first) for block in self._saved[len(kept) :]]
        return [*kept, *(first_stage(block, first) for block in self._fresh)]

    def _take(self, rows: Tensor) -> MultiVector:
        """Documents at ``rows``, rising, wherever they lie."""
        start, parts = 0, []
        for block in self._blocks:
            inside = rows[(rows >= start) & (rows < start + len(block))]
            if len(inside):
                parts.append(block.take(inside - start))
            start += len(block)
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _check_width(self, name: str, items: MultiVector) -> None:
        if self.dim is not None and items.dim != self.dim:
            raise ValueError(
                f"{name} must have width {self.dim}, as the documents in this index; "
                f"got {items.dim}. Encode them with the model that made the documents."
            )

    def _check_kind(self, block: MultiVector, name: str) -> None:
        widths = {self.dim, block.dim} - {None}
        if block.tokens.dtype != STORED[self.dtype] or len(widths) > 1:
            raise ValueError(
                f"segment {name} of {self._path} must hold {self.dtype} vectors of width "
                f"{self.dim or block.dim}; got {block.tokens.dtype} of width {block.dim}. "
                "Restore the folder from a copy, or rebuild the index."
            )


def _stored(documents: MultiVector, dtype: torch.dtype) -> MultiVector:
    """A copy on the CPU in another dtype, int8 included, whose vectors are finite."""
    cast = documents.quantized() if dtype == torch.int8 else documents.to(dtype=dtype)
    bad = (~cast.tokens.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        owners = torch.bucketize(bad, cast.offsets, right=True) - 1
        items = sorted(set(owners.tolist()))
        raise ValueError(
            f"documents must be finite in {dtype}; {len(items)} of {len(cast)} hold NaN, infinity "
            f"or numbers too large for it, the first at {items[:5]}. Drop or re-encode those "
            "items, or choose a wider dtype for the index."
        )
    return MultiVector(
        cast.tokens.detach().to("cpu", copy=True),
        cast.offsets.to("cpu", copy=True),
        None if cast.scales is None else cast.scales.to("cpu", copy=True),
    )


def _best(queries: MultiVector, block: MultiVector, k: int, budget: Budget | None) -> Neighbours:
    """``topk`` of a block, which may be smaller and have shorter items than the whole index."""
    if budget is not None and len(queries):
        # A budget beyond the longest item is refused by topk, and one block may have none so long.
        longest = int(queries.lengths.max()), int(block.lengths.max())
        budget = min(budget[0], longest[0]), min(budget[1], longest[1])
    return topk(queries, block, min(k, len(block)), budget=budget)


def _joined(parts: Sequence[MultiVector]) -> MultiVector:
    """Items of several multi-vectors of one kind, one after the other."""
    lengths = torch.cat([part.lengths for part in parts])
    scales = [part.scales for part in parts if part.scales is not None]
    return MultiVector(
        torch.cat([part.tokens for part in parts]),
        torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        torch.cat(scales) if scales else None,
    )


def _tensors(block: MultiVector) -> dict[str, Tensor]:
    held = {"tokens": block.tokens, "offsets": block.offsets}
    return held if block.scales is None else held | {"scales": block.scales}
