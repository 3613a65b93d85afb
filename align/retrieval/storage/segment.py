"""Items that lie together: their vectors, ids and records; written once and never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.retrieval.storage.folder import RESTORE
from align.retrieval.storage.id_table import IdTable, sort_hashes
from align.retrieval.storage.mapped_file import Blocks, MappedFile, write_tensors
from align.retrieval.storage.metadata import Records
from align.retrieval.storage.packed_strings import Array, Packed, ends_of

STORED = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "int8")}
"""Ways to store vectors, by the names that a manifest gives them."""

_BLOCK = 1 << 22  # bytes that are copied at a time from one segment into another
_BYTES = ("ids.data", "records.data", "records.modality")
_NUMBERS = ("ids.ends", "ids.hashes", "ids.rows", "records.ends")
_BESIDE = {**dict.fromkeys(_BYTES, torch.uint8), **dict.fromkeys(_NUMBERS, torch.int64)}
"""What the file of a segment holds beside vectors, all of one dimension."""


@dataclass(frozen=True, eq=False)
class Segment:
    """``n`` items in the order in which they were added."""

    tokens: Tensor  # all vectors end to end, (total, d), in a dtype of STORED
    # item i owns rows offsets[i]:offsets[i + 1], (n + 1,) int64; None where
    # every item has one vector
    offsets: Tensor | None
    scales: Tensor | None  # of int8, one per item, (n,) float32
    ids: IdTable  # the ids of the items
    records: Records  # their modality and metadata
    # the file that all of it is mapped from, or None where it lies in memory
    file: MappedFile | None = None

    @classmethod
    def of(cls, vectors: MultiVector, ids: IdTable, records: Records) -> Self:
        """A segment in memory; offsets are left out where every item has one vector."""
        pooled = len(vectors.tokens) == len(vectors)
        offsets = None if pooled else vectors.offsets
        return cls(vectors.tokens, offsets, vectors.scales, ids, records)

    @classmethod
    def new(cls, ids: Sequence[str], vectors: MultiVector, records: Records, *, dtype: str) -> Self:
        """New items in memory, their vectors as they will be stored."""
        return cls.of(stored(vectors, STORED[dtype]), IdTable.of(ids), records)

    @classmethod
    def join(cls, sources: Sequence[Source]) -> Self:
        """The items of several segments, which share no id, one after the other in memory."""
        return cls._of_tensors({name: each.join() for name, each in _blocks(sources).items()})

    @classmethod
    def read(cls, path: Path, *, inside: Path) -> Self:
        """What ``write_segment`` wrote, mapped: nothing is read before it is used."""
        file = MappedFile.open(path, inside=inside)
        _check_tensors(path, file.tensors)
        return cls._of_tensors(file.tensors, file)

    @classmethod
    def _of_tensors(cls, held: Mapping[str, Tensor], file: MappedFile | None = None) -> Self:
        of = {name: held[name].numpy() for name in _BESIDE}
        names = Packed(of["ids.data"], of["ids.ends"])
        metadata = Packed(of["records.data"], of["records.ends"])
        return cls(
            held["tokens"],
            held.get("offsets"),
            held.get("scales"),
            IdTable(names, of["ids.hashes"], of["ids.rows"]),
            Records(of["records.modality"], metadata),
            file,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.tokens.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors."""
        held = (self.tokens, self.offsets, self.scales)
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    @cached_property
    def vectors(self) -> MultiVector:
        """The vectors as packed items, also where each has one."""
        offsets = torch.arange(len(self) + 1) if self.offsets is None else self.offsets
        try:
            return MultiVector(self.tokens, offsets, self.scales)
        except ValueError as error:
            where = "an index" if self.file is None else self.file.path
            raise ValueError(f"{where} must hold items that were written whole: {error}") from error

    def packed(self) -> dict[str, tuple[Array, Array]]:
        """What is packed end to end: the rows or bytes, and where those of each item end."""
        ends = np.arange(len(self) + 1) if self.offsets is None else self.offsets.numpy()
        rows = self.tokens.contiguous().view(torch.uint8).numpy()  # NumPy has no bfloat16
        names, metadata = self.ids.names, self.records.metadata
        return {
            "tokens": (rows, ends),
            "ids": (names.data, names.ends),
            "records": (metadata.data, metadata.ends),
        }

    def check_there(self) -> None:
        """Raise ``OSError`` if the file was cut since it was mapped: to read it would end us."""
        if self.file is not None and not self.file.is_whole:
            raise OSError(
                f"{self.file.path} must stay as it was when it was opened; it was cut to fewer "
                f"bytes since. {RESTORE}"
            )

    def check_order(self) -> None:
        """Raise ``ValueError`` unless what says where things lie can be followed to the end."""
        if self.file is None:
            return
        # Every item has a vector; an id may be empty, and metadata missing.
        wrong = [
            f"where {name} of its items end"
            for name, (_, ends) in self.packed().items()
            if bool((np.diff(ends) < (name == "tokens")).any())
        ]
        if not np.array_equal(np.sort(self.ids.rows), np.arange(len(self))):
            wrong.append("the rows of its ids")
        if wrong:
            raise ValueError(
                f"{self.file.path} must say {wrong[0]} in order; it does not. {RESTORE}"
            )

    def prefix(self, budget: int) -> Self:
        """The first ``budget`` vectors of each item."""
        return replace(self.of(self.vectors.prefix(budget), self.ids, self.records), file=self.file)


