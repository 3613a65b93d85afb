"""An index as a page sees it: which queries it takes, and what it answers."""

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

from align._display.escaping import plain
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.apps.serving.answers import About, Answer, BudgetCost, shown_item
from align.apps.serving.neighbour_map import neighbour_map
from align.apps.serving.pictures import open_picture
from align.apps.serving.queries import (
    Kind,
    Query,
    encode_query,
    in_shared_space,
    load_networks,
    query_of_item,
    query_routes,
)
from align.apps.serving.raw import raw_view
from align.apps.serving.roots import Roots
from align.data.encoding import Cache
from align.data.multi_vector import MultiVector
from align.data.picture_names import names_picture
from align.retrieval.hits import Hit
from align.retrieval.index.filters import Where
from align.retrieval.index.index import Index
from align.retrieval.retriever import Retriever

View = Literal["aligned", "raw"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched with: a typed text, the bytes of a picture, or the id of an item."""

    kind: Kind | Literal["item"]
    content: str | bytes


class Gallery:
    """An index behind a page; it answers one search at a time, from memory."""

    def __init__(
        self,
        retriever: Retriever,
        *,
        roots: Roots | None = None,
        store: Cache | None = None,
        progress: bool = False,
        most_queries: int = 256,
    ) -> None:
        """Load the encoders, and the raw vectors if there is a store.

        Files in ``roots`` may be shown; by default those in the folders of the indexed files. The
        vectors of ``most_queries`` are remembered, so that a switch, a filter or a slider encodes
        nothing.

        Raises:
            FileNotFoundError: With a store, the file of an item is gone.
            PermissionError: With a store, it lies outside the roots.
            ValueError: The index is empty, or the encoder of the queries' side is not known.
        """
        items = _all_items(retriever.index)
        paths = [str(item.metadata["path"]) for item in items if "path" in item.metadata]
        self.roots = Roots.around(paths) if roots is None else roots
        self._retriever = retriever
        self._routes = query_routes(retriever)
        raw = raw_view(retriever, items, self.roots, store, progress=progress)
        self._raw = raw.index
        self.about = About(
            items=len(items),
            modalities={name: n for name, n in retriever.index.modalities.items() if name},
            queries=tuple(self._routes),
            no_raw=raw.reason,
            budgets=_budgets(retriever),
        )
        load_networks(retriever, self._routes)
        self._recent: OrderedDict[tuple[str, bytes], Query] = OrderedDict()
        self._most_queries = most_queries
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
        """Up to ``k`` hits of the ``modalities``, or of any, best first; no item finds itself.

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
            encoded = time.perf_counter()
            hits = self._hits(query, k, view, where, budget)
            end = time.perf_counter()
            return Answer(
                view=view,
                hits=tuple(map(shown_item, hits)),
                map=neighbour_map(*self._points(query, hits, view)) if hits else None,
                encode_ms=1000 * (encoded - start) if fresh else 0.0,
                search_ms=1000 * (end - encoded),
                budget=self._cost(query, view, where, budget),
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
            return query_of_item(self._retriever, str(content), self._raw), False
        if question.kind not in self._routes:
            raise ValueError(
                f"queries must be of {list(self._routes)} for this index; got one of "
                f"{question.kind!r}. None of its encoders takes that."
            )
        if question.kind == "text" and names_picture(content, look=False):
            raise ValueError(
                f"a typed query must be words; {plain(content)[:100]!r} is the name of a picture, "
                "and pictures are not looked up by name here. Give the picture itself, or put the "
                "name in quotes to search for it as words."
            )
        item = open_picture(content) if isinstance(content, bytes) else content
        query = encode_query(self._retriever, self._routes[question.kind], item)
        self._recent[key] = query
        if len(self._recent) > self._most_queries:
            self._recent.popitem(last=False)
        return query, True

    def _hits(
        self, query: Query, k: int, view: View, where: Where | None, budget: int | None
    ) -> list[Hit]:
        index = self._retriever.index
        k_with_itself = min(k + (query.item_id is not None), len(index))
        if view == "aligned":
            cut = None if budget is None or budget == self.about.budgets[-1] else (budget, budget)
            [hits] = index.search(query.vectors, k=k_with_itself, where=where, budget=cut)
        else:
            assert self._raw is not None and query.raw is not None
            [hits] = self._raw.search(query.raw, k=k_with_itself, where=where)
            known = index.get([str(hit.id) for hit in hits]) if hits else None
            if known is not None:
                described = zip(hits, known.modality, known.metadata, strict=True)
                hits = [hit._replace(modality=kind, metadata=m) for hit, kind, m in described]
        return [hit for hit in hits if hit.id != query.item_id][:k]

    def _points(self, query: Query, hits: Sequence[Hit], view: View) -> tuple[Tensor, Tensor]:
        """The vectors of the query and of its hits that a map shows."""
        ids = [str(hit.id) for hit in hits]
        if view == "raw":
            assert self._raw is not None and query.raw is not None
            return query.raw[0], self._raw.get(ids).vectors.tokens
        stored = self._retriever.index.get(ids).vectors
        return (
            in_shared_space(self._retriever, query.vectors)[0],
            in_shared_space(self._retriever, stored),
        )

    def _cost(
        self, query: Query, view: View, where: Where | None, budget: int | None
    ) -> BudgetCost | None:
        """What a budget costs, by the best ten hits beside those with all vectors."""
        if view == "raw" or not self.about.budgets:
            return None
        start = time.perf_counter()
        best = {hit.id for hit in self._hits(query, 10, view, where, None)}
        between = time.perf_counter()
        found = {hit.id for hit in self._hits(query, 10, view, where, budget)}
        end = time.perf_counter()
        return BudgetCost(
            vectors=budget or self.about.budgets[-1],
            quality=len(best & found) / len(best) if best else 1.0,
            took_ms=1000 * (end - between),
            full_ms=1000 * (between - start),
        )


def _all_items(index: Index) -> list[Hit]:
    """All items: an exact search for as many as there are leaves none out."""
    if not len(index):
        raise ValueError("an index needs items to be served; it holds none. Call add first.")
    any_query = MultiVector.from_equal(torch.ones(1, 1, index.dim or 1))
    return index.search(any_query, k=len(index))[0]


def _budgets(retriever: Retriever) -> tuple[int, ...]:
    """Doubling numbers of vectors, and all; none where items have one."""
    head = retriever.index.adapter
    most = head.vectors if isinstance(head, MetaTokens) else 1
    return tuple(sorted({*(2**at for at in range(most.bit_length())), most})) if most > 1 else ()
