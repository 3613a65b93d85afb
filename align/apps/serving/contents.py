"""What a gallery knows of the items of its index; made anew whenever they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from align._display.lines import shortened
from align.apps.serving.answers import About
from align.apps.serving.first_view import (
    caption_field,
    evenly_spaced,
    example_texts,
    missing_pictures,
)
from align.apps.serving.raw import raw_view
from align.apps.serving.roots import Roots
from align.data.encoding import Cache
from align.data.multi_vector import MultiVector
from align.data.sides import SIDE_NAMES, directions_of
from align.retrieval.hits import Hit
from align.retrieval.index.index import Index
from align.retrieval.picture_paths import FIELD, PicturePaths
from align.retrieval.retriever import Retriever

SAMPLED = 200
"""Items that a gallery remembers to show, and to search with when budgets are compared."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How the items of an index are shown.

    Attributes:
        roots: Folders whose files may be shown, and in which files that have moved are looked for;
            those of the items where they are ``None``.
        caption: The field of the metadata that captions come from; ``None`` takes one that is
            there.
        store: Where raw vectors are looked up and kept; ``None`` leaves the raw view out.
        progress: Whether to draw a bar while raw vectors are made; by default in a terminal or
            notebook.
    """

    roots: Roots | None = None
    caption: str | None = None
    store: Cache | None = None
    progress: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """The state of an index as a page shows it."""

    about: About
    paths: PicturePaths
    roots: Roots
    raw: Index | None
    sample: tuple[Hit, ...]  # evenly spaced over the index

    def find(self, path: str) -> Path:
        """The file of a kept path; errors are those of ``Roots.find``."""
        return self.roots.find(self.paths.find(path))


def contents_of(
    retriever: Retriever,
    shown: Shown,
    *,
    queries: Sequence[str],
    composed: bool,
    budgets: tuple[int, ...],
) -> Contents:
    """What there is to know of an index now, whose page takes such ``queries``.

    Raises:
        PermissionError: With a store, the file of an item lies outside the roots.
        ValueError: The index is empty, or no item has the field that captions come from.
    """
    index = retriever.index
    items = _all_items(index)
    kept = [path for item in items if isinstance(path := item.metadata.get(FIELD), str)]
    moved_to = () if shown.roots is None else shown.roots.folders
    paths = PicturePaths.of(index.folder, kept, moved_to=moved_to)
    roots = Roots.around(map(paths.find, kept)) if shown.roots is None else shown.roots
    raw = raw_view(
        retriever, items, shown.store, lambda path: roots.find(paths.find(path)),
        progress=shown.progress,
    )  # fmt: skip
    caption = caption_field(items, shown.caption)
    takes_texts = "text" in queries
    about = About(
        name=index.folder.resolve().name or "index",
        items=len(items),
        modalities={name: n for name, n in index.modalities.items() if name},
        queries=tuple(queries),
        direction=_direction(retriever),
        examples=example_texts(items, caption) if takes_texts else (),
        caption=caption,
        missing=missing_pictures(items, paths, roots),
        no_raw=raw.reason,
        no_line=None
        if takes_texts
        else "Weak matches are told apart for texts alone; this index takes none.",
        composed=composed and not budgets,
        budgets=budgets,
    )
    return Contents(about, paths, roots, raw.index, tuple(evenly_spaced(items, SAMPLED)))


def _direction(retriever: Retriever) -> str | None:
    """``"caption → image"``; ``None`` where nobody gave the sides names."""
    names = retriever.embedder.adapter.card.side_names
    if names == SIDE_NAMES:
        return None
    forth, back = directions_of(names)
    return shortened(forth if retriever.query_side == "source" else back, 80)


def _all_items(index: Index) -> list[Hit]:
    """All items in the order of adding: an exact search for as many as there are leaves none out,
    and with a query of zeros all scores are equal, so that none is first but by its place."""
    if not len(index):
        raise ValueError("an index needs items to be served; it holds none. Call add first.")
    any_query = MultiVector.from_equal(torch.zeros(1, 1, index.dim or 1))
    return index.search(any_query, k=len(index))[0]
