"""An index as a page sees it: which queries it takes, and what it answers."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from torch import Tensor

from align._display.escaping import plain
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.apps.serving.answers import (
    About,
    Answer,
    Budgets,
    Reasons,
    Sample,
    ShownItem,
    shown_item,
)
from align.apps.serving.budget_costs import QUERIES, budget_costs
from align.apps.serving.changes import IndexChangedError, Watch
from align.apps.serving.contents import Contents, Shown, contents_of
from align.apps.serving.first_view import evenly_spaced
from align.apps.serving.neighbour_map import neighbour_map
from align.apps.serving.pictures import open_picture
from align.apps.serving.queries import (
    Kind,
    Query,
    encode_queries,
    in_shared_space,
    load_networks,
    query_of_item,
    query_routes,
)
from align.apps.serving.reasons import reasons_of
from align.apps.serving.weak_matches import line_of, random_texts
from align.data.picture_names import names_picture
from align.retrieval.examples import EVEN, composed
from align.retrieval.hits import Hit, SearchResults
from align.retrieval.index.filters import Where
from align.retrieval.index.inputs import packed
from align.retrieval.picture_paths import FIELD
from align.retrieval.retriever import Retriever

View = Literal["aligned", "raw"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched with: a typed text, the bytes of a picture, or the id of an item.

    A picture or item may have a modification: a text that says what should be different.
    """

    kind: Kind | Literal["item"]
    content: str | bytes
    modification: str | None = None
    weight: float = EVEN  # of the modification, in [0, 1]


@dataclass(frozen=True, slots=True)
class Scope:
    """Where and by what is searched."""

    view: View = "aligned"
    modalities: tuple[str, ...] = ()  # of items that may be found; of any if there are none
    budget: int | None = None  # vectors of each item; all if it is None

    @property
    def where(self) -> Where | None:
        """The filter of the modalities."""
        return {"modality": list(self.modalities)} if self.modalities else None


_EVERYTHING = Scope()

_ROUNDING = 1e-5
"""Texts that an encoder does not tell apart have one score, but for rounding: on one side of it."""
_DEFAULT = Shown()