Source = tuple[Segment, Array | None]
"""A segment and which of its items to take, ``(n,)`` bool, or ``None`` for all."""


def write_segment(path: Path, sources: Sequence[Source]) -> str:
    """Write the items of several segments, which share no id, as one; the checksum of the file.

    A few millions of bytes are held at a time, and some tens of bytes for each item.
    """
    for segment, _ in sources:
        segment.check_order()
    return write_tensors(path, _blocks(sources))


def _blocks(sources: Sequence[Source]) -> dict[str, Blocks]:
    """The tensors of a segment of these items, some of them, in order, by their names in a file."""
    first = sources[0][0]
    keeps = [keep for _, keep in sources]
    hashes, rows = sort_hashes(_chosen([own.ids.hashes_by_row() for own, _ in sources], keeps))
    blocks = {
        "ids.hashes": Blocks.of(hashes),
        "ids.rows": Blocks.of(rows),
        "records.modality": Blocks.of(_chosen([own.records.modality for own, _ in sources], keeps)),
    }
    if first.scales is not None:
        scales = [own.scales.numpy() for own, _ in sources if own.scales is not None]
        blocks["scales"] = Blocks.of(_chosen(scales, keeps))
    packed = [own.packed() for own, _ in sources]
    for name in ("tokens", "ids", "records"):
        parts = [each[name] for each in packed]
        lengths = _chosen([np.diff(ends) for _, ends in parts], keeps)
        data = chain.from_iterable(
            _rows(segment, *part, keep)
            for (segment, keep), part in zip(sources, parts, strict=True)
        )
        ends, total = Blocks.of(ends_of(lengths)), int(lengths.sum())
        if name != "tokens":
            blocks[f"{name}.ends"] = ends
            blocks[f"{name}.data"] = Blocks(torch.uint8, (total,), data)
            continue
        blocks["tokens"] = Blocks(first.tokens.dtype, (total, first.dim), data)
        if total != len(lengths):
            blocks["offsets"] = ends
    return blocks


