"""Captions find pictures in Haystack: in a store of its own by two pipelines, and in our index.

pip install 'isthmus[haystack]'
python examples/with_haystack.py
"""

from __future__ import annotations

import os
import tempfile
from io import BytesIO
from pathlib import Path

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

import flags
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ByteStream
from haystack.document_stores.in_memory import InMemoryDocumentStore

import align
from align.integrations.haystack import (
    AlignedDocumentEmbedder,
    AlignedTextEmbedder,
    AlignRetriever,
)


def text_encoder() -> align.CallableEncoder:
    """Found again by its name when a pipeline is read back."""
    return flags.TEXTS


def picture_encoder() -> align.CallableEncoder:
    return flags.PICTURES


def open_search() -> align.Retriever:
    """Found again by its name, too; it could be ``align.Retriever.open("my-index")``."""
    return flags.picture_retriever()[0]


def png(row: int, image: flags.Image.Image) -> Document:
    data = BytesIO()
    image.save(data, format="png")
    return Document(blob=ByteStream(data.getvalue()), meta={"row": row})


def main(folder: str) -> None:
    adapter, captions, pictures = flags.fitted()
    adapter.save(Path(folder, "adapter"))
    path = str(Path(folder, "adapter"))

    # Scores are inner products: the default of this store.
    store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
    indexing = Pipeline()
    indexing.add_component("embed", AlignedDocumentEmbedder(path, encoder=picture_encoder))
    indexing.add_component("write", DocumentWriter(store))
    indexing.connect("embed.documents", "write.documents")
    indexing.run({"embed": {"documents": [png(*each) for each in enumerate(pictures)]}})

    embedding = Pipeline()
    embedding.add_component("embed", AlignedTextEmbedder(path, encoder=text_encoder))
    written = embedding.dumps()
    print(written)
    # Haystack imports only what it is told to trust.
    searching = Pipeline.loads(written, allowed_modules=["align.integrations.haystack", __name__])
    searching.add_component("retrieve", InMemoryEmbeddingRetriever(store, top_k=3))
    searching.connect("embed.embedding", "retrieve.query_embedding")
    found = searching.run({"embed": {"text": captions[7]}})["retrieve"]["documents"]
    print(f"asked for {captions[7]!r}")
    print("found pictures", [each.meta["row"] for each in found])

    # An index of ours brings its own encoders: one component, and no store.
    ours = AlignRetriever(open_search, k=3).run(captions[7])["documents"]
    print("in our index", [each.meta["path"] for each in ours])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
