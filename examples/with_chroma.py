"""Pictures in Chroma, found by captions; the collection remembers how.

pip install 'isthmus[chroma]'
python examples/with_chroma.py
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import chromadb
import numpy as np
from chromadb.config import Settings
from flags import fitted

from align.integrations.chroma import AlignEmbeddingFunction


def main() -> None:
    """Fill a collection, open it again, and ask it."""
    adapter, captions, pictures = fitted()
    # `align fit` writes this into the card; any importable encoder can be named.
    adapter.card = replace(
        adapter.card, encoders={"source": "python:flags:TEXTS", "target": "python:flags:PICTURES"}
    )
    with tempfile.TemporaryDirectory() as folder:
        adapter.save(Path(folder) / "adapter")
        client = chromadb.PersistentClient(
            f"{folder}/chroma", settings=Settings(anonymized_telemetry=False)
        )
        collection = client.create_collection(
            "pictures", embedding_function=AlignEmbeddingFunction(Path(folder) / "adapter")
        )
        collection.add(ids=captions, images=[np.array(picture) for picture in pictures])

        # As in another process: the collection names the embedding function and its settings.
        again = client.get_collection("pictures")
        found = again.query(query_texts=captions, n_results=5)
        recall = np.mean([own in row for own, row in zip(captions, found["ids"], strict=True)])
        print(f"{len(captions)} captions, {len(pictures)} pictures: recall@5 {recall:.2f}")
        print(f"{captions[0]!r} finds {found['ids'][0][:2]}")


if __name__ == "__main__":
    main()
