"""Queries that are items of the indexed side: as they are, or with what should be different."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from align._checks import as_list, check_length
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.composite import Composite
from align.data.encoding import MIXED
from align.data.multi_vector import MultiVector
from align.data.sides import other_side
from align.retrieval.embedder import Embedder
from align.retrieval.first_stages import Budget
from align.retrieval.hits import Hit, Hits, SearchResults
from align.retrieval.index.filters import Where
from align.retrieval.index.index import Index
from align.retrieval.index.inputs import packed
from align.retrieval.index.search import check_size

EVEN = 0.5
"""Weight of a modification where none is chosen."""


def search_like(
    index: Index,
    embedder: Embedder[Tensor | MultiVector],
    examples: Sequence[Any],
    modification: Sequence[Any] | None,
    weight: float,
    *,
    k: int,
    where: Where | None,
    modality: str | Sequence[str] | None,
    standardize: bool,
    budget: Budget | None,
) -> SearchResults:
    """What ``Retriever.search_like`` answers."""
    if isinstance(examples, Hit):  # which is a tuple
        raise TypeError(
            f"examples must be a list of items; got one Hit, {examples!r}. Wrap it in a list."
        )
    examples = as_list("examples", examples)
    if not examples:
        return SearchResults()
    check_size(k, len(index))
    queries = example_queries(index, embedder, examples, modality)
    ids = [str(each.id) if isinstance(each, Hit) else None for each in examples]
    shown = [each.id if isinstance(each, Hit) else each for each in examples]
    if modification is not None:
        words = as_list("modification", modification)
        asked = modification_queries(index, embedder, words, len(examples))
        queries = packed(composed(queries, asked, weight, dim=embedder.adapter.dim))
        both = zip(shown, words, strict=True)
        shown = [Composite({"example": item, "modification": text}) for item, text in both]
    with_itself = k + any(id is not None for id in ids)
    found = index.search(
        queries,
        k=min(with_itself, len(index)),
        where=where,
        standardize=standardize,
        budget=budget,
    )
    others = (
        [hit for hit in hits if hit.id != id][:k] for hits, id in zip(found, ids, strict=True)
    )
    return SearchResults((Hits(own, folder=index.folder) for own in others), queries=shown)


def example_queries(
    index: Index,
    embedder: Embedder[Tensor | MultiVector],
    examples: Sequence[Any],
    modality: str | Sequence[str] | None = None,
) -> MultiVector:
    """Items of the indexed side as queries of their own gallery, ranked by similarity alone.

    A ``Hit`` stands for the indexed item of its id, of which nothing is encoded.
    """
    stored = [row for row, each in enumerate(examples) if isinstance(each, Hit)]
    new = [row for row, each in enumerate(examples) if not isinstance(each, Hit)]
    found: dict[int, Tensor] = {}
    if stored:
        held = index.get([str(examples[row].id) for row in stored]).vectors
        found |= zip(stored, held.to(dtype=torch.float32), strict=True)
    if new:
        kinds = modality
        if modality is not None and not isinstance(modality, str):
            check_length("modality", modality, len(examples))
            kinds = [modality[row] for row in new]
        items = [examples[row] for row in new]
        encoded = embedder.encode(items, side=index.side, modality=kinds)
        found |= zip(new, packed(embedder.to_gallery(encoded)), strict=True)
    queries = MultiVector.pack([found[row] for row in range(len(examples))])
    return without_corrections(index, embedder, queries)


def modification_queries(
    index: Index, embedder: Embedder[Tensor | MultiVector], words: Sequence[Any], n: int
) -> Tensor | MultiVector:
    """Queries of ``n`` items of the other side; texts where that has several modalities."""
    check_length("modification", words, n)
    side = other_side(index.side)
    mixed = embedder.encoder(side).modality == MIXED
    return embedder.queries(words, side=side, modality="text" if mixed else None)


def without_corrections(
    index: Index, embedder: Embedder[Tensor | MultiVector], vectors: MultiVector
) -> MultiVector:
    """Gallery vectors with zeros for corrections, which were fitted for queries across sides."""
    head = index.adapter
    aspects = head.target_aspects if isinstance(head, MetaTokens) else None
    tokens = vectors.tokens.clone()
    end = vectors.dim - (0 if aspects is None else aspects.dim)
    tokens[:, embedder.adapter.dim : end] = 0
    return MultiVector(tokens, vectors.offsets)


def composed(
    examples: MultiVector, modifications: Tensor | MultiVector, weight: float, *, dim: int
) -> Tensor:
    """Examples and modifications as one query each: their weighted sum in the shared space.

    ``(1 - weight) * example + weight * modification``, ``(n, d)``, scaled to unit norm in the
    first ``dim`` columns. Corrections, in the columns after those, so count by ``weight``.

    Raises:
        ValueError: The weight is outside of [0, 1], or a query has several vectors.
    """
    if not 0 <= weight <= 1:
        raise ValueError(
            "weight must be in [0, 1], the share of the modification in a query; got "
            f"{weight!r}. 0 is the example alone, 1 the modification alone."
        )
    example, said = one_vector_each(examples), one_vector_each(modifications)
    both = (1 - weight) * example + weight * said
    norms = torch.linalg.vector_norm(both[:, :dim], dim=1, keepdim=True)
    unit: Tensor = both / norms.clamp_min(torch.finfo(both.dtype).tiny)
    return unit


def one_vector_each(queries: Tensor | MultiVector) -> Tensor:
    """The vectors of items that have one each, ``(n, d)``; ``ValueError`` if one has several."""
    vectors = packed(queries)
    if len(vectors.tokens) != len(vectors):
        raise ValueError(
            "an example and its modification must have one vector each, so that they have a sum; "
            f"got {len(vectors.tokens)} vectors of {len(vectors)}. Search with either alone, or "
            "make an index with an adapter and no meta tokens."
        )
    return vectors.tokens
