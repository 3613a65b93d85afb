"""Searches, hits and candidates as frameworks of texts use them: results, text, a new order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor

from align._checks import check_at_least
from align.data.multi_vector import MultiVector
from align.data.sides import Side, other_side
from align.retrieval.embedder import Embedder
from align.retrieval.hits import Hit, Searcher
from align.retrieval.index.filters import Where
from align.scoring.late_interaction import maxsim

Rescore = Callable[[str, Sequence[Any]], Tensor]
"""A query and ``n`` candidate items to one score each, ``(n,)``; higher is better."""


def hits_for(searcher: Searcher, item: Any, *, k: int, where: Where | None = None) -> list[Hit]:
    """Up to ``k`` hits of one query, a text or the ``pathlib.Path`` of an image, best first.

    Raises:
        ValueError: The search cannot filter and ``where`` is given, or a score is NaN.
    """
    options: dict[str, Any] = {}
    if where is not None:
        known = signature(searcher.search).parameters.values()
        if not any(each.name == "where" or each.kind == Parameter.VAR_KEYWORD for each in known):
            raise ValueError(
                "a filter needs a search that takes where=, as Retriever.search does; "
                f"{type(searcher).__name__}.search takes none. Leave the filter out, or filter in "
                "the database that answers."
            )
        options["where"] = where
    [hits] = searcher.search([item], k=k, **options)
    for rank, hit in enumerate(hits):
        if math.isnan(hit.score):
            raise ValueError(
                f"every hit must have a score that can be compared; hit {rank}, {hit.id!r}, has "
                "NaN. Look for NaN in the vectors of that item, or in what scores it."
            )
    return list(hits)


def with_fields(metadata: Mapping[str, Any], remedy: str, **ours: Any) -> dict[str, Any]:
    """Metadata of an item with fields of ours, neither of which hides the other.

    A value of ``None`` adds nothing where the metadata has that field.

    Raises:
        ValueError: The metadata has such a field, with another value; ``remedy`` ends the message.
    """
    for name, value in ours.items():
        if name in metadata and value is not None and metadata[name] != value:
            raise ValueError(
                f"the metadata must leave the field {name!r} free, where {value!r} goes; it holds "
                f"{metadata[name]!r} there. {remedy}"
            )
    return {**ours, **metadata, **{name: ours[name] for name in ours if ours[name] is not None}}


def text_of(hit: Hit) -> str:
    """The ``text`` in the metadata of a hit, or its id where there is none, as of a picture."""
    return str(hit.metadata.get("text", hit.id))


def by_adapter(embedder: Embedder[Tensor], *, documents: Side = "target") -> Rescore:
    """Scores of candidates of the side ``documents``, hubness correction included.

    With a ``store``, the embedder encodes no document twice.
    """

    def rescore(query: str, items: Sequence[Any]) -> Tensor:
        vector = embedder.queries([query], side=other_side(documents))
        return (vector @ embedder.gallery(items, side=documents).T)[0]

    return rescore


def by_maxsim(
    queries: Callable[[list[str]], Sequence[Tensor] | MultiVector],
    documents: Callable[[list[Any]], Sequence[Tensor] | MultiVector],
) -> Rescore:
    """Scores by MaxSim of token vectors.

    Both functions give a matrix of token vectors for each item, as ``encode_query`` and
    ``encode_document`` of sentence-transformers or ``encode_tokens`` of our encoders.
    """

    def packed(vectors: Sequence[Tensor] | MultiVector) -> MultiVector:
        return vectors if isinstance(vectors, MultiVector) else MultiVector.pack(vectors)

    def rescore(query: str, items: Sequence[Any]) -> Tensor:
        return maxsim(packed(queries([query])), packed(documents(list(items))))[0]

    return rescore


def best_first(
    rescore: Rescore, query: str, items: Sequence[Any], *, top_n: int | None
) -> list[tuple[int, float]]:
    """``(row, score)`` of the ``top_n`` best items, or of all; ties in the order of the rows.

    Raises:
        ValueError: ``top_n`` is below 1, there is not one score per item, or a score is NaN.
    """
    if top_n is not None:
        check_at_least("top_n", top_n, 1)
    if not items:
        return []
    scores = torch.as_tensor(rescore(query, items))
    if scores.shape != (len(items),):
        raise ValueError(
            f"rescoring must give one score per item, shape ({len(items)},); got "
            f"{tuple(scores.shape)}. Return a vector in the order of the items."
        )
    if scores.is_floating_point() and scores.isnan().any():
        rows = scores.isnan().nonzero().flatten().tolist()
        raise ValueError(
            f"rescoring must give numbers that can be compared; {len(rows)} of {len(items)} scores "
            f"are NaN, the first at {rows[:5]}. Give an item that cannot be scored minus infinity, "
            "or leave it out."
        )
    order = scores.argsort(descending=True, stable=True)[:top_n].tolist()
    return [(row, float(scores[row])) for row in order]
