"""LlamaIndex: an embedding of texts and images, a retriever over any search, and a reranker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from align._checks import check_side
from align.data.pictures import opened, upright_rgb
from align.data.sides import Side, other_side
from align.integrations.content import Rescore, best_first, hits_for, text_of
from align.integrations.extras import extra
from align.retrieval.embedder import Embedder
from align.retrieval.hits import Hit, Searcher
from align.retrieval.index.filters import Where
from align.retrieval.picture_paths import picture_path
from align.retrieval.retriever import Retriever

with extra("llama-index"):
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.embeddings import MultiModalEmbedding
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import (
        BaseNode,
        ImageNode,
        MetadataMode,
        NodeWithScore,
        QueryBundle,
        TextNode,
    )
    from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseKVStore
    from pydantic import Field, PrivateAttr, SkipValidation

_of_queries: ContextVar[bool] = ContextVar("_of_queries", default=False)


@contextmanager
def _keys_of_queries() -> Iterator[None]:
    before = _of_queries.set(True)
    try:
        yield
    finally:
        _of_queries.reset(before)


def _keyed(method: str) -> Any:
    """A method of the store that is called with our prefix before the key."""

    def call(self: KeyedCache, key: str, *args: Any, **options: Any) -> Any:
        return getattr(self.store, method)(self._prefix + key, *args, **options)

    return call


class KeyedCache(BaseKVStore):
    """A key-value store of the user's, in which each of our keys begins with a digest.

    LlamaIndex keys vectors by their text. Two adapters, and the two sides of one, give a text
    different vectors.

    Others may store values in ``store`` too. ``digest`` is of the adapter, its encoders, the side
    and the modality of the documents.
    """

    def __init__(self, store: BaseKVStore, digest: str) -> None:
        self.store = store
        self.digest = digest

    @property
    def _prefix(self) -> str:
        return f"{self.digest}:{'query' if _of_queries.get() else 'document'}:"

    put, aput = _keyed("put"), _keyed("aput")
    get, aget = _keyed("get"), _keyed("aget")
    delete, adelete = _keyed("delete"), _keyed("adelete")

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """What was stored under keys of ours."""
        return self._ours(self.store.get_all(collection))

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        return self._ours(await self.store.aget_all(collection))

    def _ours(self, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        start = self._prefix
        return {
            key.removeprefix(start): val for key, val in values.items() if key.startswith(start)
        }


def _in_a_thread(method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """An asynchronous form of a method, so that the event loop goes on while a network runs."""

    async def run(self: Any, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self, method), *args, **options)

    return run


class AlignedEmbedding(MultiModalEmbedding):
    """Nodes as gallery vectors of one side, queries as query vectors of the other.

    The vector store must rank by inner product. Where the adapter corrects for hubness
    (``adapter.d_search > adapter.dim``), vectors are not of unit norm, and a store that ranks by
    cosine, as ``SimpleVectorStore`` does, undoes part of the correction.

    Caches of LlamaIndex know vectors by ``model_name``, which holds a digest of the adapter as it
    was when this was made, of its encoders, and of ``documents`` and ``modality``. An
    ``embeddings_cache`` separates queries and documents by it, and several may share one.

    Attributes:
        documents: The side of the nodes.
        modality: What texts are where an encoder is of several modalities, such as ``"code"``.
    """

    documents: Side
    modality: str
    _embedder: Embedder[Tensor] = PrivateAttr()

    def __init__(
        self,
        embedder: Embedder[Tensor],
        *,
        documents: Side = "target",
        modality: str = "text",
        embed_batch_size: int = 32,
        embeddings_cache: BaseKVStore | None = None,
    ) -> None:
        """Hold an adapter and its encoders, which get ``embed_batch_size`` nodes per call.

        Raises:
            TypeError: A map of the adapter is none of ``align.adapters.maps.linear``.
            ValueError: ``documents`` is neither side.
        """
        check_side(documents)
        super().__init__(
            model_name=f"isthmus-{embedder.digest(documents=documents, modality=modality)}",
            embed_batch_size=embed_batch_size,
            documents=documents,
            modality=modality,
        )
        self._embedder = embedder
        self.embeddings_cache = embeddings_cache

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a cache is wrapped in a ``KeyedCache``."""
        if name == "embeddings_cache" and value is not None:
            if not isinstance(value, BaseKVStore):
                raise TypeError(
                    "embeddings_cache must be a key-value store of LlamaIndex; got a "
                    f"{type(value).__name__}. Pass a SimpleKVStore, or another BaseKVStore."
                )
            store = value.store if isinstance(value, KeyedCache) else value
            value = KeyedCache(store, self.model_name)
        super().__setattr__(name, value)

    @classmethod
    def class_name(cls) -> str:
        """Name for serialisation."""
        return "AlignedEmbedding"

    def get_query_embedding(self, query: str) -> list[float]:
        """The query vector of a text, from the cache where there is one."""
        with _keys_of_queries():
            vector: list[float] = super().get_query_embedding(query)
        return vector

    async def aget_query_embedding(self, query: str) -> list[float]:
        """The query vector of a text, from the cache where there is one."""
        with _keys_of_queries():
            vector: list[float] = await super().aget_query_embedding(query)
        return vector

    def _get_query_embedding(self, query: str) -> list[float]:
        side = other_side(self.documents)
        return self._embedder.queries([query], side=side, modality=self.modality)[0].tolist()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._gallery(texts, self.modality)

    def _get_image_embedding(self, img_file_path: str | BytesIO) -> list[float]:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[str | BytesIO]) -> list[list[float]]:
        return self._gallery([_picture(image) for image in img_file_paths], "image")

    _aget_query_embedding = _in_a_thread("_get_query_embedding")
    _aget_text_embedding = _in_a_thread("_get_text_embedding")
    _aget_text_embeddings = _in_a_thread("_get_text_embeddings")
    _aget_image_embedding = _in_a_thread("_get_image_embedding")
    _aget_image_embeddings = _in_a_thread("_get_image_embeddings")

    def _gallery(self, items: Sequence[Any], modality: str) -> list[list[float]]:
        return self._embedder.gallery(items, side=self.documents, modality=modality).tolist()


