"""What a search answers, and what can be searched with raw items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Hit(NamedTuple):
    """One found item.

    Attributes:
        id: The id it was added under; a wrapped retriever may have whole numbers.
        score: What it was ranked by: an inner product in the shared space, the hubness correction
            included, or MaxSim of several vectors; higher is better.
        modality: Kind of the item, such as ``"image"``, or ``None`` where nobody said.
        metadata: What was stored beside the item.
    """

    id: str | int
    score: float
    modality: str | None = None
    metadata: Mapping[str, Any] = NOTHING


class Searcher(Protocol):
    """Anything that answers raw items with hits: a ``Retriever``, or what ``wrap`` gives."""

    def search(self, items: Sequence[Any], *, k: int = 10) -> list[list[Hit]]:
        """Up to ``k`` hits for each item, best first."""
        ...
