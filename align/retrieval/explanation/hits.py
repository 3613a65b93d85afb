"""Why a retriever found an item, from the raw query and what its index holds of the item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.picture_names import route_picture_names
from align.data.sides import other_side
from align.retrieval.embedder import Embedder
from align.retrieval.explanation.explain import explain_vectors, in_shared_space, known_pairs
from align.retrieval.explanation.tokens import TokenExplanation
from align.retrieval.explanation.values import Explanation
from align.retrieval.explanation.words import explain_words
from align.retrieval.index.index import Index
from align.retrieval.picture_paths import FIELD, picture_path

_SAME = 0.02
"""An item is that of its stored vector if they differ by less of its length: int8 is within."""


@torch.inference_mode()
def explain_hit(
    index: Index,
    embedder: Embedder[Tensor | MultiVector],
    query: Any,
    id: str,
    *,
    modality: str | None = None,
    instruction: str | None = None,
    pairs: PairedEmbeddings | None = None,
    names: Sequence[str] | None = None,
    top: int = 10,
    item: Any = None,
) -> Explanation:
    """``Retriever.explain``, which says more; ``item`` is the raw one, looked up if left out."""
    stored = index.get([id])
    vectors = stored.vectors.to(dtype=torch.float32)
    if len(vectors.tokens) != 1:
        raise ValueError(
            f"an item with one vector is explained by its directions; {id!r} has "
            f"{len(vectors.tokens)}. Take align.best_tokens of its vectors for which met which."
        )
    side, adapter = other_side(index.side), embedder.adapter
    asked = embedder.encode([query], side=side, modality=modality, instruction=instruction)
    found = embedder.to_queries(asked)
    assert isinstance(found, Tensor), "an item of one vector is of an adapter"
    if item is None:
        item = raw_item(stored.metadata[0], stored.modality[0], index.folder)
    own = None
    if item is not None:
        own = _own(embedder, item, vectors.tokens[0], index, stored.modality[0])
    bare = None
    if own is not None:
        bare = in_shared_space(adapter, asked.vectors, side)[0], own
    explained = explain_vectors(
        adapter,
        found[0],
        vectors.tokens[0],
        bare,
        side=side,
        known=known_pairs(adapter, pairs, names),
        top=top,
    )
    return replace(explained, query=query, item=id if item is None else item)


def explain_words_of_hit(
    index: Index,
    embedder: Embedder[Tensor | MultiVector],
    query: Any,
    id: str,
    *,
    modality: str | None = None,
    item: Any = None,
) -> TokenExplanation:
    """``Retriever.explain_words``, which says more; ``item`` is as for ``explain_hit``."""
    stored = index.get([id])
    if item is None:
        item = raw_item(stored.metadata[0], stored.modality[0], index.folder)
    if item is None:
        raise ValueError(
            f"words are looked up in the item itself, by text or path in its metadata; {id!r} has "
            "neither, or its picture is gone. Add items with their text or as paths."
        )
    side = other_side(index.side)
    encoders = embedder.encoder(side), embedder.encoder(index.side)
    named = (
        route_picture_names(encoder, [each], None if kind is None else [kind], side=own)[0][0]
        for encoder, each, kind, own in zip(
            encoders, (query, item), (modality, stored.modality[0]), (side, index.side), strict=True
        )
    )
    return explain_words(embedder.adapter, encoders, tuple(named), side=side)


def raw_item(metadata: Mapping[str, Any], modality: str | None, folder: Path) -> Any:
    """The text or the picture behind an item, or ``None`` where it is not there any more."""
    path, text = metadata.get(FIELD), metadata.get("text")
    if isinstance(text, str) and modality != "image":
        return text
    if isinstance(path, str) and modality in ("image", None):
        file = picture_path(path, folder)
        return file if file.is_file() else None
    return None


def _own(
    embedder: Embedder[Tensor | MultiVector],
    item: Any,
    stored: Tensor,
    index: Index,
    modality: str | None,
) -> Tensor | None:
    """An item in the shared space before it was expanded, if it still gives what is stored."""
    try:
        encoded = embedder.encode([item], side=index.side, modality=modality, progress=False)
    except (ValueError, OSError):  # its encoder is not there, or takes no such item
        return None
    again = embedder.to_gallery(encoded)
    assert isinstance(again, Tensor), "an item of one vector is of an adapter"
    if torch.linalg.vector_norm(again[0] - stored) > _SAME * torch.linalg.vector_norm(stored):
        return None
    return in_shared_space(embedder.adapter, encoded.vectors, index.side)[0]
