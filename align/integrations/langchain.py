"""LangChain: embeddings, a retriever over any search of ours, and a reranker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from align._checks import check_side
from align.data.sides import Side, other_side
from align.integrations.content import Rescore, best_first, hits_for, text_of, with_fields
from align.integrations.extras import extra
from align.retrieval.embedder import Embedder
from align.retrieval.hits import Hit, Searcher
from align.retrieval.index.filters import Where

with extra("langchain"):
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict, SkipValidation


class AlignedEmbeddings(Embeddings):
    """Documents as gallery vectors of one side, queries as query vectors of the other.

    The vector store must rank by inner product. Where the adapter corrects for hubness
    (``adapter.d_search > adapter.dim``), vectors are not of unit norm, and a store that ranks by
    cosine, as ``InMemoryVectorStore`` does, undoes part of the correction.

    What caches vectors by text needs ``namespace``, and a store of its own for queries:
    ``CacheBackedEmbeddings.from_bytes_store(embeddings, documents_store,
    namespace=embeddings.namespace, query_embedding_cache=queries_store)``. With
    ``query_embedding_cache=True`` LangChain would give a query the vector of the document of the
    same text.

    Attributes:
        embedder: The adapter with its encoders.
        documents: The side of the documents.
        modality: What texts are where an encoder is of several modalities, such as ``"code"``.
        namespace: For caches, and record managers of the indexing API: changes with ``documents``,
            ``modality``, the encoders, and the adapter as it was when this was made.
    """

    def __init__(
        self, embedder: Embedder[Tensor], *, documents: Side = "target", modality: str = "text"
    ) -> None:
        """Hold an adapter and its encoders; arguments are the attributes.

        Raises:
            TypeError: A map of the adapter is none of ``align.adapters.maps.linear``.
            ValueError: ``documents`` is neither side.
        """
        check_side(documents)
        self.embedder = embedder
        self.documents = documents
        self.modality = modality
        self.namespace = f"isthmus-{embedder.digest(documents=documents, modality=modality)}"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A gallery vector for each text; ``ValueError`` where the encoder takes no texts."""
        return self._gallery(texts, self.modality)

    def embed_images(self, images: Sequence[Any]) -> list[list[float]]:
        """A gallery vector for each ``pathlib.Path`` or PIL image, for stores that take vectors."""
        return self._gallery(images, "image")

    def embed_query(self, text: str) -> list[float]:
        """The query vector of a text."""
        side = other_side(self.documents)
        return self.embedder.queries([text], side=side, modality=self.modality)[0].tolist()

    def _gallery(self, items: Sequence[Any], modality: str) -> list[list[float]]:
        if not items:
            return []
        return self.embedder.gallery(items, side=self.documents, modality=modality).tolist()


class AlignRetriever(BaseRetriever):
    """Hits of any search of ours as documents; ``metadata`` holds ``score`` and ``modality``.

    ``invoke(query, k=3, where={"year": 1999})``, its asynchronous and its batched forms override
    the attributes.

    Attributes:
        searcher: Answers texts with hits: a ``Retriever``, or what ``wrap`` gives.
        k: Documents per query.
        where: Which items may be found, as for ``Retriever.search``; ``None`` is all.
        content: Makes the ``page_content`` of a hit; by default the ``text`` in its metadata, or
            its id where there is none.
        score_key: Where the score goes in the metadata.
        modality_key: Where the modality goes in the metadata.
    """

    searcher: SkipValidation[Searcher]
    k: int = 10
    where: SkipValidation[Where | None] = None
    content: Callable[[Hit], str] = text_of
    score_key: str = "score"
    modality_key: str = "modality"

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        where: Where | None = None,
        filter: Where | None = None,
    ) -> list[Document]:
        # ``filter`` is LangChain's word for ``where``.
        if where is not None and filter is not None:
            raise ValueError(
                "filter and where are two words for one thing; got both. Pass one of them."
            )
        chosen = next((each for each in (where, filter) if each is not None), self.where)
        hits = hits_for(self.searcher, query, k=self.k if k is None else k, where=chosen)
        return [self._document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        # LangChain's own passes no options on. The network runs in a thread.
        return await asyncio.to_thread(
            self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **options
        )

    def _document(self, hit: Hit) -> Document:
        metadata = with_fields(
            hit.metadata,
            "Choose another score_key or modality_key of AlignRetriever.",
            **{self.score_key: hit.score, self.modality_key: hit.modality},
        )
        return Document(page_content=self.content(hit), metadata=metadata, id=str(hit.id))


class AlignReranker(BaseDocumentCompressor):
    """Documents in a new order, each with its score in the metadata.

    Attributes:
        rescore: ``by_adapter`` or ``by_maxsim`` of ``align.integrations.content``, or any function
            of a query and items that gives a score per item.
        top_n: Documents to return; ``None`` returns all.
        item: What is scored of a document: its ``page_content`` by default.
        score_key: Where the score goes in the metadata; documents that were reranked before have
            one already, and need another.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    rescore: SkipValidation[Rescore]
    top_n: int | None = None
    item: Callable[[Document], Any] = lambda document: document.page_content
    score_key: str = "relevance_score"

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Copies of the best documents for a query, best first; ``callbacks`` are not used.

        Raises:
            ValueError: ``top_n`` is below 1, ``rescore`` gives not one number per document, or
                metadata has another value under ``score_key``.
        """
        order = best_first(self.rescore, query, [*map(self.item, documents)], top_n=self.top_n)
        return [self._rescored(documents[row], score) for row, score in order]

    def _rescored(self, document: Document, score: float) -> Document:
        remedy = "Choose another score_key of AlignReranker."
        metadata = with_fields(document.metadata, remedy, **{self.score_key: score})
        return document.model_copy(update={"metadata": metadata})
