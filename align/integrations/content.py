"""What frameworks of text ask of hits and candidates: a text, and a new order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from align._checks import check_at_least
from align.adapters.adapter import Side, other_side
from align.late_interaction import maxsim
from align.multivector import MultiVector
from align.retrieval.embedder import Embedder
from align.retrieval.hits import Hit

Rescore = Callable[[str, Sequence[Any]], Tensor]
"""A query and ``n`` candidate items to one score each, ``(n,)``; higher is better."""


def text_of(hit: Hit) -> str:
    """What a hit says: the ``text`` of its metadata, or its id where it has none, as a picture."""
    return str(hit.metadata.get("text", hit.id))


def by_adapter(embedder: Embedder, *, documents: Side = "target") -> Rescore:
    """Scores by an adapter, hubness correction included.

    Args:
        embedder: The adapter with its encoders; a ``store`` spares encoding a document again.
        documents: The side of the candidates; the query is of the other.
    """

    def rescore(query: str, items: Sequence[Any]) -> Tensor:
        asked = embedder.queries([query], side=other_side(documents))
        return (asked @ embedder.gallery(items, side=documents).T)[0]

    return rescore


def by_maxsim(
    queries: Callable[[list[str]], Sequence[Tensor] | MultiVector],
    documents: Callable[[list[Any]], Sequence[Tensor] | MultiVector],
) -> Rescore:
    """Scores by MaxSim of token vectors.

    Args:
        queries: Texts to a matrix of token vectors each, as ``MultiVectorEncoder.encode_query`` of
            sentence-transformers or ``encode_tokens`` of our encoders.
        documents: Items to the same of the candidates, such as ``encode_document``.
    """

    def rescore(query: str, items: Sequence[Any]) -> Tensor:
        return maxsim(_packed(queries([query])), _packed(documents(list(items))))[0]

    return rescore


def best_first(
    rescore: Rescore, query: str, items: Sequence[Any], *, top_n: int | None
) -> list[tuple[int, float]]:
    """``(row, score)`` of the ``top_n`` best items, or of all; of equal ones the first row first.

    Raises:
        ValueError: ``top_n`` is below 1, or there is not one score per item.
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
    order = scores.argsort(descending=True, stable=True)[:top_n].tolist()
    return [(row, float(scores[row])) for row in order]


def _packed(vectors: Sequence[Tensor] | MultiVector) -> MultiVector:
    return vectors if isinstance(vectors, MultiVector) else MultiVector.pack(vectors)
