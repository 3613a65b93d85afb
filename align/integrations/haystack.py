"""Haystack: embedders of texts and documents, and a retriever, as components that serialise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from torch import Tensor

from align._checks import check_side
from align.adapters.artifact.digest import adapter_digest, check_digest
from align.adapters.artifact.files import load
from align.data.encoding import MIXED, Encoder
from align.data.pictures import opened, upright_rgb
from align.data.sides import Side
from align.integrations.content import answers, beside, text_of
from align.integrations.extras import extra
from align.integrations.haystack_filters import where_of
from align.retrieval.embedder import Embedder
from align.retrieval.hits import Hit, Searcher

with extra("haystack"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import deserialize_callable, serialize_callable

Make = Callable[[], Encoder]


@component
class AlignedTextEmbedder:
    """The query vector of a text, for documents of ``AlignedDocumentEmbedder``.

    The document store must rank by inner product: ``embedding_similarity_function="dot_product"``
    of ``InMemoryDocumentStore``, which is its default. The cosine undoes part of a hubness
    correction.
    """

    def __init__(
        self,
        adapter: str | Path,
        *,
        encoder: Make | None = None,
        side: Side = "source",
        modality: str = "text",
        digest: str | None = None,
    ) -> None:
        """Remember what to load; nothing is loaded before ``warm_up``.

        Args:
            adapter: Folder or hub id of a saved adapter.
            encoder: A function of a module that makes the encoder of ``side``; ``None`` builds the
                one that the adapter's card names.
            side: The side that asks.
            modality: What texts are where the encoder is of several modalities.
            digest: What the adapter must be, as ``to_dict`` writes it; ``None`` takes any. Vectors
                of another adapter do not belong into the same document store.

        Raises:
            ValueError: ``side`` is neither side; later, the adapter is another.
        """
        check_side(side)
        self.adapter = str(adapter)
        self.digest = digest
        self.encoder = encoder
        self.side: Side = side
        self.modality = modality
        self._embedder: Embedder[Tensor] | None = None

    def warm_up(self) -> None:
        """Load the adapter and its encoder, once."""
        if self._embedder is None:
            self._embedder = _embedder(self.adapter, self.digest, self.encoder, self.side)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """The query vector of ``text`` as ``embedding``."""
        self.warm_up()
        assert self._embedder is not None
        [asked] = self._embedder.queries([text], side=self.side, modality=self.modality)
        return {"embedding": asked.tolist()}

    def to_dict(self) -> dict[str, Any]:
        """The settings: path and digest of the adapter, and the name of the function."""
        return default_to_dict(self, **_settings(self), modality=self.modality)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AlignedTextEmbedder:
        """The component that ``to_dict`` described."""
        return _restored(cls, data, "encoder")  # type: ignore[no-any-return]


@component
class AlignedDocumentEmbedder:
    """Documents with gallery vectors: of their ``content``, or of the image they stand for.

    A document is an image where the encoder is one of images, or is of several modalities and the
    document has no ``content``. The image is its ``blob``, or the file that ``meta["file_path"]``
    names.
    """

    def __init__(
        self,
        adapter: str | Path,
        *,
        encoder: Make | None = None,
        side: Side = "target",
        modality: str = "text",
        digest: str | None = None,
    ) -> None:
        """Remember what to load; nothing is loaded before ``warm_up``.

        Args:
            adapter: Folder or hub id of a saved adapter.
            encoder: A function of a module that makes the encoder of ``side``; ``None`` builds the
                one that the adapter's card names.
            side: The side that documents belong to.
            modality: What ``content`` is where the encoder is of several modalities.
            digest: What the adapter must be, as ``to_dict`` writes it; ``None`` takes any. Vectors
                of another adapter do not belong into the same document store.

        Raises:
            ValueError: ``side`` is neither side; later, the adapter is another.
        """
        check_side(side)
        self.adapter = str(adapter)
        self.digest = digest
        self.encoder = encoder
        self.side: Side = side
        self.modality = modality
        self._embedder: Embedder[Tensor] | None = None

    def warm_up(self) -> None:
        """Load the adapter and its encoder, once."""
        if self._embedder is None:
            self._embedder = _embedder(self.adapter, self.digest, self.encoder, self.side)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Copies of ``documents`` with an ``embedding``.

        Raises:
            ValueError: A document has nothing to encode.
        """
        if not documents:
            return {"documents": []}
        self.warm_up()
        assert self._embedder is not None
        kind = self._embedder.encoder(self.side).modality
        images = [
            kind == "image" or (kind == MIXED and document.content is None)
            for document in documents
        ]
        found = self._embedder.gallery(
            [_item(document, image) for document, image in zip(documents, images, strict=True)],
            side=self.side,
            modality=["image" if image else self.modality for image in images],
        )
        embedded = zip(documents, found.tolist(), strict=True)
        return {"documents": [replace(document, embedding=row) for document, row in embedded]}

    def to_dict(self) -> dict[str, Any]:
        """The settings: path and digest of the adapter, and the name of the function."""
        return default_to_dict(self, **_settings(self), modality=self.modality)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AlignedDocumentEmbedder:
        """The component that ``to_dict`` described."""
        return _restored(cls, data, "encoder")  # type: ignore[no-any-return]


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
        filters: Mapping[str, Any] | None = None,
    ) -> None:
        """Remember what to open; nothing is opened before ``warm_up``.

        Args:
            searcher: A function of a module that opens the search: a ``Retriever``, or what
                ``wrap`` gives. Haystack writes it into a pipeline by name.
            k: Documents per query.
            filters: Which items may be found, as Haystack writes it, see
                ``align.integrations.haystack_filters``; ``None`` is all.

        Raises:
            ValueError: ``filters`` are not of a form that an index can look up.
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
        """The best ``documents`` for ``query``, best first.

        Args:
            query: A text.
            k: Documents, instead of those of the component.
            top_k: Haystack's word for ``k``.
            filters: Which items may be found, instead of those of the component.

        Raises:
            ValueError: Both ``k`` and ``top_k`` are given, the search cannot filter, or a hit has
                another modality in its metadata.
        """
        if k is not None and top_k is not None:
            raise ValueError(
                f"top_k and k are two words for one number; got {top_k} and {k}. Pass one of them."
            )
        self.warm_up()
        assert self._opened is not None
        wanted = next((each for each in (k, top_k) if each is not None), self.k)
        where = where_of(self.filters if filters is None else filters)
        hits = answers(self._opened, query, k=wanted, where=where)
        return {"documents": [_document(hit) for hit in hits]}

    def to_dict(self) -> dict[str, Any]:
        """The settings, with the name of the function that opens the search."""
        return default_to_dict(  # type: ignore[no-any-return]
            self, searcher=serialize_callable(self.searcher), k=self.k, filters=self.filters
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AlignRetriever:
        """The component that ``to_dict`` described."""
        return _restored(cls, data, "searcher")  # type: ignore[no-any-return]


def _document(hit: Hit) -> Document:
    meta = beside(hit.metadata, "Rename that field before it is added.", modality=hit.modality)
    content = text_of(hit) if "text" in hit.metadata else None
    return Document(id=str(hit.id), content=content, meta=meta, score=hit.score)


def _embedder(adapter: str, digest: str | None, make: Make | None, side: Side) -> Embedder[Tensor]:
    loaded = load(adapter)
    check_digest(loaded, digest, adapter)
    if make is None:
        return Embedder(loaded)
    return Embedder(loaded, source=make()) if side == "source" else Embedder(loaded, target=make())


def _item(document: Document, image: bool) -> Any:
    """What the encoder gets of a document."""
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


def _settings(embedder: AlignedTextEmbedder | AlignedDocumentEmbedder) -> dict[str, Any]:
    made_by = embedder.encoder
    return {
        "adapter": embedder.adapter,
        "digest": embedder.digest or adapter_digest(load(embedder.adapter)),
        "encoder": None if made_by is None else serialize_callable(made_by),
        "side": embedder.side,
    }


def _restored(cls: type, data: dict[str, Any], function: str) -> Any:
    """Built from settings in which a function stands by name; Haystack decides which it trusts."""
    settings = dict(data["init_parameters"])
    if settings.get(function) is not None:
        settings[function] = deserialize_callable(settings[function])
    return default_from_dict(cls, {**data, "init_parameters": settings})
