"""Chroma: an embedding function that a collection remembers, and searches over any collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from align._checks import check_side
from align.adapters.adapter import load
from align.adapters.digest import adapter_digest, check_digest
from align.data.encoding import Encoder
from align.data.sides import Side, other_side
from align.integrations.answers import Answers, Floats, Search, check_unit_norm, padded
from align.integrations.extras import extra
from align.retrieval.embedder import Embedder

with extra("chroma"):
    from chromadb import Collection
    from chromadb.api import ClientAPI
    from chromadb.api.types import Embeddable, EmbeddingFunction, Embeddings, Space
    from chromadb.utils.embedding_functions import register_embedding_function


@register_embedding_function  # a collection is read again by this name
class AlignEmbeddingFunction(EmbeddingFunction[Embeddable]):
    """Gallery vectors of one side of an adapter, and query vectors of the other.

    A collection stores the folder of the adapter, whose card names its encoders: so a collection
    that is opened again, in a process that has imported this module, needs nothing more. Encoders
    that were passed, or that the card names as Python code, have to be passed again, to
    ``open_collection``, which checks that they are the same. An adapter that was replaced in its
    folder is refused.

    Documents are texts. Images are arrays as Chroma passes them, ``(height, width)`` or
    ``(height, width, 3)`` uint8, and reach the encoder as PIL images.

    Attributes:
        embedder: The adapter with its encoders.
        side: The side of the documents.
    """

    def __init__(
        self,
        adapter: str | Path,
        *,
        side: Side = "target",
        source: Encoder | None = None,
        target: Encoder | None = None,
        digest: str | None = None,
    ) -> None:
        """Load an adapter; encoders that are not passed are built when they are first needed.

        Args:
            adapter: Folder that ``Adapter.save`` wrote, or an id on the hub.
            side: The side of the documents; queries are of the other.
            source: Encoder of the source side; built from the adapter's card if left out.
            target: Encoder of the target side, likewise.
            digest: Of the adapter that is expected, as a collection stores it; ``None`` takes any.

        Raises:
            ValueError: ``side`` is neither side, or the adapter is another; later, an encoder is
                neither passed nor in the card.
            FileNotFoundError: There is no such adapter.
        """
        check_side(side)
        folder = Path(adapter).expanduser()
        # The working directory may be another when the collection is opened again.
        self._name = str(folder.resolve()) if folder.exists() else str(adapter)
        # A missing encoder is an error on use: Chroma builds this from its settings to check them.
        loaded = load(self._name)
        check_digest(loaded.components(), digest, self._name)
        self._digest = adapter_digest(loaded.components())
        self.embedder = Embedder(loaded, source=source, target=target)
        self.side: Side = side

    def __call__(self, input: Embeddable) -> Embeddings:
        """Gallery vectors of documents or images, correction included."""
        return list(self.embedder.gallery(_items(input), side=self.side).numpy())

    def embed_query(self, input: Embeddable) -> Embeddings:
        """Query vectors of documents or images of the other side."""
        return list(self.embedder.queries(_items(input), side=other_side(self.side)).numpy())

    @staticmethod
    def name() -> str:
        """The name under which a collection stores this."""
        return "isthmus"

    def get_config(self) -> dict[str, Any]:
        """What ``build_from_config`` needs, and ``vectors``, a digest of encoders and side too."""
        return {
            "adapter": self._name,
            "side": self.side,
            "digest": self._digest,
            "vectors": self.embedder.digest(side=self.side),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> AlignEmbeddingFunction:
        """The embedding function that ``get_config`` describes."""
        return AlignEmbeddingFunction(
            config["adapter"], side=config["side"], digest=config["digest"]
        )

    def default_space(self) -> Space:
        """Inner product, in which a hubness correction counts."""
        return "ip"

    def supported_spaces(self) -> list[Space]:
        """Inner product only; of another, Chroma warns."""
        return ["ip"]


def open_collection(
    client: ClientAPI, name: str, embedding_function: AlignEmbeddingFunction
) -> Collection:
    """A collection of Chroma's, if its vectors came from this embedding function.

    ``client.get_collection`` compares names of embedding functions only, and all adapters have one.

    Raises:
        ValueError: The collection was filled by another adapter, other encoders or another side, or
            by no adapter.
    """
    collection = client.get_collection(name, embedding_function=embedding_function)
    stored = collection.configuration_json.get("embedding_function") or {}
    ours, theirs = embedding_function.get_config(), stored.get("config") or {}
    if ours["vectors"] != theirs.get("vectors"):
        described = {key: theirs.get(key) for key in ("adapter", "side")}
        raise ValueError(
            f"the collection {name!r} must be opened with what filled it, {described}; got "
            f"{ {key: ours[key] for key in described} }, whose adapter, encoders or side are "
            "others. Open it with the former, or fill a new collection."
        )
    return collection


def chroma_search(collection: Collection) -> Search:
    """A search over a collection of one's own, for ``align.wrap``.

    Args:
        collection: Of inner product (``ip``); or of cosine or L2, over stored vectors of unit
            norm, where the score is their inner product all the same.

    Raises:
        ValueError: Later, the queries are not of unit norm where the collection is by cosine or L2.
    """
    configuration = collection.configuration_json
    space = (configuration.get("hnsw") or configuration.get("spann") or {}).get("space", "l2")
    # Chroma has 1 - <q, x> for ip and cosine, and the squared distance for l2.
    scale = 2 if space == "l2" else 1

    def search(vectors: Floats, k: int) -> Answers:
        if space != "ip":
            check_unit_norm(vectors, space=space)
        answer = collection.query(
            query_embeddings=np.asarray(vectors, dtype=np.float32),
            n_results=k,
            include=["distances"],
        )
        return padded(
            [
                [(name, 1 - distance / scale) for name, distance in zip(*row, strict=True)]
                for row in zip(answer["ids"], answer["distances"] or [], strict=True)
            ],
            k,
        )

    return search


def _items(input: Embeddable) -> list[Any]:
    return [Image.fromarray(item) if isinstance(item, np.ndarray) else item for item in input]
