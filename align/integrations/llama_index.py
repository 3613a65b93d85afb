"""LlamaIndex: an embedding of texts and images, a retriever over any search, and a reranker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from align._checks import check_side
from align.adapters.adapter import Side, other_side
from align.integrations.content import Rescore, best_first, text_of
from align.integrations.extras import extra
from align.retrieval.embedder import Embedder
from align.retrieval.hits import Hit, Searcher

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
    from pydantic import Field, PrivateAttr, SkipValidation


class AlignedEmbedding(MultiModalEmbedding):
    """Nodes as gallery vectors of one side, queries as query vectors of the other.

    The vector store must rank by inner product. Where the adapter corrects for hubness
    (``adapter.d_search > adapter.dim``), vectors are not of unit norm, and a store that ranks by
    cosine, as ``SimpleVectorStore`` does, undoes part of the correction.
    """

    _embedder: Embedder = PrivateAttr()
    _documents: Side = PrivateAttr()
    _modality: str = PrivateAttr()

    def __init__(
        self,
        embedder: Embedder,
        *,
        documents: Side = "target",
        modality: str = "text",
        embed_batch_size: int = 32,
    ) -> None:
        """Keep an adapter and its encoders.

        Args:
            embedder: The adapter with its encoders.
            documents: The side that nodes belong to.
            modality: What texts are where an encoder is of several modalities, such as ``"code"``.
            embed_batch_size: Nodes per call of the encoder.

        Raises:
            ValueError: ``documents`` is neither side.
        """
        check_side(documents)
        super().__init__(model_name="isthmus", embed_batch_size=embed_batch_size)
        self._embedder = embedder
        self._documents = documents
        self._modality = modality

    @classmethod
    def class_name(cls) -> str:
        """Name of the class, as LlamaIndex writes it into settings."""
        return "AlignedEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        asked = self._embedder.queries(
            [query], side=other_side(self._documents), modality=self._modality
        )
        vector: list[float] = asked[0].tolist()
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._gallery(texts, self._modality)

    def _get_image_embedding(self, img_file_path: str | BytesIO) -> list[float]:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[str | BytesIO]) -> list[list[float]]:
        return self._gallery([_picture(image) for image in img_file_paths], "image")

    # The network runs in a thread, so that the event loop goes on.
    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_image_embedding(self, img_file_path: str | BytesIO) -> list[float]:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    async def _aget_image_embeddings(
        self, img_file_paths: list[str | BytesIO]
    ) -> list[list[float]]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)

    def _gallery(self, items: Sequence[Any], modality: str) -> list[list[float]]:
        found = self._embedder.gallery(items, side=self._documents, modality=modality)
        vectors: list[list[float]] = found.tolist()
        return vectors


def node_of(hit: Hit) -> BaseNode:
    """A hit as a node: an ``ImageNode`` where its metadata has the path of an image, else a text.

    The text is the ``text`` in the metadata, or the id where there is none. The node keeps the id
    and the metadata.
    """
    if hit.modality == "image" and "path" in hit.metadata:
        path = str(hit.metadata["path"])
        return ImageNode(id_=str(hit.id), image_path=path, metadata=dict(hit.metadata))
    return TextNode(id_=str(hit.id), text=text_of(hit), metadata=dict(hit.metadata))


class AlignRetriever(BaseRetriever):
    """Hits of any search of ours as nodes with scores."""

    def __init__(
        self, searcher: Searcher, *, k: int = 10, node: Callable[[Hit], BaseNode] = node_of
    ) -> None:
        """Keep a search.

        Args:
            searcher: Answers texts, or ``pathlib.Path`` of images, with hits: a ``Retriever``, or
                what ``wrap`` gives.
            k: Nodes per query.
            node: What a hit becomes.
        """
        super().__init__()
        self._searcher = searcher
        self._k = k
        self._node = node

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        [hits] = self._searcher.search([_asked(query_bundle)], k=self._k)
        return [NodeWithScore(node=self._node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def _content(node: BaseNode) -> Any:
    return node.get_content(metadata_mode=MetadataMode.NONE)


class AlignReranker(BaseNodePostprocessor):
    """Nodes in a new order, with new scores.

    Attributes:
        rescore: ``by_adapter`` or ``by_maxsim`` of ``align.integrations.content``, or any function
            of a query and items that gives a score per item.
        top_n: Nodes to keep; ``None`` keeps all.
        item: What is scored of a node: its text by default.
    """

    rescore: SkipValidation[Rescore] = Field(exclude=True)
    top_n: int | None = None
    item: Callable[[BaseNode], Any] = Field(default=_content, exclude=True)

    @classmethod
    def class_name(cls) -> str:
        """Name of the class, as LlamaIndex writes it into settings."""
        return "AlignReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError(
                "reranking compares nodes with a query; got none. Pass query_str or query_bundle."
            )
        items = [self.item(each.node) for each in nodes]
        return [
            NodeWithScore(node=nodes[row].node, score=score)
            for row, score in best_first(
                self.rescore, query_bundle.query_str, items, top_n=self.top_n
            )
        ]


def _asked(query: QueryBundle) -> str | Path:
    """The text or the image of a query."""
    if query.image_path is None:
        text: str = query.query_str
        return text
    if query.query_str:
        raise ValueError(
            "a query must be a text or an image; got both, "
            f"{query.query_str!r} and {query.image_path!r}. Leave query_str empty to ask with "
            "the image."
        )
    return Path(query.image_path)


def _picture(image: str | BytesIO) -> Path | Image.Image:
    return Path(image) if isinstance(image, str) else Image.open(image)