class Gallery:
    """An index behind a page; it answers one search at a time, from memory.

    What another process saves to the folder of the index is seen by the next request.
    """

    def __init__(
        self, retriever: Retriever, *, shown: Shown = _DEFAULT, most_queries: int = 256
    ) -> None:
        """Load the encoders, and the raw vectors if there is a store.

        The vectors of ``most_queries`` are remembered, so that a switch, a filter or a slider
        encodes nothing.

        Raises:
            PermissionError: With a store, the file of an item lies outside the roots.
            ValueError: The index is empty, the encoder of the queries' side is not known, or no
                item has the field that captions come from.
        """
        self._retriever = retriever
        self._shown = shown
        self._routes = query_routes(retriever)
        self._budgets = _budgets(retriever)
        self._watch = Watch(retriever.index)
        self._watch.changed()
        self._stale = False
        self._contents = self._look()
        load_networks(retriever, self._routes)
        self._random = self._encode_random()
        self._lines: dict[Scope, float] = {}
        self._line(_EVERYTHING)  # not while the first query waits
        self._recent: OrderedDict[tuple[str, bytes], Query] = OrderedDict()
        self._most_queries = most_queries
        self._costs = Budgets(0, ())
        self._lock = threading.Lock()

    @property
    def about(self) -> About:
        """What is served now."""
        with self._lock:
            return self._now().about

    def sample(self, k: int) -> Sample:
        """At most ``k`` items, evenly spaced over the index."""
        with self._lock:
            contents = self._now()
            chosen = evenly_spaced(contents.sample, k)
            caption = contents.about.caption
            return Sample(tuple(shown_item(hit, caption=caption, scored=False) for hit in chosen))

    def search(
        self, question: Question, *, k: int, start: int = 0, scope: Scope = _EVERYTHING
    ) -> Answer:
        """Up to ``k`` hits after the first ``start``, best first; no item finds itself.

        Raises:
            IndexChangedError: The folder holds another index than when the gallery was made.
            KeyError: There is no such item.
            ValueError: No encoder takes such a question, there is no raw view, or the budget or a
                modality is not one of those that ``about`` names.
        """
        with self._lock:
            contents = self._now()
            _check(contents.about, scope)
            begin = time.perf_counter()
            query, fresh = self._asked(question, scope)
            encoded = time.perf_counter()
            found = self._hits(query, start + k + 1, scope)
            end = time.perf_counter()
            hits = found[start : start + k]
            line = self._line(scope) if question.kind == "text" else None  # of words alone
            caption = contents.about.caption
            first_hits = hits if start == 0 else []
            return Answer(
                view=scope.view,
                item=self._item(query.item_id),
                hits=tuple(shown_item(hit, caption=caption, line=line) for hit in hits),
                more=len(found) > start + k,
                line=line,
                map=neighbour_map(*self._points(query, hits, scope.view)) if first_hits else None,
                encode_ms=1000 * (encoded - begin) if fresh else 0.0,
                search_ms=1000 * (end - encoded),
            )

    def path_of(self, id: str) -> Path:
        """The file of an item that may be shown.

        Raises:
            FileNotFoundError: The item has no file, or it is gone.
            IndexChangedError: As for ``search``.
            KeyError: There is no such item.
            PermissionError: The file lies outside the roots.
        """
        with self._lock:
            contents = self._now()
            path = self._retriever.index.get([id]).metadata[0].get(FIELD)
        if not isinstance(path, str):
            raise FileNotFoundError(
                f"a thumbnail needs an item with a path; {id!r} has none. Show its text instead."
            )
        return contents.find(path)

    def reasons(self, text: str, id: str) -> Reasons:
        """Why an item is found for a text, in the aligned view and with all vectors.

        Raises:
            IndexChangedError: As for ``search``.
            KeyError: There is no such item.
            PermissionError: The file of the item lies outside the roots.
            ValueError: Texts ask for items of their own side here, or items have several vectors.
        """
        with self._lock:
            contents = self._now()
            route = self._routes.get("text")
            if route is None or route.side != self._retriever.query_side:
                raise ValueError(
                    "a score is explained for texts of the side that asks; here texts are of the "
                    "indexed side or not taken. Search with a text across the sides."
                )
            path = self._retriever.index.get([id]).metadata[0].get(FIELD)
            file = None
            if isinstance(path, str):
                with suppress(FileNotFoundError):  # explained by its stored vector
                    file = contents.find(path)
            return reasons_of(self._retriever, text, id, file)

    def budgets(self) -> Budgets:
        """What the budgets cost; nothing yet before ``measure_budgets`` was called."""
        with self._lock:
            return self._costs

    def measure_budgets(self) -> None:
        """Compare the budgets over items as queries, one search at a time between others."""
        if not self._budgets:
            return
        with self._lock:
            contents = self._now()
        ids = [str(hit.id) for hit in evenly_spaced(contents.sample, QUERIES)]
        costs = budget_costs(ids, self._budgets, self._hits_of_item)
        with self._lock:
            self._costs = costs

    def _hits_of_item(self, id: str, k: int, budget: int) -> list[Hit]:
        with self._lock:
            if id not in self._retriever.index:  # deleted meanwhile
                return []
            query = query_of_item(self._retriever, id, None)
            return self._hits(query, k, Scope(budget=budget))

    def _now(self) -> Contents:
        """The contents, after what has changed in the folder was taken over."""
        self._stale = self._watch.changed() or self._stale
        if self._stale:
            try:
                self._contents = self._look()
            except (PermissionError, ValueError) as error:
                raise IndexChangedError(str(error)) from error
            self._lines.clear()
            self._stale = False
        return self._contents

    def _look(self) -> Contents:
        text = self._routes.get("text")
        return contents_of(
            self._retriever,
            self._shown,
            queries=tuple(self._routes),
            composed=text is not None and text.side == self._retriever.query_side,
            budgets=self._budgets,
        )

    def _asked(self, question: Question, scope: Scope) -> tuple[Query, bool]:
        """The query with its modification, and whether any of it was encoded just now."""
        query, fresh = self._query(question)
        if question.modification is None:
            return query, fresh
        if not self._contents.about.composed or scope.view == "raw":
            raise ValueError(
                "a picture or item may have a text beside it where texts ask across the sides and "
                "items have one vector each, in the aligned view; here that is "
                f"{self._contents.about.composed}, and the view is {scope.view}. Leave q out."
            )
        words, encoded = self._query(Question("text", question.modification))
        dim = self._retriever.embedder.adapter.dim
        both = composed(query.vectors, words.vectors, question.weight, dim=dim)
        return Query(packed(both), None, item_id=query.item_id), fresh or encoded

    def _query(self, question: Question) -> tuple[Query, bool]:
        """The query, and whether it was encoded just now."""
        content = question.content
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        key = (question.kind, sha256(data).digest())
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key], False
        if question.kind == "item":
            return query_of_item(self._retriever, str(content), self._contents.raw), False
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
        query = encode_queries(self._retriever, self._routes[question.kind], [item])
        self._recent[key] = query
        if len(self._recent) > self._most_queries:
            self._recent.popitem(last=False)
        return query, True

    def _hits(self, query: Query, k: int, scope: Scope) -> list[Hit]:
        """The best hits of one query, itself left out."""
        k_with_itself = min(k + (query.item_id is not None), len(self._retriever.index))
        hits: list[Hit] = self._best(query, k_with_itself, scope)[0]
        if scope.view == "raw" and hits:
            known = self._retriever.index.get([str(hit.id) for hit in hits])
            described = zip(hits, known.modality, known.metadata, strict=True)
            hits = [hit._replace(modality=kind, metadata=held) for hit, kind, held in described]
        return [hit for hit in hits if hit.id != query.item_id][:k]

    def _best(self, query: Query, k: int, scope: Scope) -> SearchResults:
        """The best hits of each of several queries."""
        if scope.view == "aligned":
            cut = None if scope.budget in (None, *self._budgets[-1:]) else scope.budget
            both = None if cut is None else (cut, cut)
            return self._retriever.index.search(query.vectors, k=k, where=scope.where, budget=both)
        assert self._contents.raw is not None and query.raw is not None
        return self._contents.raw.search(query.raw, k=k, where=scope.where)

    def _encode_random(self) -> Query | None:
        route = self._routes.get("text")
        return None if route is None else encode_queries(self._retriever, route, random_texts())

    def _line(self, scope: Scope) -> float | None:
        """The score that a match of a text must exceed, so searched; found out once."""
        if self._random is None:
            return None
        if scope not in self._lines:
            best = self._best(self._random, 1, scope)
            line = line_of([hits[0].score for hits in best])  # about names what there is
            self._lines[scope] = line + _ROUNDING * max(1.0, abs(line))
        return self._lines[scope]

    def _item(self, id: str | None) -> ShownItem | None:
        """The item that was searched with, if it was one."""
        if id is None:
            return None
        held = self._retriever.index.get([id])
        hit = Hit(id, 0.0, held.modality[0], held.metadata[0])
        return shown_item(hit, caption=self._contents.about.caption, scored=False)

    def _points(self, query: Query, hits: Sequence[Hit], view: View) -> tuple[Tensor, Tensor]:
        """The vectors of the query and of its hits that a map shows."""
        ids = [str(hit.id) for hit in hits]
        if view == "raw":
            assert self._contents.raw is not None and query.raw is not None
            return query.raw[0], self._contents.raw.get(ids).vectors.tokens
        stored = self._retriever.index.get(ids).vectors
        return (
            in_shared_space(self._retriever, query.vectors)[0],
            in_shared_space(self._retriever, stored),
        )


def _check(about: About, scope: Scope) -> None:
    """Raise ``ValueError`` unless a search has a view, a budget and modalities that there are."""
    if scope.view == "raw" and about.no_raw is not None:
        raise ValueError(
            f"the raw view must be available; it is not. {about.no_raw} Use view=aligned."
        )
    if scope.budget is not None and (scope.view == "raw" or scope.budget not in about.budgets):
        raise ValueError(
            f"a budget must be one of {list(about.budgets)}, in the aligned view; got "
            f"{scope.budget}. Leave it out to use all vectors."
        )
    unknown = sorted(set(scope.modalities) - set(about.modalities))
    if unknown:
        raise ValueError(
            f"modalities must be among {list(about.modalities)}; got {unknown}. "
            "Leave them out to find items of any."
        )


def _budgets(retriever: Retriever) -> tuple[int, ...]:
    """Doubling numbers of vectors, and all; none where items have one."""
    head = retriever.index.adapter
    most = head.vectors if isinstance(head, MetaTokens) else 1
    return tuple(sorted({*(2**at for at in range(most.bit_length())), most})) if most > 1 else ()
