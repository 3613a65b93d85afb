"""Qdrant: a gallery of one and of several vectors per item, and searches over it or any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import index
from typing import Any
from uuid import NAMESPACE_OID, NAMESPACE_URL, uuid5

import numpy as np

from align._checks import check_at_least, check_k, check_length, check_matrix, check_unique
from align.data.embeddings import Vectors, as_tensor
from align.data.multi_vector import MultiVector
from align.integrations.answers import Answers, Floats, Search, check_unit_norm, padded
from align.integrations.extras import extra
from align.retrieval.hits import NOTHING, Hit, Id, SearchResults

with extra("qdrant"):
    from qdrant_client import QdrantClient, models

DENSE, TOKENS = "dense", "tokens"
"""Names of the vectors of an item in a gallery."""


def create_gallery(
    client: QdrantClient,
    collection: str,
    ids: Sequence[Id],
    vectors: Vectors,
    *,
    tokens: MultiVector | None = None,
    metadata: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Create a collection that ranks as we do, by inner product and MaxSim, and fill it.

    Qdrant knows points by number or UUID only, so an id is stored in the payload, under ``id``, and
    the UUID is made from it. If filling fails, the collection is removed again. The several vectors
    of an item get no search graph: they only score the candidates of the single ones.

    Args:
        client: Of a server, or local: ``QdrantClient(":memory:")`` or ``QdrantClient(path=...)``.
        collection: Name of the new collection.
        ids: ``n`` unique strings or whole numbers, which come back as they are.
        vectors: Gallery vectors, ``(n, d)``, correction included: ``adapter.gallery(...)``.
        tokens: Several vectors per item, ``n`` packed items, for ``rescored_search``.
        metadata: Stored with each item as JSON; filters name a field ``metadata.FIELD``.

    Raises:
        TypeError: An id is neither a string nor a whole number.
        ValueError: The sides differ in number, an id repeats, a vector is not finite, or Qdrant
            holds such a collection.
    """
    ids = [_plain(row, name) for row, name in enumerate(ids)]
    dense = as_tensor(vectors).float()
    check_length("vectors", range(len(dense)), len(ids))
    check_unique("ids", ids)
    check_matrix("vectors", dense)
    kinds = {DENSE: models.VectorParams(size=dense.shape[1], distance=models.Distance.DOT)}
    if tokens is not None:
        check_length("tokens", range(len(tokens)), len(ids))
        kinds[TOKENS] = models.VectorParams(
            size=tokens.dim,
            distance=models.Distance.DOT,
            hnsw_config=models.HnswConfigDiff(m=0),
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
        )
    if metadata is not None:
        check_length("metadata", metadata, len(ids))

    def points() -> Iterator[models.PointStruct]:
        for row, name in enumerate(ids):
            named: dict[str, Any] = {DENSE: dense[row].tolist()}
            if tokens is not None:
                named[TOKENS] = tokens[row].tolist()
            fields = {} if metadata is None else {"metadata": dict(metadata[row])}
            yield models.PointStruct(id=_uuid(name), vector=named, payload={"id": name, **fields})

    client.create_collection(collection, vectors_config=kinds)
    try:
        client.upload_points(collection, points(), wait=True)
    except BaseException:
        client.delete_collection(collection)
        raise


