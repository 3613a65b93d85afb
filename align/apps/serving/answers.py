"""What the API says, as values: each is one JSON object of ``openapi.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from align._version import __version__
from align.apps.serving.limits import MOST_BYTES, MOST_CHARACTERS, MOST_HITS
from align.apps.serving.neighbour_map import NeighbourMap
from align.retrieval.hits import Hit

SNIPPET = 1200
"""Characters of a text that a page is given; an item may be a whole file of code."""


@dataclass(frozen=True, slots=True)
class About:
    """What is served, and what it can be asked.

    Attributes:
        items: Number of items.
        modalities: How many items there are of each; those of which nobody said are left out.
        queries: Kinds of query that are taken: ``"text"``, ``"image"``.
        no_raw: Why there is no raw view, in one line; ``None`` where there is one.
        budgets: Vectors per item that may be searched with, rising; none where items have one.
        most_hits: The largest ``k``.
        most_characters: Of a text query.
        most_bytes: Of a picture that is uploaded.
        version: Of this package.
    """

    items: int
    modalities: dict[str, int]
    queries: tuple[str, ...]
    no_raw: str | None
    budgets: tuple[int, ...]
    most_hits: int = MOST_HITS
    most_characters: int = MOST_CHARACTERS
    most_bytes: int = MOST_BYTES
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Item:
    """A hit as it is shown.

    Attributes:
        id: Id in the index.
        title: The file's name, or the id.
        score: What it was ranked by.
        modality: Kind of the item, if known.
        text: The text or the start of it, if the item is one.
        truncated: Whether the text goes on.
        picture: Whether there is a thumbnail.
    """

    id: str
    title: str
    score: float
    modality: str | None
    text: str | None
    truncated: bool
    picture: bool


@dataclass(frozen=True, slots=True)
class Budgeted:
    """What a budget costs.

    Attributes:
        vectors: Vectors used of each item.
        quality: Share of the best ten with all vectors that were found, in [0, 1].
        took_ms: Time of a search for ten, right after one with all vectors.
        full_ms: Time of the one with all vectors.
    """

    vectors: int
    quality: float
    took_ms: float
    full_ms: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits of one query, best first.

    Attributes:
        view: What was ranked by: ``"aligned"`` or ``"raw"``.
        hits: The hits.
        map: Query and hits in two dimensions; ``None`` without hits.
        encode_ms: Time for the query's vector; 0 where it was there already.
        search_ms: Time for the search.
        budget: What the budget cost, where items have several vectors.
    """

    view: str
    hits: tuple[Item, ...]
    map: NeighbourMap | None
    encode_ms: float
    search_ms: float
    budget: Budgeted | None


def item_of(hit: Hit) -> Item:
    """A hit as it is shown; of its metadata only ``text`` and the name of ``path``."""
    path, text = hit.metadata.get("path"), hit.metadata.get("text")
    known = text if isinstance(text, str) else None
    is_image = "image" in (hit.modality or "").split("|")
    named = PurePath(path).name if isinstance(path, str) else ""
    return Item(
        id=str(hit.id),
        title=named or str(hit.id),
        score=hit.score,
        modality=hit.modality,
        text=None if known is None else known[:SNIPPET],
        truncated=known is not None and len(known) > SNIPPET,
        picture=isinstance(path, str) and (is_image or (hit.modality is None and known is None)),
    )
