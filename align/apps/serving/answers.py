"""Answers of the API as values: each is a JSON object that ``openapi.json`` describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from align.apps.serving.neighbour_map import NeighbourMap
from align.retrieval.hits import Hit
from align.retrieval.picture_paths import FIELD

SNIPPET = 1200
"""Characters of a text that a page is sent; an item may be a whole file of code."""

CAPTION = 300
"""Characters of a caption that a page is sent."""


@dataclass(frozen=True, slots=True)
class About:
    """What is served, and which queries it takes."""

    name: str
    items: int
    modalities: dict[str, int]
    queries: tuple[str, ...]
    composed: bool  # whether a picture or item may have a text beside it
    direction: str | None  # of the search, by the names of the sides if they have any
    examples: tuple[str, ...]  # texts to search with, if texts are taken
    caption: str | None  # the field of the metadata that captions come from
    missing: str | None  # which pictures cannot be found, and what to do
    no_raw: str | None
    no_line: str | None  # why weak matches are not told apart
    budgets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item as it is shown; without a score where nothing was searched."""

    id: str
    title: str
    caption: str | None
    score: float | None
    weak: bool
    modality: str | None
    text: str | None
    truncated: bool
    picture: bool
    second: float | None  # of the best frame of a video


@dataclass(frozen=True, slots=True)
class Sample:
    """Items that show what is in an index."""

    items: tuple[ShownItem, ...]


@dataclass(frozen=True, slots=True)
class BudgetCost:
    """What a search with few vectors of each item finds and takes, in the mean over queries."""

    vectors: int
    agreement: float  # share of the ten best with all vectors that are among its ten best
    took_ms: float


@dataclass(frozen=True, slots=True)
class Budgets:
    """The costs of all budgets, once they were measured."""

    queries: int  # items that were searched with; 0 before that
    measured: tuple[BudgetCost, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """What something adds to a score."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Word:
    """What a word of a query adds to the match, and where in the item it goes best."""

    word: str
    value: float
    best: str
    heat: str | None  # the picture under a heat map, as a data address


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why an item was found for a text: terms that add up to its score, and words to the match."""

    score: float
    terms: tuple[Term, ...]
    words: tuple[Word, ...]
    no_words: str | None  # why the match is not taken apart into words


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits of one query, best first."""

    view: str
    item: ShownItem | None  # that was searched with
    hits: tuple[ShownItem, ...]
    more: bool  # whether there are hits after these
    line: float | None  # hits of at most this score are weak
    map: NeighbourMap | None
    encode_ms: float
    search_ms: float


def shown_item(
    hit: Hit, *, caption: str | None = None, line: float | None = None, scored: bool = True
) -> ShownItem:
    """A hit as it is shown.

    Of its metadata only the field ``caption``, ``text`` and the name of ``path``; it is weak where
    its score is no higher than the ``line``.
    """
    path, text = hit.metadata.get(FIELD), hit.metadata.get("text")
    text = text if isinstance(text, str) else None
    said = None if caption is None else hit.metadata.get(caption)
    is_shown = not {"image", "video"}.isdisjoint((hit.modality or "").split("|"))
    return ShownItem(
        id=str(hit.id),
        title=(_name(path) if isinstance(path, str) else "") or str(hit.id),
        caption=said[:CAPTION] if isinstance(said, str) and said.strip() else None,
        score=hit.score if scored else None,
        weak=scored and line is not None and hit.score <= line,
        modality=hit.modality,
        text=None if text is None else text[:SNIPPET],
        truncated=text is not None and len(text) > SNIPPET,
        picture=isinstance(path, str) and (is_shown or (hit.modality is None and text is None)),
        second=hit.second,
    )


def _name(path: str) -> str:
    return (PureWindowsPath(path) if "/" not in path else PurePosixPath(path)).name
