"""Items and queries as they come, and as packed vectors in the space of an index."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from align._checks import check_matrix
from align.data.embeddings import Embeddings, Vectors, as_tensor
from align.data.multi_vector import MultiVector
from align.data.sides import Side, other_side
from align.retrieval.storage.adapter_files import AnyAdapter


def check_rows(name: str, vectors: object) -> None:
    """Raise unless there is a row for each item, packed or in a matrix; one vector is not several.

    Raises:
        TypeError: It is no matrix of numbers at all, such as a text.
        ValueError: It is one vector, or of more dimensions.
    """
    if isinstance(vectors, (MultiVector, Embeddings)):
        return
    if isinstance(vectors, (list, tuple)) and not any(isinstance(row, str) for row in vectors):
        vectors = vectors if not vectors or np.ndim(vectors[0]) else np.asarray(vectors)
        if isinstance(vectors, (list, tuple)):
            return
    if not isinstance(vectors, (Tensor, np.ndarray)):
        raise TypeError(
            f"{name} must be vectors, one in each row of a matrix (n, d), or a MultiVector; got a "
            f"{type(vectors).__name__}, {repr(vectors)[:60]}. Encode the items first, or ask a "
            "Retriever, which does."
        )
    if vectors.ndim != 2:
        raise ValueError(
            f"{name} must be a matrix (n, d), one vector in each row; got shape "
            f"{tuple(vectors.shape)}. One vector becomes a matrix by vector[None]; several vectors "
            "for each item become one by MultiVector.from_equal."
        )


@torch.no_grad()
def as_items(
    items: Vectors | MultiVector, adapter: AnyAdapter | None, side: Side, dim: int | None
) -> MultiVector:
    """Items through the gallery of an adapter, unless they are packed or there is none.

    Args:
        items: ``n`` embeddings from the encoder of ``side``, or ``n`` packed items.
        adapter: Of the index.
        side: The side that the items belong to.
        dim: Width of the index, ``None`` before its first item.

    Raises:
        ValueError: The adapter refuses the items, they are no finite matrix, or their width is
            another.
    """
    if len(items) == 0:
        return MultiVector(torch.empty(0, dim or 0), torch.zeros(1, dtype=torch.int64))
    if isinstance(items, MultiVector):
        found = items
    elif adapter is None:
        found = packed(_matrix("items", items))
    else:
        found = packed(adapter.gallery(items, side=side))
    check_width("items", found, dim)
    return found


@torch.no_grad()
def as_queries(
    queries: Vectors | MultiVector, adapter: AnyAdapter | None, side: Side, dim: int | None
) -> MultiVector:
    """Queries for items of ``side``; as ``as_items``, but through the other side's queries."""
    if isinstance(queries, MultiVector):
        found = queries
    elif adapter is None:
        found = packed(_matrix("queries", queries))
    else:
        found = packed(adapter.queries(queries, side=other_side(side)))
    check_width("queries", found, dim)
    return found


def check_width(name: str, items: MultiVector, dim: int | None) -> None:
    """Raise ``ValueError`` unless items have the width of the index."""
    if dim is not None and items.dim != dim:
        raise ValueError(
            f"{name} must have width {dim}, as the items in this index; "
            f"got {items.dim}. Encode them with what made those."
        )


def _matrix(name: str, x: Vectors) -> Tensor:
    rows = as_tensor(x)
    check_matrix(name, rows)
    return rows


def packed(vectors: Tensor | MultiVector) -> MultiVector:
    """Items of one vector each, unless they are packed already."""
    if isinstance(vectors, MultiVector):
        return vectors
    return MultiVector.from_equal(vectors[:, None].cpu())
