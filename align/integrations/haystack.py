"""Haystack: embedders of texts and documents, and a retriever, as components that serialise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from align._checks import check_side
from align.adapters.adapter import load
from align.adapters.digest import adapter_digest, check_digest
from align.data.encoding import MIXED, Encoder
from align.data.pictures import opened, upright_rgb
from align.data.sides import Side
from align.integrations.content import hits_for, text_of, with_fields
from align.integrations.extras import extra
from align.retrieval.embedder import Embedder
from align.retrieval.hits import Hit, Searcher
from align.retrieval.index.filters import Where

with extra("haystack"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import deserialize_callable, serialize_callable
    from haystack.utils.filters import document_matches_filter

Filter = Mapping[str, Any]


class _AlignedEmbedder:
    """One side of a saved adapter with its encoder, loaded at ``warm_up``."""

    _default_side: ClassVar[Side]

    def __init__(
        self,
        adapter: str | Path,
        *,
        encoder: Callable[[], Encoder] | None = None,
        side: Side | None = None,
        modality: str = "text",
        digest: str | None = None,
    ) -> None:
        """Store the settings; nothing is loaded before ``warm_up``.

        Args:
            adapter: Folder or hub id of a saved adapter.
            encoder: A function of a module that makes the encoder of ``side``; ``None`` builds the
                one that the adapter's card names.
            side: The side that is embedded; ``None`` is ``"source"`` for texts, which are queries,
                and ``"target"`` for documents.
            modality: What texts are where the encoder is of several modalities.
            digest: Of the adapter that is expected, as ``to_dict`` writes it; ``None`` takes any.
                Vectors of another adapter do not belong into the same document store.

        Raises:
            ValueError: ``side`` is neither side; later, the adapter is another.
        """
        self.adapter = str(adapter)
        self.digest = digest
        self.encoder = encoder
        self.side: Side = self._default_side if side is None else side
        check_side(self.side)
        self.modality = modality
        self._embedder: Embedder[Tensor] | None = None

    def warm_up(self) -> None:
        """Load the adapter and its encoder, once."""
        self._loaded()

    def _loaded(self) -> Embedder[Tensor]:
        if self._embedder is None:
            adapter = load(self.adapter)
            check_digest(adapter.components(), self.digest, self.adapter)
            encoder = None if self.encoder is None else self.encoder()
            source, target = (encoder, None) if self.side == "source" else (None, encoder)
            self._embedder = Embedder(adapter, source=source, target=target)
        return self._embedder

    def to_dict(self) -> dict[str, Any]:
        """The settings, with the digest of the adapter and the name of the function."""
        return default_to_dict(  # type: ignore[no-any-return]
            self,
            adapter=self.adapter,
            digest=self.digest or adapter_digest(load(self.adapter).components()),
            encoder=None if self.encoder is None else serialize_callable(self.encoder),
            side=self.side,
            modality=self.modality,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that ``to_dict`` described."""
        return _restored(cls, data, "encoder")  # type: ignore[no-any-return]


@component
class AlignedTextEmbedder(_AlignedEmbedder):
    """The query vector of a text, for documents of ``AlignedDocumentEmbedder``.

    The document store must rank by inner product: ``embedding_similarity_function="dot_product"``
    of ``InMemoryDocumentStore``, which is its default. The cosine undoes part of a hubness
    correction.
    """

    _default_side = "source"

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """The query vector of ``text`` as ``embedding``."""
        vectors = self._loaded().queries([text], side=self.side, modality=self.modality)
        return {"embedding": vectors[0].tolist()}