def _rows(segment: Segment, data: Array, ends: Array, keep: Array | None) -> Iterator[Array]:
    """The rows of the items that are kept, some millions of bytes at a time."""
    wide = data[:1].nbytes
    start, n = 0, len(ends) - 1
    while start < n:
        # As many items as fit, and one that does not where it is the first.
        within = np.searchsorted(ends, ends[start] + _BLOCK // max(wide, 1), side="right") - 1
        stop = int(min(n, max(start + 1, within)))
        block = data[ends[start] : ends[stop]]
        if keep is not None:
            block = block[np.repeat(keep[start:stop], np.diff(ends[start : stop + 1]))]
        yield block
        start = stop
        if segment.file is not None:
            segment.file.release()


def _chosen(arrays: Sequence[Array], keeps: Sequence[Array | None]) -> Array:
    return np.concatenate(
        [own if keep is None else own[keep] for own, keep in zip(arrays, keeps, strict=True)]
    )


def _check_tensors(path: Path, held: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` unless tensors are those of a segment and fit each other."""
    known = {"tokens", *_BESIDE}
    missing = sorted(known - set(held))
    unknown = sorted(set(held) - known - {"offsets", "scales"})
    if missing or unknown:
        raise ValueError(
            f"{path} must hold the tensors of a segment; unknown: {unknown[:5]}, "
            f"missing: {missing}. {RESTORE}"
        )
    n = len(held["ids.ends"].flatten()) - 1
    tokens = held["tokens"]
    dtypes = {**_BESIDE, "offsets": torch.int64, "scales": torch.float32}
    sizes = {"ids.hashes": n, "ids.rows": n, "ids.ends": n + 1, "scales": n}
    wrong = [
        name
        for name, own in held.items()
        if name != "tokens"
        and (own.dtype, own.shape) != (dtypes[name], (sizes.get(name, own.numel()),))
    ]
    if tokens.ndim != 2 or ("scales" in held) != (tokens.dtype == torch.int8) or n < 1:
        wrong.append("tokens")
    ends = {"ids.ends": "ids.data", "records.ends": "records.data", "offsets": "tokens"}
    for name, data in ends.items():
        if name in held and not wrong:
            own = held[name]
            if not len(own) or int(own[0]) != 0 or int(own[-1]) != len(held[data]):
                wrong.append(name)
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{path} must hold the tensors of a segment of {n} items; {name} is "
            f"{held[name].dtype} of shape {tuple(held[name].shape)}, or does not fit the others. "
            f"{RESTORE}"
        )


def check_dtype(dtype: str) -> None:
    """Raise ``ValueError`` unless ``dtype`` is a way to store vectors."""
    if dtype not in STORED:
        raise ValueError(
            f"dtype must be one of {sorted(STORED)}; got {dtype!r}. Name one of them as a string."
        )


def stored(items: MultiVector, dtype: torch.dtype) -> MultiVector:
    """A copy on the CPU in another dtype, int8 included, if all vectors are finite in it."""
    cast = items.quantized() if dtype == torch.int8 else items.to(dtype=dtype)
    bad = (~cast.tokens.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        owners = torch.bucketize(bad, cast.offsets, right=True) - 1
        rows = torch.unique(owners).tolist()
        raise ValueError(
            f"items must be finite in {dtype}; {len(rows)} of {len(cast)} hold NaN, infinity "
            f"or numbers too large for it, the first at {rows[:5]}. Drop or re-encode those "
            "items, or choose a wider dtype for the index."
        )
    return MultiVector(
        cast.tokens.detach().to("cpu", copy=True),
        cast.offsets.to("cpu", copy=True),
        None if cast.scales is None else cast.scales.to("cpu", copy=True),
    )


def take_across(parts: Sequence[MultiVector], rows: Tensor) -> MultiVector:
    """Items of several multi-vectors of one kind at ``rows``, rising, counted through all."""
    starts = torch.tensor([0, *map(len, parts)]).cumsum(0)
    cuts = torch.searchsorted(rows, starts).tolist()
    taken = [
        part.take(rows[first:last] - start)
        for part, start, (first, last) in zip(parts, starts.tolist(), pairwise(cuts), strict=False)
        if last > first
    ]
    if len(taken) == 1:
        return taken[0]
    lengths = torch.cat([part.lengths for part in taken])
    scales = [part.scales for part in taken if part.scales is not None]
    return MultiVector(
        torch.cat([part.tokens for part in taken]),
        torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        torch.cat(scales) if scales else None,
    )
