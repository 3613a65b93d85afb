"""Pictures in Chroma, found by captions; the collection remembers how.

pip install 'isthmus[chroma]'
python examples/with_chroma.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import chromadb
import numpy as np
from chromadb.config import Settings
from flags import PICTURES, TEXTS, fitted, share_found

import align
from align.integrations.chroma import AlignEmbeddingFunction, chroma_search


def main() -> None:
    """Fill a collection, open it again, and ask it."""
    adapter, captions, pictures = fitted()
    with tempfile.TemporaryDirectory() as folder:
        adapter.save(Path(folder) / "adapter")
        client = chromadb.PersistentClient(
            f"{folder}/chroma", settings=Settings(anonymized_telemetry=False)
        )
        # The card that `align fit` writes names encoders of the hub or a folder; others are given.
        embedding = AlignEmbeddingFunction(Path(folder) / "adapter", source=TEXTS, target=PICTURES)
        collection = client.create_collection("pictures", embedding_function=embedding)
        collection.add(ids=captions, images=[np.array(picture) for picture in pictures])

        # As in another process. With encoders from the card the collection knows its function.
        again = client.get_collection("pictures", embedding_function=embedding)
        found = again.query(query_texts=captions[:1], n_results=2)
        print(f"{captions[0]!r} finds {found['ids'][0]}")

        # Or as a retriever of ours, which any collection of inner products can be.
        retriever = align.wrap(chroma_search(again), adapter, TEXTS)
        recall = share_found(retriever.search(captions, k=5), captions)
        print(f"{len(captions)} captions, {len(pictures)} pictures: recall@5 {recall:.2f}")


if __name__ == "__main__":
    main()
