"""What a search answers, and what can be searched with raw items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, Self, SupportsIndex, overload

from align._display.panel import render
from align.retrieval.hits_panel import (
    hit_line,
    hits_line,
    hits_panel,
    hits_text,
    results_line,
    results_panel,
    results_text,
)

Id = str | int
"""What an item is known by: a string in an ``Index``, what it will in a wrapped retriever."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Hit(NamedTuple):
    """One found item.

    Attributes:
        id: The id it was added under; a wrapped retriever may have whole numbers.
        score: What it was ranked by: an inner product in the shared space, the hubness correction
            included, or MaxSim of several vectors; higher is better.
        modality: Kind of the item, such as ``"image"``, or ``None`` where nobody said.
        metadata: What was stored beside the item.
        confidence: The probability that this is the right item, given that the right one is in the
            index; in [0, 1]. ``None`` where scores are not calibrated.
        second: When the best frame of a video is shown, from its first one; ``None`` of all else.

    Examples:
        >>> from align import Hit
        >>> hit = Hit("photo-7", 0.83, metadata={"year": 2024})
        >>> hit.id, hit.metadata["year"]
        ('photo-7', 2024)
    """

    id: Id
    score: float
    modality: str | None = None
    metadata: Mapping[str, Any] = NOTHING
    confidence: float | None = None
    second: float | None = None

    def __repr__(self) -> str:
        return hit_line(self)

    def _repr_html_(self) -> str:
        return render(hits_panel([self], query=None, folder=None))


class Hits(list[Hit]):
    """The hits of one query, best first: a list that a notebook shows as a table.

    It equals a list of the same hits, and a slice of it is one too.

    Attributes:
        query: The item that was searched with, or ``None`` where that was a vector.
        folder: What paths in the metadata that are not whole are relative to, or ``None``.
    """

    def __init__(
        self, hits: Iterable[Hit] = (), *, query: Any = None, folder: Path | None = None
    ) -> None:
        super().__init__(hits)
        self.query = query
        self.folder = folder

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> Hit: ...
    @overload
    def __getitem__(self, at: slice, /) -> Hits: ...
    def __getitem__(self, at: SupportsIndex | slice, /) -> Hit | Hits:
        if isinstance(at, slice):
            return Hits(super().__getitem__(at), query=self.query, folder=self.folder)
        return super().__getitem__(at)

    def __repr__(self) -> str:
        return hits_line(self, query=self.query)

    def __str__(self) -> str:
        return hits_text(self, query=self.query)

    def _repr_html_(self) -> str:
        return render(hits_panel(self, query=self.query, folder=self.folder))


class SearchResults(list[Hits]):
    """The hits of each query, in the order of the queries: a list of lists.

    A notebook shows a table for each of the first. It equals a list of lists of the same hits.
    """

    def __init__(
        self,
        hits: Iterable[Iterable[Hit]] = (),
        *,
        queries: Sequence[Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Keep the hits of each query.

        Args:
            hits: For each query its hits, best first.
            queries: As many items, that were searched with.
            folder: What paths in the metadata that are not whole are relative to.
        """
        each = (own if isinstance(own, Hits) else Hits(own, folder=folder) for own in hits)
        if queries is None:
            super().__init__(each)
            return
        super().__init__(
            Hits(own, query=query, folder=own.folder)
            for own, query in zip(each, queries, strict=True)
        )

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> Hits: ...
    @overload
    def __getitem__(self, at: slice, /) -> Self: ...
    def __getitem__(self, at: SupportsIndex | slice, /) -> Hits | Self:
        if isinstance(at, slice):
            return type(self)(super().__getitem__(at))
        return super().__getitem__(at)

    def __repr__(self) -> str:
        return results_line(self)

    def __str__(self) -> str:
        return results_text(self)

    def _repr_html_(self) -> str:
        return render(results_panel(self))


def of_same_query(hits: Iterable[Hit], rankings: Iterable[Sequence[Hit]]) -> Hits:
    """New hits with the query of rankings of the same items, and the folder that they agree on."""
    known = [each for each in rankings if isinstance(each, Hits)]
    query = next((each.query for each in known if each.query is not None), None)
    folders = {each.folder for each in known if each.folder is not None}
    return Hits(hits, query=query, folder=folders.pop() if len(folders) == 1 else None)


class Searcher(Protocol):
    """Anything that answers raw items with hits: a ``Retriever``, or what ``wrap`` gives."""

    def search(self, items: Sequence[Any], *, k: int = 10) -> Sequence[Sequence[Hit]]:
        """Up to ``k`` hits for each item, best first."""
        ...
