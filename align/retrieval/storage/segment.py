"""Items that lie together: their vectors, ids and records; written once and never changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.retrieval.storage.id_table import IdTable
from align.retrieval.storage.mapped_file import Blocks, MappedFile, raw_rows, write_tensors
from align.retrieval.storage.metadata import Records
from align.retrieval.storage.packed_strings import Array, Packed

STORED = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
}
"""Ways to store vectors, by the names that a manifest gives them."""

_BLOCK = 1 << 22
"""Bytes that are copied at a time from one segment into another."""

_AGAIN = "Restore the folder from a copy, or rebuild the index."
_OTHERS = {
    "ids.data": torch.uint8,
    "ids.ends": torch.int64,
    "ids.hashes": torch.int64,
    "ids.rows": torch.int64,
    "records.modality": torch.uint8,
    "records.data": torch.uint8,
    "records.ends": torch.int64,
}
"""What the file of a segment holds beside vectors, all of one dimension."""


@dataclass(frozen=True, eq=False)
class Segment:
    """``n`` items in the order in which they were added.

    Attributes:
        tokens: All vectors end to end, ``(total, d)``, in a dtype of ``STORED``.
        offsets: Item ``i`` owns rows ``offsets[i]:offsets[i + 1]``, ``(n + 1,)`` int64; ``None``
            where every item has one vector.
        scales: Of int8, one per item, ``(n,)`` float32.
        ids: The ids of the items.
        records: Their modality and metadata.
        file: The file that all of it is mapped from, or ``None`` where it lies in memory.
    """

    tokens: Tensor
    offsets: Tensor | None
    scales: Tensor | None
    ids: IdTable
    records: Records
    file: MappedFile | None = None

    @classmethod
    def of(cls, vectors: MultiVector, ids: IdTable, records: Records) -> Self:
        """A segment in memory."""
        pooled = len(vectors.tokens) == len(vectors)
        return cls(
            vectors.tokens, None if pooled else vectors.offsets, vectors.scales, ids, records
        )

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All items of several segments, which share no id, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls.of(
            join_vectors([part.vectors for part in parts]),
            IdTable.join([part.ids for part in parts]),
            Records.join([part.records for part in parts]),
        )

    @classmethod
    def read(cls, path: Path, *, inside: Path) -> Self:
        """What ``write_segment`` wrote, mapped: nothing is read before it is used.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: It is no file of its own, or cannot be read.
            ValueError: The file is not whole, or a part is missing or does not fit the others.
        """
        file = MappedFile.open(path, inside=inside)
        held = dict(file.tensors)
        _check_parts(path, held)
        arrays = {name: held[name].numpy() for name in _OTHERS}
        return cls(
            held["tokens"],
            held.get("offsets"),
            held.get("scales"),
            IdTable(
                Packed(arrays["ids.data"], arrays["ids.ends"]),
                arrays["ids.hashes"],
                arrays["ids.rows"],
            ),
            Records(
                arrays["records.modality"],
                Packed(arrays["records.data"], arrays["records.ends"]),
            ),
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
        """Bytes of vectors, offsets and scales."""
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

    @property
    def ends(self) -> Array:
        """Where the vectors of each item end, ``(n + 1,)`` int64, as ``offsets`` has it."""
        if self.offsets is None:
            return np.arange(len(self) + 1)
        return self.offsets.numpy()

    def check_there(self) -> None:
        """Raise ``OSError`` if the file was cut since it was mapped: to read it would end us."""
        if self.file is not None and not self.file.is_whole:
            raise OSError(
                f"{self.file.path} must stay as it was when it was opened; it was cut to fewer "
                f"bytes since. {_AGAIN}"
            )

    def check_order(self) -> None:
        """Raise ``ValueError`` unless what says where things lie can be followed to the end."""
        packed = {"ids": self.ids.names, "records": self.records.metadata}
        ends = {"tokens": self.ends} | {name: each.ends for name, each in packed.items()}
        for name, own in ends.items():
            # Every item has a vector; an id may be empty, and metadata missing.
            if bool((np.diff(own) < (name == "tokens")).any()):
                self._damaged(f"where {name} of its items end")
        if not np.array_equal(np.sort(self.ids.rows), np.arange(len(self))):
            self._damaged("the rows of its ids")

    def _damaged(self, what: str) -> NoReturn:
        where = "a segment" if self.file is None else self.file.path
        raise ValueError(f"{where} must say {what} in order; it does not. {_AGAIN}")

    def where(self, keep: Array) -> Self:
        """The items that a mask ``(n,)`` keeps."""
        if keep.all():
            return self
        rows = torch.from_numpy(np.flatnonzero(keep))
        return self.of(self.vectors.take(rows), self.ids.where(keep), self.records.where(keep))

    def prefix(self, budget: int) -> Self:
        """The first ``budget`` vectors of each item."""
        return replace(self.of(self.vectors.prefix(budget), self.ids, self.records), file=self.file)


Source = tuple[Segment, Array | None]
"""A segment and which of its items to take, ``(n,)`` bool, or ``None`` for all."""


def write_segment(path: Path, sources: Sequence[Source]) -> str:
    """Write the items of several segments, which share no id, as one; the digest of the file.

    A few millions of bytes are held at a time, and some tens of bytes for each item.

    Args:
        path: Where to write.
        sources: In their order, with some items.

    Raises:
        OSError: The system cannot write it.
        ValueError: What was read does not fit together.
    """
    for segment, _ in sources:
        segment.check_order()
    ids = IdTable.layout([(segment.ids, keep) for segment, keep in sources])
    records = [segment.records for segment, _ in sources]
    lengths = _kept_lengths([(segment.ends, keep) for segment, keep in sources])
    first = sources[0][0]
    total, d = int(lengths.sum()), first.dim
    n = len(lengths)
    vectors = [(segment, raw_rows(segment.tokens), segment.ends, keep) for segment, keep in sources]
    tensors = {
        "tokens": Blocks(first.tokens.dtype, (total, d), _rows(vectors)),
        "ids.hashes": Blocks.of(ids.hashes),
        "ids.rows": Blocks.of(ids.rows),
        "records.modality": Blocks.of(
            _kept([(segment.records.modality, keep) for segment, keep in sources])
        ),
    }
    named = {
        "ids": [segment.ids.names for segment, _ in sources],
        "records": [each.metadata for each in records],
    }
    for name, packed in named.items():
        own = _kept_lengths(
            [(each.ends, keep) for each, (_, keep) in zip(packed, sources, strict=True)]
        )
        rows = [
            (segment, each.data, each.ends, keep)
            for each, (segment, keep) in zip(packed, sources, strict=True)
        ]
        tensors[f"{name}.data"] = Blocks(torch.uint8, (int(own.sum()),), _rows(rows))
        tensors[f"{name}.ends"] = Blocks.of(_ends(own))
    if total != n:
        tensors["offsets"] = Blocks.of(_ends(lengths))
    scales = [
        (segment.scales.numpy(), keep) for segment, keep in sources if segment.scales is not None
    ]
    if scales:
        tensors["scales"] = Blocks.of(_kept(scales))
    return write_tensors(path, tensors)


def _rows(sources: Sequence[tuple[Segment, Array, Array, Array | None]]) -> Iterator[Array]:
    """The rows of the items that are kept, some millions of bytes at a time.

    Args:
        sources: A segment, some rows of it, where those of each item end, and which items to take.
    """
    for segment, data, ends, keep in sources:
        wide = data[:1].nbytes
        start, n = 0, len(ends) - 1
        while start < n:
            # As many items as fit, and one that does not where it is the first.
            within = np.searchsorted(ends, ends[start] + _BLOCK // max(wide, 1), side="right") - 1
            stop = int(min(n, max(start + 1, within)))
            block = data[ends[start] : ends[stop]]
            if keep is not None:
                lengths = np.diff(ends[start : stop + 1])
                block = block[np.repeat(keep[start:stop], lengths)]
            yield block
            start = stop
            if segment.file is not None:
                segment.file.release()


def _kept(sources: Sequence[tuple[Array, Array | None]]) -> Array:
    return np.concatenate([each if keep is None else each[keep] for each, keep in sources])


def _kept_lengths(sources: Sequence[tuple[Array, Array | None]]) -> Array:
    return _kept([(np.diff(ends), keep) for ends, keep in sources])


def _ends(lengths: Array) -> Array:
    return np.concatenate([np.zeros(1, dtype=np.int64), lengths.cumsum()])


def _check_parts(path: Path, held: dict[str, Tensor]) -> None:
    """Raise ``ValueError`` unless tensors are those of a segment and fit each other."""
    known = {"tokens", *_OTHERS}
    missing = sorted(known - set(held))
    unknown = sorted(set(held) - known - {"offsets", "scales"})
    if missing or unknown:
        raise ValueError(
            f"{path} must hold the tensors of a segment; unknown: {unknown[:5]}, "
            f"missing: {missing}. {_AGAIN}"
        )
    n = len(held["ids.ends"].flatten()) - 1
    tokens = held["tokens"]
    sizes = {"ids.hashes": n, "ids.rows": n, "ids.ends": n + 1}
    dtypes = dict(_OTHERS)
    if "offsets" in held:
        dtypes["offsets"] = torch.int64
    if "scales" in held:
        dtypes["scales"] = torch.float32
        sizes["scales"] = n
    wrong = [
        name
        for name, dtype in dtypes.items()
        if held[name].dtype != dtype
        or held[name].ndim != 1
        or sizes.get(name, len(held[name])) != len(held[name])
    ]
    if tokens.ndim != 2 or ("scales" in held) != (tokens.dtype == torch.int8) or n < 1:
        wrong.append("tokens")
    ends = {"ids.ends": "ids.data", "records.ends": "records.data", "offsets": "tokens"}
    for name, data in ends.items():
        if name in held and name not in wrong:
            own = held[name]
            if not len(own) or int(own[0]) != 0 or int(own[-1]) != len(held[data]):
                wrong.append(name)
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{path} must hold the tensors of a segment of {n} items; {name} is "
            f"{held[name].dtype} of shape {tuple(held[name].shape)}, or does not fit the others. "
            f"{_AGAIN}"
        )


def stored(items: MultiVector, dtype: torch.dtype) -> MultiVector:
    """A copy on the CPU in another dtype, int8 included, whose vectors are finite.

    Raises:
        ValueError: A vector is not finite in that dtype.
    """
    cast = items.quantized() if dtype == torch.int8 else items.to(dtype=dtype)
    bad = (~cast.tokens.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        owners = torch.bucketize(bad, cast.offsets, right=True) - 1
        rows = sorted(set(owners.tolist()))
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


def join_vectors(parts: Sequence[MultiVector]) -> MultiVector:
    """Items of several multi-vectors of one kind, one after the other."""
    if len(parts) == 1:
        return parts[0]
    lengths = torch.cat([part.lengths for part in parts])
    scales = [part.scales for part in parts if part.scales is not None]
    return MultiVector(
        torch.cat([part.tokens for part in parts]),
        torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        torch.cat(scales) if scales else None,
    )


def take_across(parts: Sequence[MultiVector], rows: Tensor) -> MultiVector:
    """Items at ``rows``, rising, which count through all parts."""
    starts = torch.tensor([0, *map(len, parts)]).cumsum(0)
    cuts = torch.searchsorted(rows, starts).tolist()
    return join_vectors(
        [
            part.take(rows[first:last] - start)
            for part, start, (first, last) in zip(
                parts, starts.tolist(), pairwise(cuts), strict=False
            )
            if last > first
        ]
    )