def qdrant_search(
    client: QdrantClient,
    collection: str,
    *,
    using: str | None = None,
    id_field: str | None = None,
) -> Search:
    """A search over a collection, for ``align.wrap``.

    Args:
        client: As for ``create_gallery``.
        collection: A collection of single vectors that ranks by dot product, or by cosine, which
            is the same for queries of unit norm over stored vectors of unit norm.
        using: Name of the vector, ``"dense"`` in a collection of ``create_gallery``; none where
            the collection has one that is not named.
        id_field: Payload field that holds the id, ``"id"`` in a collection of
            ``create_gallery``; if left out, ids are those of the points.

    Raises:
        ValueError: There is no such vector, or it ranks by something else; later, the queries are
            of another width, or not of unit norm where it ranks by cosine.
    """
    stored = _parameters(client, collection, using)

    def name(point: models.ScoredPoint) -> Any:
        return point.id if id_field is None else (point.payload or {})[id_field]

    def search(vectors: Floats, k: int) -> Answers:
        if vectors.shape[1] != stored.size:
            raise ValueError(
                f"queries must have width {stored.size}, that of the vectors in {collection!r}; "
                f"got {vectors.shape[1]}. Store gallery vectors of the adapter that maps them."
            )
        if stored.distance == models.Distance.COSINE:
            check_unit_norm(vectors, space="cosine")
        requests = [
            models.QueryRequest(
                query=vector.tolist(), using=using, limit=k, with_payload=id_field is not None
            )
            for vector in vectors
        ]
        answers = client.query_batch_points(collection, requests)
        return padded([[(name(p), p.score) for p in answer.points] for answer in answers], k)

    return search


def rescored_search(
    client: QdrantClient,
    collection: str,
    queries: Vectors,
    tokens: MultiVector,
    *,
    k: int = 10,
    candidates: int = 100,
) -> SearchResults:
    """The ``k`` best by MaxSim among the candidates of the single vectors; Qdrant does both.

    Args:
        client: As for ``create_gallery``.
        collection: One that ``create_gallery`` filled with several vectors per item.
        queries: Query vectors, ``(q, d)``: ``adapter.queries(...)``.
        tokens: Several vectors for each query, ``q`` packed items.
        k: Hits per query, ``1 <= k <= candidates``.
        candidates: Items per query that MaxSim scores.

    Raises:
        ValueError: The sides differ in number, or ``k`` or ``candidates`` is out of range.
    """
    dense = as_tensor(queries).float()
    check_length("tokens", range(len(tokens)), len(dense))
    check_at_least("candidates", candidates, 1)
    check_k(k, candidates, of="the number of candidates")
    requests = [
        models.QueryRequest(
            prefetch=models.Prefetch(query=vector.tolist(), using=DENSE, limit=candidates),
            query=several.tolist(),
            using=TOKENS,
            limit=k,
            with_payload=True,
        )
        for vector, several in zip(dense, tokens, strict=True)
    ]
    answers = client.query_batch_points(collection, requests)
    return SearchResults([_hit(point) for point in answer.points] for answer in answers)


def _plain(row: int, name: Any) -> Id:
    if isinstance(name, str):
        return str(name)
    try:
        if isinstance(name, bool | np.bool_):
            raise TypeError
        return index(name)
    except TypeError:
        raise TypeError(
            f"ids must be strings or whole numbers; id {row} is {name!r}, a "
            f"{type(name).__name__}. Turn it into a string first."
        ) from None


def _uuid(name: Id) -> str:
    space = NAMESPACE_URL if isinstance(name, str) else NAMESPACE_OID  # of "7" and of 7
    return str(uuid5(space, str(name)))


def _hit(point: models.ScoredPoint) -> Hit:
    payload = point.payload or {}
    return Hit(payload["id"], point.score, metadata=payload.get("metadata", NOTHING))


def _parameters(client: QdrantClient, collection: str, using: str | None) -> models.VectorParams:
    fields = client.get_collection(collection).config.params.vectors
    # A vector without a name goes by the empty one.
    known: dict[str, Any] = fields if isinstance(fields, dict) else {"": fields}
    stored: models.VectorParams | None = known.get(using or "")
    if stored is None or stored.multivector_config is not None:
        raise ValueError(
            f"using must name a single vector of the collection {collection!r}; got {using!r}, "
            f"and it holds {sorted(known)}. Pass one of those; several vectors per item "
            "are for rescored_search."
        )
    if stored.distance not in (models.Distance.DOT, models.Distance.COSINE):
        raise ValueError(
            "a collection must rank by dot product or cosine to be searched across sides; "
            f"{collection!r} ranks by {stored.distance.value}. Copy it into one that ranks by Dot."
        )
    return stored
