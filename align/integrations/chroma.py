"""Chroma: an embedding function that a collection remembers, and searches over any collection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from align._checks import check_side
from align.adapters.adapter import Side, other_side
from align.adapters.artifact import load
from align.embeddings import Encoder
from align.integrations.answers import Answers, Floats, check_unit_norm, padded
from align.integrations.extras import extra
from align.retrieval.embedder import Embedder

with extra("chroma"):
    from chromadb import Collection
    from chromadb.api.types import Embeddable, EmbeddingFunction, Embeddings, Space
    from chromadb.utils.embedding_functions import register_embedding_function


@register_embedding_function  # a collection is read again by this name
class AlignEmbeddingFunction(EmbeddingFunction[Embeddable]):
    """What is added goes through one side of an adapter, and what asks through the other.

    A collection keeps the folder of the adapter, and the card of the adapter says how its encoders
    are built, as ``align fit`` writes it: so a collection that is opened again, in a process that
    has imported this module, needs nothing more. Encoders that were given, or that the card names
    as Python code, have to be given again: ``get_collection(name, embedding_function=...)``.

    Documents are texts. Images are arrays as Chroma hands them around, ``(height, width)`` or
    ``(height, width, 3)`` uint8, and reach the encoder as PIL images.

    Attributes:
        embedder: The adapter beside its encoders.
        side: The side that is added.
    """

    def __init__(
        self,
        adapter: str | Path,
        *,
        side: Side = "target",
        source: Encoder | None = None,
        target: Encoder | None = None,
    ) -> None:
        """Load an adapter; encoders that are not given are built when they are first needed.

        Args:
            adapter: Folder that ``Adapter.save`` wrote, or an id on the hub.
            side: The side of what is added; the other asks.
            source: Encoder of the source side; built from the adapter's card if left out.
            target: Encoder of the target side, likewise.

        Raises:
            ValueError: ``side`` is neither side; later, an encoder is neither given nor in the
                card.
            FileNotFoundError: There is no such adapter.
        """
        check_side(side)
        folder = Path(adapter).expanduser()
        # The working directory may be another when the collection is opened again.
        self._name = str(folder.resolve()) if folder.exists() else str(adapter)
        # What is missing is said on use: Chroma builds this from its settings to check them.
        self.embedder = Embedder(load(self._name), source=source, target=target)
        self.side: Side = side

    def __call__(self, input: Embeddable) -> Embeddings:
        """Gallery vectors of documents or images, correction included."""
        return _rows(self.embedder.gallery(_items(input), side=self.side).numpy())

    def embed_query(self, input: Embeddable) -> Embeddings:
        """Query vectors of documents or images of the other side."""
        asked = self.embedder.queries(_items(input), side=other_side(self.side))
        return _rows(asked.numpy())

    @staticmethod
    def name() -> str:
        """What a collection remembers this by."""
        return "isthmus"

    def get_config(self) -> dict[str, Any]:
        """What ``build_from_config`` needs: the folder of the adapter and the side."""
        return {"adapter": self._name, "side": self.side}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> AlignEmbeddingFunction:
        """The embedding function that ``get_config`` describes."""
        return AlignEmbeddingFunction(config["adapter"], side=config["side"])

    def default_space(self) -> Space:
        """Inner product, in which a hubness correction counts."""
        return "ip"

    def supported_spaces(self) -> list[Space]:
        """Inner product only; of another, Chroma warns."""
        return ["ip"]


def chroma_search(
    collection: Collection,
) -> Callable[[Floats, int], Answers]:
    """A search over a collection of one's own, for ``align.wrap``.

    Args:
        collection: Of inner product (``ip``); or of cosine or L2, over stored vectors of unit
            norm, where the score is their inner product all the same.

    Returns:
        Query vectors ``(q, d)`` and ``k`` in; ids and scores out, both ``(q, k)``, and ``None`` as
        the id where Chroma finds fewer.

    Raises:
        ValueError: Later, the queries are not of unit norm where the collection is by cosine or L2.
    """
    configuration = collection.configuration_json
    space = (configuration.get("hnsw") or configuration.get("spann") or {}).get("space", "l2")

    def search(vectors: Floats, k: int) -> Answers:
        if space != "ip":
            check_unit_norm(vectors, space=space)
        found = collection.query(
            query_embeddings=np.asarray(vectors, dtype=np.float32),
            n_results=k,
            include=["distances"],
        )
        # Chroma has 1 - <q, x> for ip and cosine, and the squared distance for l2.
        scale = 2 if space == "l2" else 1
        return padded(
            [
                [(name, 1 - distance / scale) for name, distance in zip(*row, strict=True)]
                for row in zip(found["ids"], found["distances"] or [], strict=True)
            ],
            k,
        )

    return search


def _items(given: Embeddable) -> list[Any]:
    return [Image.fromarray(item) if isinstance(item, np.ndarray) else item for item in given]


def _rows(vectors: Floats) -> Embeddings:
    return list(vectors)
