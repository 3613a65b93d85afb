"""An index as a page sees it: what it can be asked, and what it answers."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.apps.serving.answers import About, Answer, Budgeted, item_of
from align.apps.serving.asking import (
    Kind,
    Query,
    ask,
    ask_with_item,
    doors,
    load_networks,
    shared,
)
from align.apps.serving.neighbour_map import neighbour_map
from align.apps.serving.pictures import open_picture
from align.apps.serving.raw import raw_view
from align.apps.serving.roots import Roots
from align.data.encoding import Cache
from align.data.escaping import plain
from align.data.multi_vector import MultiVector
from align.data.picture_names import names_picture
from align.retrieval.hits import Hit
from align.retrieval.index.filters import Where
from align.retrieval.index.index import Index
from align.retrieval.retriever import Retriever

View = Literal["aligned", "raw"]

JUDGED = 10
"""Best hits with all vectors, of which a budget should find as many as it can."""

REMEMBERED = 256
"""Queries whose vectors are kept, so that a switch, a filter or a slider encodes nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched with.

    Attributes:
        kind: A typed text, the bytes of a picture, or the id of an indexed item.
        content: The text, the bytes or the id.
    """

    kind: Kind | Literal["item"]
    content: str | bytes


class Gallery:
    """Answers one search at a time, from memory.

    Attributes:
        about: What can be asked.
        roots: Folders whose files may be shown.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        roots: Roots | None = None,
        store: Cache | None = None,
        progress: bool = False,
    ) -> None:
        """Load the encoders, and the raw vectors if there is a store.

        Args:
            retriever: The index with its encoders.
            roots: Folders whose files may be shown; those that hold the indexed files if left out.
            store: Where raw vectors of the items are looked up, and kept once encoded.
            progress: Show a bar over items that have to be encoded.

        Raises:
            FileNotFoundError: With a store, the file of an item is gone.
            PermissionError: With a store, it lies outside the roots.
            ValueError: The index is empty, or the encoder of the side that asks is not known.
        """
        items = _everything(retriever.index)
        paths = [str(item.metadata["path"]) for item in items if "path" in item.metadata]
        self.roots = Roots.around(paths) if roots is None else roots
        self._retriever = retriever
        self._doors = doors(retriever)
        raw = raw_view(retriever, items, self.roots, store, progress=progress)
        self._raw = raw.index
        self.about = About(
            items=len(items),
            modalities={name: n for name, n in retriever.index.modalities.items() if name},
            queries=tuple(self._doors),
            no_raw=raw.reason,
            budgets=_budgets(retriever),
        )
        load_networks(retriever, self._doors)
        self._recent: OrderedDict[tuple[str, bytes], Query] = OrderedDict()
        self._lock = threading.Lock()

    def search(
        self,
        question: Question,
        *,
        k: int,
        view: View = "aligned",
        modalities: Sequence[str] = (),
        budget: int | None = None,
    ) -> Answer:
        """Up to ``k`` hits, best first; fewer where fewer items suit.

        Args:
            question: What to search with; an item does not find itself.
            k: Hits, at least 1.
            view: What to rank by.
            modalities: Names as ``about`` has them; items of any if there are none.
            budget: Vectors used of each item, one of ``about.budgets``; all if left out.

        Raises:
            KeyError: There is no such item.
            ValueError: No encoder takes such a question, there is no raw view, or the budget or a
                modality is not one of those that ``about`` names.
        """
        where = self._where(modalities)
        self._check(view, budget)
        with self._lock:
            start = time.perf_counter()
            query, fresh = self._query(question)
            asked = time.perf_counter()
            hits = self._hits(query, k, view, where, budget)
            done = time.perf_counter()
            return Answer(
                view=view,
                hits=tuple(map(item_of, hits)),
                map=neighbour_map(*self._points(query, hits, view)) if hits else None,
                encode_ms=1000 * (asked - start) if fresh else 0.0,
                search_ms=1000 * (done - asked),
                budget=self._judged(query, view, where, budget),
            )

    def path_of(self, id: str) -> Path:
        """The file of an item that may be shown.

        Raises:
            FileNotFoundError: The item has no file, or it is gone.
            KeyError: There is no such item.
            PermissionError: The file lies outside the roots.
        """
        with self._lock:
            path = self._retriever.index.get([id]).metadata[0].get("path")
        if not isinstance(path, str):
            raise FileNotFoundError(
                f"a thumbnail needs an item with a path; {id!r} has none. Show its text instead."
            )
        return self.roots.find(path)

    def _check(self, view: View, budget: int | None) -> None:
        if view == "raw" and self._raw is None:
            raise ValueError(
                f"the raw view must be available; it is not. {self.about.no_raw} Use view=aligned."
            )
        if budget is not None and (view == "raw" or budget not in self.about.budgets):
            raise ValueError(
                f"a budget must be one of {list(self.about.budgets)}, in the aligned view; got "
                f"{budget}. Leave it out to use all vectors."
            )

    def _where(self, modalities: Sequence[str]) -> Where | None:
        unknown = sorted(set(modalities) - set(self.about.modalities))
        if unknown:
            raise ValueError(
                f"modalities must be among {list(self.about.modalities)}; got {unknown}. "
                "Leave them out to find items of any."
            )
        return {"modality": list(modalities)} if modalities else None

    def _query(self, question: Question) -> tuple[Query, bool]:
        """The query, and whether it was encoded just now."""
        content = question.content
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        key = (question.kind, sha256(data).digest())
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key], False
        if question.kind == "item":
            return ask_with_item(self._retriever, str(content), self._raw), False
        if question.kind not in self._doors:
            raise ValueError(
                f"queries must be of {list(self._doors)} for this index; got one of "
                f"{question.kind!r}. None of its encoders takes that."
            )
        if question.kind == "text" and names_picture(content, look=False):
            raise ValueError(
                f"a typed query must be words; {plain(content)[:100]!r} is the name of a picture, "
                "and pictures are not looked up by name here. Give the picture itself, or put the "
                "name in quotes to search for it as words."
            )
        item = open_picture(content) if isinstance(content, bytes) else content
        made = ask(self._retriever, self._doors[question.kind], item)
        self._recent[key] = made
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        return made, True

    def _hits(
        self, query: Query, k: int, view: View, where: Where | None, budget: int | None
    ) -> list[Hit]:
        index = self._retriever.index
        more = min(k + (query.itself is not None), len(index))
        if view == "aligned":
            cut = None if budget is None or budget == self.about.budgets[-1] else (budget, budget)
            found = index.search(query.vectors, k=more, where=where, budget=cut)[0]
        else:
            assert self._raw is not None and query.raw is not None
            ranked = self._raw.search(query.raw, k=more, where=where)[0]
            found = _described(index, ranked)
        return [hit for hit in found if hit.id != query.itself][:k]

    def _points(self, query: Query, hits: Sequence[Hit], view: View) -> tuple[Tensor, Tensor]:
        ids = [str(hit.id) for hit in hits]
        if view == "raw":
            assert self._raw is not None and query.raw is not None
            return query.raw[0], self._raw.get(ids).vectors.tokens
        index = self._retriever.index
        return shared(self._retriever, query.vectors)[0], shared(
            self._retriever, index.get(ids).vectors
        )

    def _judged(
        self, query: Query, view: View, where: Where | None, budget: int | None
    ) -> Budgeted | None:
        """How a budget does beside all vectors."""
        if view == "raw" or not self.about.budgets:
            return None
        start = time.perf_counter()
        best = {hit.id for hit in self._hits(query, JUDGED, view, where, None)}
        between = time.perf_counter()
        found = {hit.id for hit in self._hits(query, JUDGED, view, where, budget)}
        end = time.perf_counter()
        return Budgeted(
            vectors=budget or self.about.budgets[-1],
            quality=len(best & found) / len(best) if best else 1.0,
            took_ms=1000 * (end - between),
            full_ms=1000 * (between - start),
        )


def _everything(index: Index) -> list[Hit]:
    """All items: an exact search for as many as there are leaves none out."""
    if not len(index):
        raise ValueError("an index needs items to be served; it holds none. Call add first.")
    any_query = MultiVector.from_equal(torch.ones(1, 1, index.dim or 1))
    return index.search(any_query, k=len(index))[0]


def _described(index: Index, ranked: Sequence[Hit]) -> list[Hit]:
    """Hits of raw vectors with what the index knows of the same items."""
    if not ranked:
        return []
    known = index.get([str(hit.id) for hit in ranked])
    return [
        hit._replace(modality=kind, metadata=held)
        for hit, kind, held in zip(ranked, known.modality, known.metadata, strict=True)
    ]


def _budgets(retriever: Retriever) -> tuple[int, ...]:
    """Doubling numbers of vectors, and all; none where items have one."""
    head = retriever.index.adapter
    most = head.vectors if isinstance(head, MetaTokens) else 1
    return tuple(sorted({*(2**at for at in range(most.bit_length())), most})) if most > 1 else ()
