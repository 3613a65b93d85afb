"""Answers of the API as values: each is a JSON object that ``openapi.json`` describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from align.apps.serving.neighbour_map import NeighbourMap
from align.retrieval.hits import Hit

SNIPPET = 1200
"""Characters of a text that a page is sent; an item may be a whole file of code."""


@dataclass(frozen=True, slots=True)
class About:
    """What is served, and which queries it takes."""

    items: int
    modalities: dict[str, int]
    queries: tuple[str, ...]
    no_raw: str | None
    budgets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShownItem:
    """A hit as it is shown."""

    id: str
    title: str
    score: float
    modality: str | None
    text: str | None
    truncated: bool
    picture: bool


@dataclass(frozen=True, slots=True)
class BudgetCost:
    """Time and quality of a search with few vectors of each item, beside one with all."""

    vectors: int
    quality: float
    took_ms: float
    full_ms: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits of one query, best first."""

    view: str
    hits: tuple[ShownItem, ...]
    map: NeighbourMap | None
    encode_ms: float
    search_ms: float
    budget: BudgetCost | None


def shown_item(hit: Hit) -> ShownItem:
    """A hit as it is shown; of its metadata only ``text`` and the name of ``path``."""
    path, text = hit.metadata.get("path"), hit.metadata.get("text")
    text = text if isinstance(text, str) else None
    is_image = "image" in (hit.modality or "").split("|")
    name = PurePath(path).name if isinstance(path, str) else ""
    return ShownItem(
        id=str(hit.id),
        title=name or str(hit.id),
        score=hit.score,
        modality=hit.modality,
        text=None if text is None else text[:SNIPPET],
        truncated=text is not None and len(text) > SNIPPET,
        picture=isinstance(path, str) and (is_image or (hit.modality is None and text is None)),
    )
