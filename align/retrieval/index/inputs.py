"""Items and queries as they come, and as packed vectors in the space of an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from align._checks import check_matrix
from align.data.embeddings import Embeddings, Vectors, as_tensor
from align.data.multi_vector import MultiVector
from align.data.sides import Side, other_side
from align.retrieval.storage.adapter_files import AnyAdapter
from align.retrieval.storage.id_table import check_ids
from align.retrieval.storage.manifest import Stored
from align.retrieval.storage.metadata import Records
from align.retrieval.storage.segment import Segment
from align.retrieval.storage.segments import LiveSegment


def check_rows(name: str, vectors: object) -> None:
    """Raise unless there is a row for each item: one vector is not taken for several."""
    if isinstance(vectors, (MultiVector, Embeddings)):
        return
    if isinstance(vectors, (list, tuple)) and not any(isinstance(row, str) for row in vectors):
        if not vectors or np.ndim(vectors[0]):
            return
        vectors = np.asarray(vectors)
    if not isinstance(vectors, (Tensor, np.ndarray)):
        raise TypeError(
            f"{name} must be vectors, one in each row of a matrix (n, d), or a MultiVector; got a "
            f"{type(vectors).__name__}, {repr(vectors)[:60]}. Encode the items first, or use a "
            "Retriever, which does."
        )
    if vectors.ndim != 2:
        raise ValueError(
            f"{name} must be a matrix (n, d), one vector in each row; got shape "
            f"{tuple(vectors.shape)}. One vector becomes a matrix by vector[None]; several vectors "
            "for each item become one by MultiVector.from_equal."
        )


@torch.no_grad()
def as_packed(
    name: Literal["items", "queries"],
    rows: Vectors | MultiVector,
    adapter: AnyAdapter | None,
    side: Side,
    dim: int | None,
) -> MultiVector:
    """Items or queries as packed vectors in the space of an index.

    Embeddings of an encoder go through the adapter, if there is one; packed items are in that
    space. ``side`` is that of the items of the index, and ``dim`` its width if it has any.
    """
    if len(rows) == 0 and name == "items":
        return MultiVector(torch.empty(0, dim or 0), torch.zeros(1, dtype=torch.int64))
    if isinstance(rows, MultiVector):
        vectors = rows
    elif adapter is None:
        matrix = as_tensor(rows)
        check_matrix(name, matrix)
        vectors = packed(matrix)
    elif name == "items":
        vectors = packed(adapter.gallery(rows, side=side))
    else:
        vectors = packed(adapter.queries(rows, side=other_side(side)))
    if dim is not None and vectors.dim != dim:
        raise ValueError(
            f"{name} must have width {dim}, as the items in this index; "
            f"got {vectors.dim}. Encode them with what made those."
        )
    return vectors


def packed(vectors: Tensor | MultiVector) -> MultiVector:
    """Items of one vector each, on the CPU, unless they are packed already."""
    if isinstance(vectors, MultiVector):
        return vectors
    return MultiVector.from_equal(vectors[:, None].cpu())


class _Index(Protocol):
    side: Side
    adapter: AnyAdapter | None
    dtype: Stored
    budget: int | None
    dim: int | None


def new_segment(
    index: _Index,
    ids: Sequence[str],
    items: Vectors | MultiVector,
    metadata: Sequence[Mapping[str, Any]] | None,
    modality: str | Sequence[str] | None,
) -> LiveSegment:
    """New items for an index, checked and as they will be stored."""
    check_whole(index.budget)
    check_rows("items", items)
    check_ids(ids, len(items))
    records = Records.of(len(items), metadata, modality)
    packed = as_packed("items", items, index.adapter, index.side, index.dim)
    return LiveSegment(Segment.new(ids, packed, records, dtype=index.dtype))


def check_whole(budget: int | None) -> None:
    """Raise ``RuntimeError`` where an index was opened with a budget, and so not all of it."""
    if budget is not None:
        raise RuntimeError(
            f"an index opened with a budget is only searched; this one has {budget}. "
            "Open it without a budget to change it."
        )
