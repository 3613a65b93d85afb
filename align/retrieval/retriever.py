"""An index searched with raw items, and filled with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from align._checks import as_list, check_length
from align._display.interruption import saying_what_is_kept
from align._display.panel import render
from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.data.encoding import Cache, Encoder, FrameEncoder
from align.data.modality import Modality
from align.data.multi_vector import MultiVector
from align.data.sides import Side, other_side
from align.retrieval.embedder import Embedder
from align.retrieval.examples import EVEN, search_like
from align.retrieval.explanation.hits import explain_hit, explain_words_of_hit
from align.retrieval.explanation.tokens import TokenExplanation
from align.retrieval.explanation.values import Explanation
from align.retrieval.first_stages import Budget
from align.retrieval.hits import Hit, SearchResults
from align.retrieval.index.changes import Changes
from align.retrieval.index.filters import Where
from align.retrieval.index.index import Index
from align.retrieval.index.inputs import packed
from align.retrieval.moments import metadata_of_moments
from align.retrieval.panels import retriever_line, retriever_panel
from align.retrieval.picture_paths import metadata_of_pictures


class _NewItems(NamedTuple):
    """Vectors of items in the space of an index, and what is stored beside them."""

    vectors: MultiVector
    metadata: Sequence[Mapping[str, Any]] | None
    modality: str | list[str] | None


class Retriever:
    """Encoders, adapter and index in one: texts, images or code in, ranked hits out.

    Attributes:
        index: What is searched; its adapter brings the hubness correction.
        embedder: The adapter or head of the index beside its encoders.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((200, 8)).astype("f4")
        >>> photos = (captions @ rng.standard_normal((8, 12))).astype("f4")
        >>> text = align.CallableEncoder(lambda rows: captions[rows], name="captions", dim=8)
        >>> image = align.CallableEncoder(lambda rows: photos[rows], name="photos", dim=12)
        >>> adapter = align.fit(captions, photos, effort="fast")
        >>> index = align.Index.create("idx", adapter)
        >>> retriever = align.Retriever(index, source=text, target=image)
        >>> retriever.add([f"photo-{row}" for row in range(50)], range(50))
        >>> retriever.search([7], k=1)[0][0].id
        'photo-7'
    """

    def __init__(
        self,
        index: Index,
        *,
        source: Encoder | None = None,
        target: Encoder | None = None,
        instructions: Encoder | None = None,
        store: Cache | None = None,
        device: str | torch.device = "auto",
        trust: bool = False,
    ) -> None:
        """Put an index and encoders together; the index needs an adapter or meta tokens.

        Encoders, store, device and trust are those of ``Embedder``, and so are the errors.
        """
        if index.adapter is None:
            raise ValueError(
                "a Retriever searches through the adapter of its index; this index has none. "
                "Create it with one, or search it with vectors: index.search(queries)."
            )
        self.index = index
        self.embedder: Embedder[Tensor | MultiVector] = Embedder(
            index.adapter,
            source=source,
            target=target,
            instructions=instructions,
            store=store,
            device=device,
            trust=trust,
        )

    def __repr__(self) -> str:
        return retriever_line(self._asking, self.index)

    def _repr_html_(self) -> str:
        return render(retriever_panel(self._asking, self.index.panel(), self.embedder.panel()))

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        store: Cache | None = None,
        device: str | torch.device = "auto",
        trust: bool = False,
    ) -> Self:
        """The index in a folder with the encoders its adapter remembers; see ``Index.open``."""
        return cls(Index.open(path), store=store, device=device, trust=trust)

    @property
    def query_side(self) -> Side:
        """The side of the queries: the one that the index does not hold."""
        return other_side(self.index.side)

    @property
    def _asking(self) -> str:
        """What people call the side of the queries."""
        return self.embedder.adapter.card.side_name(self.query_side)

    def add(
        self,
        ids: Sequence[str],
        items: Sequence[Any],
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        modality: str | Sequence[str] | None = None,
        progress: bool | None = None,
    ) -> None:
        """Encode items and add them; ``index.save`` keeps them.

        With a store, a run that was stopped takes up where it was when it is started again. Errors
        are those of ``Index.add`` and ``Embedder.gallery``.

        Args:
            ids: ``n`` strings that the index does not hold yet.
            items: ``n`` items, as the encoder of the indexed side takes them.
            metadata: What to keep beside each item. An item that is a ``pathlib.Path`` has its
                ``path`` kept too, unless there is one, as ``retrieval.picture_paths`` says.
            modality: Modality of each item, or of all; that of the encoder if left out, where
                ``Modality`` knows it.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.
        """
        with saying_what_is_kept(_none_is_in):
            new = self._new(ids, items, metadata, modality, progress)
            self.index.add(ids, new.vectors, metadata=new.metadata, modality=new.modality)

    def put(
        self,
        ids: Sequence[str],
        items: Sequence[Any],
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        modality: str | Sequence[str] | None = None,
        progress: bool | None = None,
    ) -> Changes:
        """Encode items and put them in the index, in the place of those with their ids.

        The arguments are those of ``add``, but for ids that are there; see ``Index.put``.
        """
        with saying_what_is_kept(_none_is_in):
            new = self._new(ids, items, metadata, modality, progress)
            return self.index.put(ids, new.vectors, metadata=new.metadata, modality=new.modality)

    def _new(
        self,
        ids: Sequence[str],
        items: Sequence[Any],
        metadata: Sequence[Mapping[str, Any]] | None,
        modality: str | Sequence[str] | None,
        progress: bool | None,
    ) -> _NewItems:
        """Items as the index takes them."""
        ids, items = as_list("ids", ids), as_list("items", items)
        check_length("items", items, len(ids))
        if metadata is not None:
            metadata = as_list("metadata", metadata)
            check_length("metadata", metadata, len(ids))
        metadata = metadata_of_pictures(items, metadata, self.index.folder)
        encoder = self.embedder.encoder(self.index.side)
        if (
            isinstance(self.index.adapter, Adapter)
            and isinstance(encoder, FrameEncoder)
            and encoder.pooling == "tokens"
        ):
            frames = self.embedder.frames(items, side=self.index.side, progress=progress)
            seconds = [encoder.frame_times(item) for item in items]
            return _NewItems(frames, metadata_of_moments(metadata, seconds), encoder.modality)
        encoded = self.embedder.encode(
            items, side=self.index.side, modality=modality, progress=progress
        )
        kind: str | list[str] | None = encoded.modality
        if kind is None:
            only = encoder.modality
            kind = only if only.upper() in Modality.__members__ else None
        return _NewItems(packed(self.embedder.to_gallery(encoded)), metadata, kind)

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
    ) -> SearchResults:
        """The ``k`` best items for each query, best first.

        ``items``, ``modality`` and ``instruction`` are those of ``Embedder.queries``, the others
        those of ``Index.search``, and so are the errors.
        """
        items = as_list("items", items)
        if not items:
            return SearchResults()
        queries = self._queries(items, modality, instruction)
        found = self.index.search(queries, k=k, where=where, standardize=standardize, budget=budget)
        return SearchResults(found, queries=items)

    def search_like(
        self,
        examples: Sequence[Any],
        *,
        modification: Sequence[Any] | None = None,
        weight: float = EVEN,
        k: int = 10,
        where: Where | None = None,
        modality: str | Sequence[str] | None = None,
        standardize: bool = False,
        budget: Budget | None = None,
    ) -> SearchResults:
        """The ``k`` items most like each example, or like it but for what a modification says.

        A picture with "but in red" is a composed query: the weighted sum of both in the shared
        space, at unit norm. The example counts by its similarity alone, the modification with the
        corrections of the gallery. ``align.fit_query_weight`` chooses the weight.

        Reference:
            The task, with a learned composition in place of the sum: Vo et al. 2019,
            arXiv:1812.07119.

        Args:
            examples: Items of the indexed side, as its encoder takes them; or a ``Hit`` for the
                indexed item of its id, which does not find itself.
            modification: An item of the other side for each example, such as a text that says what
                should be different; without, similarity alone ranks.
            weight: Share of the modification in a query, in [0, 1].
            k: Hits per query, as for ``search``; likewise the others.
            where: What may be found.
            modality: Modality of each example, or of all, as for ``Embedder.gallery``; an encoder
                of several modalities takes modifications as texts.
            standardize: As for ``Index.search``.
            budget: Likewise.

        Raises:
            KeyError: There is no item with the id of a ``Hit``.
            TypeError: ``examples`` or ``modification`` is one item.
            ValueError: As for ``search``; the weight is outside of [0, 1], or items have several
                vectors and there is a modification.
        """
        return search_like(
            self.index, self.embedder, examples, modification, weight,
            k=k, where=where, modality=modality, standardize=standardize, budget=budget,
        )  # fmt: skip

    def explain(
        self,
        query: Any,
        hit: Hit | str,
        *,
        modality: str | None = None,
        instruction: str | None = None,
        pairs: PairedEmbeddings | None = None,
        names: Sequence[str] | None = None,
        top: int = 10,
    ) -> Explanation:
        """Why an item was found for a query: terms that add up to its score; see ``align.explain``.

        The item is encoded again from its ``text`` or ``path`` in the metadata, so that what the
        expansion added is told from its directions; where neither is there any more, the stored
        vector is explained as it is.

        Args:
            query: What was searched with, such as ``hits.query``.
            hit: The hit, or its id.
            modality: As for ``search``.
            instruction: Likewise.
            pairs: The training pairs, to name those behind the score; as for ``align.explain``.
            names: A text for each of ``pairs``; their ids if left out.
            top: Directions, and pairs, to list.

        Raises:
            KeyError: There is no such item.
            ValueError: As for ``search`` and ``align.explain``, or the item has several vectors.
        """
        return explain_hit(
            self.index,
            self.embedder,
            query,
            str(hit.id if isinstance(hit, Hit) else hit),
            modality=modality,
            instruction=instruction,
            pairs=pairs,
            names=names,
            top=top,
        )

    def search_set(
        self,
        items: Sequence[Any],
        *,
        coverage: float = 0.9,
        where: Where | None = None,
        modality: str | Sequence[str] | None = None,
        instruction: str | None = None,
    ) -> SearchResults:
        """For each query the items that may be right, as many as that takes; see the index.

        ``coverage`` and ``where`` are those of ``Index.search_set``, the others those of
        ``Embedder.queries``, and so are the errors.
        """
        items = as_list("items", items)
        if not items:
            return SearchResults()
        queries = self._queries(items, modality, instruction)
        found = self.index.search_set(queries, coverage=coverage, where=where)  # type: ignore[arg-type]  # which refuses packed ones
        return SearchResults(found, queries=items)

    def _queries(
        self, items: Sequence[Any], modality: str | Sequence[str] | None, instruction: str | None
    ) -> Tensor | MultiVector:
        """Encoded queries for the adapter of the index to map, or packed by its head."""
        encoded = self.embedder.encode(
            items, side=self.query_side, modality=modality, instruction=instruction
        )
        if isinstance(self.index.adapter, Adapter):
            return encoded.vectors
        return packed(self.embedder.to_queries(encoded))

    def explain_words(
        self, query: Any, hit: Hit | str, *, modality: str | None = None
    ) -> TokenExplanation:
        """Which words of a query go with which patches or words of an item.

        What the words add makes up the match, the cosine of both in the shared space, exactly; see
        ``explain`` for the other terms of a score. In a notebook each word has a heat map over the
        picture. It takes encoders that pool by the mean of their tokens and linear maps, and the
        item itself, by the ``text`` or ``path`` in its metadata.

        Args:
            query: What was searched with, such as ``hits.query``.
            hit: The hit, or its id.
            modality: As for ``search``.

        Raises:
            KeyError: There is no such item.
            ValueError: The text or picture of the item is gone, an encoder gives no tokens or does
                not pool by their mean, or a map is not linear.
        """
        id = str(hit.id if isinstance(hit, Hit) else hit)
        return explain_words_of_hit(self.index, self.embedder, query, id, modality=modality)


def _none_is_in() -> str:
    """What is kept of items that were not all encoded: they go into the index together."""
    return (
        "The index is as it was before; what was encoded into a store is kept. "
        "Run it again to take these items in."
    )
