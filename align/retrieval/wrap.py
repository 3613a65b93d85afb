"""A retriever that already runs, searched with items of the other modality."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from align._checks import as_list, check_at_least, check_length, check_matrix, check_unique
from align._display.panel import render
from align.adapters.adapter import Adapter
from align.adapters.calibration.confidence import CONSIDERED, Confidence
from align.data.embeddings import Vectors, as_tensor
from align.data.encoding import Encoder
from align.data.sides import Side, other_side
from align.retrieval.embedder import Embedder
from align.retrieval.fusion import as_score
from align.retrieval.hits import NOTHING, Hit, Hits, Id, SearchResults
from align.retrieval.panels import wrapped_line, wrapped_panel

SearchFunction = Callable[[np.ndarray[Any, Any], int], tuple[Any, ...]]
"""Float32 queries ``(q, d)`` and ``k`` in; ids and scores out, each ``(q, k)``, best first.

What is stored beside each item may be a third, ``(q, k)`` mappings or ``None``: hits carry it as
their metadata, and a notebook shows the picture at its ``path``, or its ``text``. An infinite score
is the best or the worst that there is; NaN is refused, as it has no place."""


def wrap(
    search: SearchFunction,
    adapter: Adapter,
    encoder: Encoder | None = None,
    *,
    side: Side = "source",
    size: int | None = None,
    stored: tuple[Sequence[Any], Vectors] | None = None,
    stored_encoder: Encoder | None = None,
) -> Wrapped:
    """A retriever for items of ``side`` over vectors that a running retriever keeps as they are.

    A query-only adapter, from ``fit(side="source")`` or ``upgrade``, searches an index of the other
    encoder's own vectors by cosine. Any other adapter searches an index of its ``gallery`` vectors
    by inner product. Nothing is written: dropping the wrapper undoes it.

    Args:
        search: The running retriever: float32 query vectors ``(q, d)`` and ``k`` in, ids and
            scores out, each ``(q, k)`` and best first, and metadata as a third where it has any.
            Ids are strings or whole numbers; ``None`` or -1 pads a row with fewer results.
        adapter: Maps queries into the space of the stored vectors.
        encoder: Encoder of the queries; built from the adapter's card if left out.
        side: The side of the queries.
        size: About how many items the index holds. Hits then have a confidence, where the adapter
            is calibrated and scores are inner products; the retriever is asked for 50 hits or more.
        stored: Items that the index holds and the vectors stored for them, ``(n, d)``. They are
            encoded anew and compared, so that an index of another encoder is refused; some tens
            are enough.
        stored_encoder: Encoder of the stored items; built from the adapter's card if left out.

    Raises:
        ValueError: The stored vectors are not those that the adapter expects, or there is a size
            below 1, or one without a calibration.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> notes = rng.standard_normal((300, 8)).astype("f4")
        >>> photos = (notes @ rng.standard_normal((8, 12))).astype("f4")
        >>> photos /= np.linalg.norm(photos, axis=1, keepdims=True)
        >>> def search(vectors, k):  # the retriever that runs
        ...     scores = vectors @ photos.T
        ...     rows = np.argsort(-scores, axis=1)[:, :k]
        ...     return rows, np.take_along_axis(scores, rows, axis=1)
        >>> text = align.CallableEncoder(lambda rows: notes[rows], name="notes", dim=8)
        >>> adapter = align.fit(notes, photos, side="source", effort="fast")
        >>> align.wrap(search, adapter, text).search([7], k=1)[0][0].id
        7
    """
    other = other_side(side)
    encoders = {side: encoder, other: stored_encoder}
    embedder = Embedder(adapter, source=encoders["source"], target=encoders["target"])
    if stored is not None:
        items, vectors = as_list("the items of stored", stored[0]), stored[1]
        check_stored(vectors, embedder.gallery(items, side=other))
    return Wrapped(search, embedder, side, size=size)


class Wrapped:
    """What ``wrap`` gives: the running retriever, searched with raw items."""

    def __init__(
        self,
        search: SearchFunction,
        embedder: Embedder[Tensor],
        side: Side,
        *,
        size: int | None = None,
    ) -> None:
        self._search = search
        self._embedder = embedder
        self._side = side
        self._size = size
        self._confidence: Confidence | None = None
        if size is not None:
            check_at_least("size", size, 1)
            calibration = embedder.adapter.calibration
            if calibration is None:
                raise ValueError(
                    f"a confidence needs an adapter that is calibrated; got size={size} and one "
                    "that is not. Call adapter.calibrated(held_out) first, or leave size out."
                )
            self._confidence = calibration.confidence(side)

    def __repr__(self) -> str:
        return wrapped_line(self._search, self._asking, self._embedder)

    def _repr_html_(self) -> str:
        return render(wrapped_panel(self._search, self._asking, self._embedder.panel()))

    @property
    def _asking(self) -> str:
        """What people call the side of the queries."""
        return self._embedder.adapter.card.side_name(self._side)

    def search(
        self,
        items: Sequence[Any],
        *,
        k: int = 10,
        modality: str | Sequence[str] | None = None,
        instruction: str | None = None,
    ) -> SearchResults:
        """Up to ``k`` hits for each item, in the order in which the retriever gave them.

        ``items``, ``modality`` and ``instruction`` are those of ``Embedder.queries``.

        Raises:
            TypeError: ``items`` is one item, or the retriever gave no tuple of two or three, ids
                that are neither strings nor whole numbers, scores that are no numbers, or metadata
                that are no mappings.
            ValueError: ``k`` is below 1, an item does not suit the encoder, or the retriever gave
                another number of rows, more than ``k`` hits, an id twice, a score that is NaN, or
                ids, scores and metadata that do not match.
        """
        check_at_least("k", k, 1)
        items = as_list("items", items)
        if not items:
            return SearchResults()
        queries = self._embedder.queries(
            items, side=self._side, modality=modality, instruction=instruction
        )
        answer = self._search(np.ascontiguousarray(queries.cpu().numpy()), self._wanted(k))
        ids, scores, metadata = _three(answer)
        check_length("ids that search returned", ids, len(items))
        check_length("scores that search returned", scores, len(items))
        held: list[list[Any]] | None = None
        if metadata is not None:
            check_length("metadata that search returned", metadata, len(items))
            held = _plain(metadata)
        names, numbers = _plain(ids), _plain(scores)
        return SearchResults(
            Hits(
                self._hits(names[row], numbers[row], None if held is None else held[row], k=k),
                query=item,
            )
            for row, item in enumerate(items)
        )

    def _hits(
        self, ids: list[Any], scores: list[Any], metadata: list[Any] | None, *, k: int
    ) -> list[Hit]:
        """The hits of one query, of which the retriever may have given more to be sure of them."""
        check_length("scores of one query", scores, len(ids))
        if metadata is None:
            metadata = [None] * len(ids)
        check_length("metadata of one query", metadata, len(ids))
        given = [
            (name, as_score(name, score), held)
            for name, score, held in zip(ids, scores, metadata, strict=True)
            if name is not None and name != -1
        ]
        wanted = self._wanted(k)
        if len(given) > wanted:
            raise ValueError(
                f"search must return at most k ids for each query, {wanted}; got {len(given)}. "
                "Cut its rows to k."
            )
        sure = self._probabilities([score for _, score, _ in given])
        hits = [
            Hit(_id(name), score, None, NOTHING if held is None else _held(name, held), known)
            for (name, score, held), known in zip(given[:k], sure, strict=False)
        ]
        check_unique("the ids of one ranking", [hit.id for hit in hits])
        return hits

    def _wanted(self, k: int) -> int:
        return k if self._confidence is None else max(k, CONSIDERED)

    def _probabilities(self, scores: list[float]) -> Iterable[float | None]:
        """The confidence of each hit; none of a retriever whose scores do not fall."""
        if self._confidence is None or self._size is None or not scores:
            return repeat(None)
        if not math.isfinite(scores[0] - scores[-1]) or scores != sorted(scores, reverse=True):
            return repeat(None)
        return self._confidence.probabilities(scores, max(self._size, len(scores)))


def check_stored(stored: Vectors, expected: Tensor) -> None:
    """Raise ``ValueError`` unless stored vectors of any length point where expected ones do."""
    rows = as_tensor(stored).float().to(expected.device)
    n, d = expected.shape
    if rows.ndim != 2 or rows.shape != (n, d):
        raise ValueError(
            f"stored vectors must be ({n}, {d}), one per item and as wide as the adapter's "
            f"gallery vectors; got {tuple(rows.shape)}. Pass the vectors of exactly these items; "
            "if the width differs, the index was built by another encoder, or for another adapter."
        )
    check_matrix("stored vectors", rows)
    cosine = float(F.cosine_similarity(rows, expected, dim=1).mean())
    same = 0.98  # int8 and float16 storage keep more, another model of this width far less
    if not cosine >= same:
        raise ValueError(
            f"stored vectors must be those of the encoder that the adapter was fitted on, with a "
            f"mean cosine of at least {same} to them; got {cosine:.3f} over {n} items. Index the "
            "items with that encoder, fit an adapter for the encoder that filled this index, or "
            "check that items and vectors are in the same order."
        )


def _three(answer: Any) -> tuple[Any, Any, Any]:
    """Ids, scores, and metadata or ``None``, of what a retriever answered."""
    if not isinstance(answer, tuple | list) or len(answer) not in (2, 3):
        came = type(answer).__name__
        came += f" of {len(answer)}" if isinstance(answer, tuple | list) else ""
        raise TypeError(
            "search must return a tuple, (ids, scores) or (ids, scores, metadata), each with a row "
            f"for each query; got {came}. Return these."
        )
    ids, scores, *rest = answer
    return ids, scores, rest[0] if rest else None


def _plain(rows: Any) -> list[list[Any]]:
    """Arrays, tensors and lists of their values as lists of Python's."""
    lists = [
        row.tolist()
        if isinstance(row, np.ndarray | Tensor) and row.ndim == 1
        else as_list("a row that search returned", row)
        for row in rows
    ]
    return [[each.tolist() if hasattr(each, "tolist") else each for each in row] for row in lists]


def _id(name: Any) -> Id:
    if not isinstance(name, (str, int)) or isinstance(name, bool):
        raise TypeError(
            "ids that search returns must be strings or whole numbers, or None or -1 where there "
            f"is no further result; got {name!r} of type {type(name).__name__}. Convert them."
        )
    return name


def _held(name: Any, held: Any) -> Mapping[str, Any]:
    if not isinstance(held, Mapping):
        raise TypeError(
            "metadata that search returns must be mappings, or None where there are none; that of "
            f"{name!r} is of type {type(held).__name__}. Return dictionaries."
        )
    return held
