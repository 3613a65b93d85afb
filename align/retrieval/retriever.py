"""An index asked with raw items, and filled with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from align._checks import as_list, check_length
from align.adapters.multi_vector.aspects import MetaTokens, TokenAspects
from align.data.embeddings import Embeddings
from align.data.encoding import Cache, Encoder, TokenEncoder
from align.data.multi_vector import MultiVector
from align.data.sides import Side, other_side
from align.retrieval.embedder import Embedder
from align.retrieval.first_stages import Budget
from align.retrieval.hits import Hit
from align.retrieval.index.filters import Where
from align.retrieval.index.index import Index


class Retriever:
    """Encoders, adapter and index in one: texts, images or code in, ranked hits out.

    Attributes:
        index: What is searched; its adapter brings the hubness correction.
        embedder: The adapter beside its encoders.
    """

    def __init__(
        self,
        index: Index,
        *,
        source: Encoder | None = None,
        target: Encoder | None = None,
        instructions: Encoder | None = None,
        store: Cache | None = None,
    ) -> None:
        """Put an index and encoders together.

        Args:
            index: An index with an adapter or meta tokens.
            source: Encoder of the source side; built from the adapter's card if left out.
            target: Encoder of the target side, likewise.
            instructions: Encoder of instructions, likewise.
            store: Where encoded items are looked up and kept, such as ``EmbeddingStore``.

        Raises:
            ValueError: The index has no adapter.
        """
        if index.adapter is None:
            raise ValueError(
                "a Retriever asks through the adapter of its index; this index has none. "
                "Create it with one, or search it with vectors: index.search(queries)."
            )
        self.index = index
        self._head = index.adapter if isinstance(index.adapter, MetaTokens) else None
        self.embedder = Embedder(
            index.adapter.adapter if isinstance(index.adapter, MetaTokens) else index.adapter,
            source=source,
            target=target,
            instructions=instructions,
            store=store,
        )

    @classmethod
    def open(cls, path: str | Path, *, store: Cache | None = None) -> Self:
        """The index in a folder with the encoders that its adapter remembers.

        Raises:
            FileNotFoundError: The folder holds no index.
            ValueError: As for ``Index.open``, or the index has no adapter.
        """
        return cls(Index.open(path), store=store)

    @property
    def asking(self) -> Side:
        """The side that asks: the one that the index does not hold."""
        return other_side(self.index.side)

    def add(
        self,
        ids: Sequence[str],
        items: Sequence[Any],
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        modality: str | Sequence[str] | None = None,
        progress: bool = False,
    ) -> None:
        """Encode items and add them; ``index.save`` keeps them.

        With a store, a run that was stopped takes up where it was when it is started again.

        Args:
            ids: ``n`` strings that the index does not hold yet.
            items: ``n`` items, as the encoder of the indexed side takes them.
            metadata: What to keep beside each item.
            modality: Modality of each item, or of all; that of the encoder if left out.
            progress: Show a bar.

        Raises:
            TypeError: An id is not a string, or there is one id or item and no list of them.
            ValueError: As for ``Index.add`` and ``Embedder.gallery``.
        """
        side = self.index.side
        ids = as_list("ids", ids)
        items, said = self.embedder.route_picture_names(items, side=side, modality=modality)
        check_length("items", items, len(ids))
        found = self.embedder.encode(items, side=side, modality=said, progress=progress)
        kinds = self.embedder.encoder(side).modality if said is None else said
        if self._head is None:
            self.index.add(ids, found, metadata=metadata, modality=kinds)
            return
        tokens = self._tokens(items, side, progress=progress)
        several = self._head.gallery(found, tokens, side=side)
        self.index.add(ids, several, metadata=metadata, modality=kinds)

    def search(
        self,
        items: Sequence[Any],
        *,
        k: int = 10,
        where: Where | None = None,
        modality: str | Sequence[str] | None = None,
        instruction: str | None = None,
        standardize: bool = False,
        budget: Budget | None = None,
    ) -> list[list[Hit]]:
        """The ``k`` best items for each query, best first.

        Args:
            items: Queries, as the encoder of the side that asks takes them. A text that names a
                picture, such as ``"dog.jpg"``, is taken for the picture.
            k: Hits per query, ``1 <= k <= len(index)``.
            where: Which items may be found, as ``Index.search`` has it; fewer than ``k`` may be.
            modality: Modality of each query, or of all, where the encoder is of several; and
                ``"text"`` for a text that names a picture and is meant as a text.
            instruction: What to look for, if the adapter takes instructions.
            standardize: Whether scores are standardised within each modality of the gallery.
            budget: Vectors used of each query and each item, where items have several.

        Raises:
            TypeError: ``items`` is one item.
            ValueError: As for ``Index.search`` and ``Embedder.queries``.
        """
        items = as_list("items", items)
        if not items:
            return []
        items, said = self.embedder.route_picture_names(items, side=self.asking, modality=modality)
        asked = self.embedder.encode(
            items, side=self.asking, modality=said, instruction=instruction
        )
        queries: Embeddings | MultiVector = asked
        if self._head is not None:
            tokens = self._tokens(items, self.asking, progress=False)
            queries = self._head.queries(asked, tokens, side=self.asking)
        return self.index.search(queries, k=k, where=where, standardize=standardize, budget=budget)

    def _tokens(self, items: Sequence[Any], side: Side, *, progress: bool) -> MultiVector | None:
        """Token states of the items, if this side of the head draws on any."""
        assert self._head is not None
        part = self._head.source_aspects if side == "source" else self._head.target_aspects
        if not isinstance(part, TokenAspects):
            return None
        encoder = self.embedder.encoder(side)
        if not isinstance(encoder, TokenEncoder):
            raise ValueError(
                f"these meta tokens draw on token states of the {side} side; its encoder, "
                f"{encoder.fingerprint}, gives none. Pass an encoder with encode_tokens."
            )
        return encoder.encode_tokens(items, progress=progress)
