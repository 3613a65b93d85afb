"""What was typed, dropped or clicked, as a query of an index: in the shared space, and raw."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from align.adapters.instructions import sources_for
from align.adapters.multi_vector.aspects import TokenAspects
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.embeddings import Embeddings
from align.data.encoding import MIXED, Encoder, TokenEncoder, encode_items, items_for
from align.data.multi_vector import MultiVector
from align.data.sides import Side
from align.retrieval.index.index import Index
from align.retrieval.retriever import Retriever

Kind = Literal["text", "image"]

_ENCODED_AS: dict[Kind, tuple[str, ...]] = {"text": ("text", "code"), "image": ("image",)}


@dataclass(frozen=True, slots=True)
class Door:
    """Where queries of one kind are encoded.

    Attributes:
        side: The side whose encoder takes them.
        modality: What they are to that encoder; text in front of an encoder of code is code.
    """

    side: Side
    modality: str


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One query.

    Attributes:
        vectors: As the index is searched, one packed item.
        raw: As its encoder gave it, unit norm, ``(1, d_side)``; ``None`` where nobody knows it.
        itself: Id of the item that the query is, which is no answer.
    """

    vectors: MultiVector
    raw: Tensor | None
    itself: str | None = None


def doors(retriever: Retriever) -> dict[Kind, Door]:
    """The kinds of query that an index can be asked with.

    The side that asks comes first. Items of the indexed side ask too, by likeness in the shared
    space, where their encoder is known.

    Raises:
        ValueError: The encoder of the side that asks is not known.
    """
    held = retriever.index.side
    found = {retriever.asking: _takes(retriever.embedder.encoder(retriever.asking))}
    # Without the encoder of the indexed side there is less to ask with, and no error: an index may
    # have been filled with vectors.
    with suppress(ValueError):
        found[held] = _takes(retriever.embedder.encoder(held))
    fits = {
        kind: [Door(side, name) for side in found for name in names if name in found[side]]
        for kind, names in _ENCODED_AS.items()
    }
    return {kind: best[0] for kind, best in fits.items() if best}


def load_networks(retriever: Retriever, ways_in: Mapping[Kind, Door]) -> None:
    """Ask something once: networks load when they are first used, and nobody should wait."""
    samples = {"text": "a query", "image": Image.new("RGB", (64, 64), "grey")}
    for kind, door in ways_in.items():
        ask(retriever, door, samples[kind])


def ask(retriever: Retriever, door: Door, item: Any) -> Query:
    """The query that one raw item is.

    Args:
        retriever: The index with its encoders.
        door: One of ``doors``.
        item: A text or a Pillow image.

    Raises:
        ValueError: The encoder or the adapter refuses the item.
    """
    encoder = retriever.embedder.encoder(door.side)
    named = items_for(encoder, [item], [door.modality], side=door.side)
    raw = encode_items(encoder, named, store=None, progress=False)
    base = retriever.embedder.adapter
    rows = sources_for(base, raw) if door.side == "source" else raw
    pooled = Embeddings(rows, encoder.fingerprint, ("query",))
    asks = door.side == retriever.asking
    head = retriever.index.adapter
    if isinstance(head, MetaTokens):
        part = head.source_aspects if door.side == "source" else head.target_aspects
        tokens = None
        if isinstance(part, TokenAspects):
            teller: TokenEncoder = encoder  # type: ignore[assignment]  # the head was fitted on it
            tokens = teller.encode_tokens(named)
        made = (head.queries if asks else head.gallery)(pooled, tokens, side=door.side)
    else:
        vectors = (base.queries if asks else base.gallery)(pooled, side=door.side)
        made = MultiVector.from_equal(vectors[:, None])
    return Query(made if asks else _uncorrected(retriever, made), F.normalize(raw, dim=1))


def ask_with_item(retriever: Retriever, id: str, raw: Index | None) -> Query:
    """The query that an indexed item is, from its stored vectors: nothing is encoded.

    Args:
        retriever: The index with its encoders.
        id: The item.
        raw: The encoder's own vectors of the same items, if they are known.

    Raises:
        KeyError: There is no such item.
    """
    stored = retriever.index.get([id]).vectors.to(dtype=torch.float32)
    own = None if raw is None else raw.get([id]).vectors.tokens
    return Query(_uncorrected(retriever, stored), own, itself=id)


def shared(retriever: Retriever, vectors: MultiVector) -> Tensor:
    """Where items lie in the shared space by their first vector, unit norm, ``(n, dim)``."""
    packed = vectors.to(dtype=torch.float32)
    return F.normalize(packed.tokens[packed.offsets[:-1], : retriever.embedder.adapter.dim], dim=1)


def _uncorrected(retriever: Retriever, vectors: MultiVector) -> MultiVector:
    """Gallery vectors as queries of their own gallery: ranked by nothing but likeness.

    The columns of corrections hold what was fitted for queries of the other side.
    """
    head = retriever.index.adapter
    part = head.target_aspects if isinstance(head, MetaTokens) else None
    tokens = vectors.tokens.clone()
    tokens[:, retriever.embedder.adapter.dim : vectors.dim - (0 if part is None else part.dim)] = 0
    return MultiVector(tokens, vectors.offsets)


def _takes(encoder: Encoder) -> frozenset[str]:
    if encoder.modality == MIXED:
        return frozenset(getattr(encoder, "encoders", ()))
    return frozenset({encoder.modality})
