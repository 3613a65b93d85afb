"""What was typed, dropped or clicked, as a query of an index: in the shared space, and raw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from align.data.encoding import COMPOSITE, MIXED, Encoder
from align.data.lone_parts import TEXTS
from align.data.multi_vector import MultiVector
from align.data.sides import Side
from align.retrieval.examples import without_corrections
from align.retrieval.index.index import Index
from align.retrieval.index.inputs import packed
from align.retrieval.retriever import Retriever

Kind = Literal["text", "image"]

_MODALITIES: dict[Kind, tuple[str, ...]] = {"text": TEXTS, "image": ("image",)}


@dataclass(frozen=True, slots=True)
class Route:
    """The side whose encoder takes a kind of query, and as what: text is code to one of code."""

    side: Side
    modality: str


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One query, or several of a kind."""

    vectors: MultiVector  # as the index is searched, packed
    raw: Tensor | None  # the encoder's own vectors, unit norm, (q, d_side), where they are known
    item_id: str | None = None  # of the indexed item that the query is, which is no result of it


def query_routes(retriever: Retriever) -> dict[Kind, Route]:
    """The kinds of query that an index takes, the side of its queries first.

    Items of the indexed side can be queries too, by similarity in the shared space, where their
    encoder is known. Raises ``ValueError`` where that of the queries is not.
    """
    indexed = retriever.index.side
    modalities = {
        retriever.query_side: _modalities(retriever.embedder.encoder(retriever.query_side))
    }
    with suppress(ValueError):  # an index may have been filled with vectors
        modalities[indexed] = _modalities(retriever.embedder.encoder(indexed))
    routes: dict[Kind, Route] = {}
    for side, taken in modalities.items():
        for kind, names in _MODALITIES.items():
            for name in names:
                if name in taken:
                    routes.setdefault(kind, Route(side, name))
    return routes


def load_networks(retriever: Retriever, routes: Mapping[Kind, Route]) -> None:
    """Encode a query of each kind, since networks load when they are first used."""
    samples = {"text": "a query", "image": Image.new("RGB", (64, 64), "grey")}
    for kind, route in routes.items():
        encode_queries(retriever, route, [samples[kind]])


def encode_queries(retriever: Retriever, route: Route, items: Sequence[Any]) -> Query:
    """The queries of raw items, texts or Pillow images."""
    embedder = retriever.embedder
    encoded = embedder.encode(items, side=route.side, modality=route.modality)
    if route.side == retriever.query_side:
        vectors = packed(embedder.to_queries(encoded))
    else:
        vectors = without_corrections(
            retriever.index, embedder, packed(embedder.to_gallery(encoded))
        )
    return Query(vectors, F.normalize(encoded.raw, dim=1))


def query_of_item(retriever: Retriever, id: str, raw: Index | None) -> Query:
    """The query that an indexed item is, from its stored vectors and raw ones: nothing is encoded.

    Raises:
        KeyError: There is no such item.
    """
    stored = retriever.index.get([id]).vectors.to(dtype=torch.float32)
    own = None if raw is None else raw.get([id]).vectors.tokens
    return Query(without_corrections(retriever.index, retriever.embedder, stored), own, item_id=id)


def in_shared_space(retriever: Retriever, vectors: MultiVector) -> Tensor:
    """Items in the shared space by their first vector, unit norm, ``(n, dim)``."""
    first = vectors.prefix(1).to(dtype=torch.float32).tokens
    return F.normalize(first[:, : retriever.embedder.adapter.dim], dim=1)


def _modalities(encoder: Encoder) -> frozenset[str]:
    parts: Mapping[str, Encoder] = getattr(encoder, "encoders", {})
    if encoder.modality == MIXED:
        return frozenset(parts)
    if encoder.modality == COMPOSITE:  # a lone text or picture is of the part that takes it
        kinds = [each.modality for each in parts.values()]
        texts = sum(kind in TEXTS for kind in kinds)
        return frozenset(
            kind for kind in kinds if (texts if kind in TEXTS else kinds.count(kind)) == 1
        )
    return frozenset({encoder.modality})
