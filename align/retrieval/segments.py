"""Items that lie together: their vectors, ids and records; written once and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from align.multivector import MultiVector
from align.retrieval.ids import IdTable
from align.retrieval.packed import Array, Packed
from align.retrieval.records import Records

STORED = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
}
"""Ways to store vectors, by the names that a manifest gives them."""


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
    """

    tokens: Tensor
    offsets: Tensor | None
    scales: Tensor | None
    ids: IdTable
    records: Records

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
    def read(cls, path: Path) -> Self:
        """What ``write`` wrote, mapped: nothing is read before it is used.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not whole, or lacks a part.
        """
        try:
            with safe_open(path, framework="pt") as file:
                held = {name: file.get_tensor(name) for name in file.keys()}
            arrays = {name: tensor.numpy() for name, tensor in held.items() if "." in name}
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
            )
        except (SafetensorError, KeyError) as error:
            raise ValueError(
                f"{path} must be a whole segment of an index; reading it failed with: {error}. "
                "Restore the folder from a copy, or rebuild the index."
            ) from error
        except RuntimeError as error:
            # The header is read first and the tensors are mapped after: a writer that merged
            # segments may have removed the file between the two.
            if path.exists():
                raise
            raise FileNotFoundError(
                f"{path} must be there; it went while it was opened. "
                "Open the index again: a newer manifest names other files."
            ) from error

    def write(self, path: Path) -> None:
        """Write one safetensors file."""
        arrays = {
            "ids.data": self.ids.names.data,
            "ids.ends": self.ids.names.ends,
            "ids.hashes": self.ids.hashes,
            "ids.rows": self.ids.rows,
            "records.modality": self.records.modality,
            "records.data": self.records.metadata.data,
            "records.ends": self.records.metadata.ends,
        }
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        given = {"tokens": self.tokens, "offsets": self.offsets, "scales": self.scales}
        tensors |= {name: tensor for name, tensor in given.items() if tensor is not None}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)

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
        return MultiVector(self.tokens, offsets, self.scales)

    def where(self, keep: Array) -> Self:
        """The items that a mask ``(n,)`` keeps."""
        if keep.all():
            return self
        rows = torch.from_numpy(np.flatnonzero(keep))
        return self.of(self.vectors.take(rows), self.ids.where(keep), self.records.where(keep))

    def prefix(self, budget: int) -> Self:
        """The first ``budget`` vectors of each item."""
        return self.of(self.vectors.prefix(budget), self.ids, self.records)


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