@component
class AlignedDocumentEmbedder(_AlignedEmbedder):
    """Documents with gallery vectors: of their ``content``, or of the image they stand for.

    A document is an image where the encoder is one of images, or is of several modalities and the
    document has no ``content``. The image is its ``blob``, or the file that ``meta["file_path"]``
    names.
    """

    _default_side = "target"

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Copies of ``documents`` with an ``embedding``; ``ValueError`` if one has no content."""
        if not documents:
            return {"documents": []}
        embedder = self._loaded()
        kind = embedder.encoder(self.side).modality
        images = [
            kind == "image" or (kind == MIXED and document.content is None)
            for document in documents
        ]
        vectors = embedder.gallery(
            [_item(document, image) for document, image in zip(documents, images, strict=True)],
            side=self.side,
            modality=["image" if image else self.modality for image in images],
        )
        embedded = zip(documents, vectors.tolist(), strict=True)
        return {"documents": [replace(document, embedding=row) for document, row in embedded]}


@component
class AlignRetriever:
    """Hits of any search of ours as documents with scores.

    The ``content`` of a document is the ``text`` in the metadata of the hit, if there is any; an
    image has none. ``meta`` holds the metadata and the ``modality``.
    """

    def __init__(
        self,
        searcher: Callable[[], Searcher],
        *,
        k: int = 10,
        filters: Filter | None = None,
    ) -> None:
        """Store the settings; nothing is opened before ``warm_up``.

        Args:
            searcher: A function of a module that opens the search: a ``Retriever``, or what
                ``wrap`` gives. Haystack writes it into a pipeline by name.
            k: Documents per query.
            filters: Which items may be found, as ``where_of`` takes it; ``None`` is all.

        Raises:
            ValueError: As for ``where_of``.
        """
        where_of(filters)
        self.searcher = searcher
        self.k = k
        self.filters = None if filters is None else dict(filters)
        self._opened: Searcher | None = None

    def warm_up(self) -> None:
        """Open the search, once."""
        if self._opened is None:
            self._opened = self.searcher()

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        k: int | None = None,
        top_k: int | None = None,
        filters: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The best ``documents`` for a text, best first; arguments override the settings.

        Raises:
            ValueError: Both ``k`` and ``top_k``, Haystack's word for it, are given, the search
                cannot filter, or a hit has another modality in its metadata.
        """
        if k is not None and top_k is not None:
            raise ValueError(
                f"top_k and k are two words for one number; got {top_k} and {k}. Pass one of them."
            )
        self.warm_up()
        assert self._opened is not None
        most = next((each for each in (k, top_k) if each is not None), self.k)
        where = where_of(self.filters if filters is None else filters)
        hits = hits_for(self._opened, query, k=most, where=where)
        return {"documents": [_document(hit) for hit in hits]}

    def to_dict(self) -> dict[str, Any]:
        """The settings, with the name of the function that opens the search."""
        return default_to_dict(  # type: ignore[no-any-return]
            self, searcher=serialize_callable(self.searcher), k=self.k, filters=self.filters
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that ``to_dict`` described."""
        return _restored(cls, data, "searcher")  # type: ignore[no-any-return]


def where_of(filters: Filter | None) -> Where | None:
    """Filters as Haystack writes them, as ``Retriever.search`` takes them in ``where``.

    They are comparisons (``field``, ``operator``, ``value``) or ``AND``, ``OR`` and ``NOT`` of
    ``conditions``, of which each part joined by ``AND`` must be about one field; or a mapping of
    fields to values, as ``where`` is. An item without a field matches no condition on it, where
    Haystack reads ``None``.

    Raises:
        ValueError: A part is about several fields, or about what is no metadata.
    """
    if filters is None or "operator" not in filters:
        return filters
    conditions: dict[str, list[Filter]] = {}
    for part in _conjuncts(filters):
        names = set(_fields(part))
        if len(names) != 1:
            raise ValueError(
                "each part of a filter that AND joins must be about one field, as items are "
                f"looked up field by field; got {part}, about {sorted(names)}. Ask once for each "
                "alternative and join the answers."
            )
        conditions.setdefault(names.pop(), []).append(_renamed(part))
    return {name: _test(each) for name, each in conditions.items()}


def _conjuncts(part: Filter) -> Iterator[Filter]:
    if part.get("operator") == "AND" and "field" not in part:
        for each in part.get("conditions", ()):
            yield from _conjuncts(each)
    else:
        yield part


def _fields(part: Filter) -> Iterator[str]:
    if "field" in part:
        name = str(part["field"])
        if name in ("id", "content", "blob", "score", "embedding", "sparse_embedding"):
            raise ValueError(
                f"a filter must be about metadata; got one about {name!r} of a document. Write "
                f"meta.{name} if the metadata has such a field, or leave it out."
            )
        yield name.removeprefix("meta.")
    for each in part.get("conditions", ()):
        yield from _fields(each)


def _renamed(part: Filter) -> dict[str, Any]:
    """The same about the field ``meta.value``; the name of ours may have dots in it."""
    new = dict(part)
    if "field" in new:
        new["field"] = "meta.value"
    if "conditions" in new:
        new["conditions"] = [_renamed(each) for each in new["conditions"]]
    return new


def _test(conditions: list[Filter]) -> Callable[[Any], bool]:
    def matches(value: Any) -> bool:
        document = Document(id="any", meta={"value": value})
        return all(document_matches_filter(dict(each), document) for each in conditions)

    return matches


def _document(hit: Hit) -> Document:
    meta = with_fields(hit.metadata, "Rename that field before it is added.", modality=hit.modality)
    content = text_of(hit) if "text" in hit.metadata else None
    return Document(id=str(hit.id), content=content, meta=meta, score=hit.score)


def _item(document: Document, image: bool) -> Any:
    """What of a document is encoded."""
    if not image and document.content is not None:
        return document.content
    if image and document.blob is not None:
        name = f"document {document.id!r}"
        with opened(BytesIO(document.blob.data), name) as picture:
            return upright_rgb(picture, name)
    if image and "file_path" in document.meta:
        return Path(document.meta["file_path"])
    wanted = 'a blob, or a path in meta["file_path"],' if image else "content"
    raise ValueError(
        f"every document needs {wanted} to be encoded; document {document.id!r} has none. "
        "Give it one, or leave it out."
    )


def _restored(cls: type, data: dict[str, Any], function: str) -> Any:
    """Built from settings in which a function stands by name; Haystack decides which it trusts."""
    settings = dict(data["init_parameters"])
    if settings.get(function) is not None:
        settings[function] = deserialize_callable(settings[function])
    return default_from_dict(cls, {**data, "init_parameters": settings})