def node_of(hit: Hit, *, folder: Path | None = None) -> BaseNode:
    """A hit as an ``ImageNode`` where its metadata has the path of an image, else as a text.

    The text is the ``text`` in the metadata, or the id where there is none. A path that is not
    whole is read from ``folder``, that of the index, if it is given.
    """
    if hit.modality == "image" and "path" in hit.metadata:
        path = str(hit.metadata["path"])
        if folder is not None:
            path = str(picture_path(path, folder))
        return ImageNode(id_=str(hit.id), image_path=path, metadata=dict(hit.metadata))
    return TextNode(id_=str(hit.id), text=text_of(hit), metadata=dict(hit.metadata))


class AlignRetriever(BaseRetriever):
    """Hits of any search of ours as nodes with scores."""

    def __init__(
        self,
        searcher: Searcher,
        *,
        k: int = 10,
        where: Where | None = None,
        node: Callable[[Hit], BaseNode] = node_of,
    ) -> None:
        """Hold a search.

        Args:
            searcher: A ``Retriever``, what ``wrap`` gives, or another search with texts, or
                ``pathlib.Path`` of images.
            k: Nodes per query.
            where: Which items may be found, as for ``Retriever.search``; ``None`` is all.
            node: Makes a hit a node; of a ``Retriever``, with the folder of its index.
        """
        super().__init__()
        self._searcher = searcher
        self._k = k
        self._where = where
        if node is node_of and isinstance(searcher, Retriever):
            node = partial(node_of, folder=searcher.index.folder)
        self._node = node

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = hits_for(self._searcher, _content(query_bundle), k=self._k, where=self._where)
        return [NodeWithScore(node=self._node(hit), score=hit.score) for hit in hits]

    _aretrieve = _in_a_thread("_retrieve")


def _text_of_node(node: BaseNode) -> Any:
    return node.get_content(metadata_mode=MetadataMode.NONE)


class AlignReranker(BaseNodePostprocessor):
    """Nodes in a new order, with new scores.

    Attributes:
        rescore: ``by_adapter`` or ``by_maxsim`` of ``align.integrations.content``, or any function
            of a query and items that gives a score per item.
        top_n: Nodes to return; ``None`` returns all.
        item: What is scored of a node: its text by default.
    """

    rescore: SkipValidation[Rescore] = Field(exclude=True)
    top_n: int | None = None
    item: Callable[[BaseNode], Any] = Field(default=_text_of_node, exclude=True)

    @classmethod
    def class_name(cls) -> str:
        """Name for serialisation."""
        return "AlignReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError(
                "reranking compares nodes with a query; got none. Pass query_str or query_bundle."
            )
        items = [self.item(each.node) for each in nodes]
        order = best_first(self.rescore, query_bundle.query_str, items, top_n=self.top_n)
        return [NodeWithScore(node=nodes[row].node, score=score) for row, score in order]


def _content(query: QueryBundle) -> str | Path:
    """The text or the image of a query."""
    if query.image_path is None:
        return str(query.query_str)
    if query.query_str:
        raise ValueError(
            "a query must be a text or an image; got both, "
            f"{query.query_str!r} and {query.image_path!r}. Leave query_str empty to ask with "
            "the image."
        )
    return Path(query.image_path)


def _picture(image: str | BytesIO) -> Path | Image.Image:
    if isinstance(image, str):
        return Path(image)
    with opened(image, "an image") as picture:
        return upright_rgb(picture, "an image")
