"""A retriever that already runs, asked with items of the other modality."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import as_list, check_at_least, check_length, check_matrix
from align.adapters.adapter import Adapter, Side, other_side
from align.embeddings import Encoder, Vectors, as_tensor
from align.retrieval.embedder import Embedder
from align.retrieval.hits import Hit

Search = Callable[[np.ndarray[Any, Any], int], tuple[Any, Any]]
"""Float32 queries ``(q, d)`` and ``k`` in; ids and scores out, each ``(q, k)``, best first."""

SAME = 0.98
"""Mean cosine between stored and expected vectors from which they count as the same: int8 and
float16 storage keep more, another model of the same width far less."""


def wrap(
    search: Search,
    adapter: Adapter,
    encoder: Encoder | None = None,
    *,
    side: Side = "source",
    stored: tuple[Sequence[Any], Vectors] | None = None,
    stored_encoder: Encoder | None = None,
) -> Wrapped:
    """A retriever for items of ``side`` over vectors that a running retriever keeps as they are.

    A query-only adapter, from ``fit(side="source")`` or ``upgrade``, asks an index of the other
    encoder's own vectors, searched by cosine. Any other adapter asks an index of its ``gallery``
    vectors, searched by inner product. Nothing is written: dropping the wrapper undoes it.

    Args:
        search: The running retriever: float32 query vectors ``(q, d)`` and ``k`` in, ids and
            scores out, each ``(q, k)`` and best first. Ids are strings or whole numbers; ``None``
            or -1 pads a row with fewer results.
        adapter: Maps queries into the space of the stored vectors.
        encoder: Encoder of the side that asks; built from the adapter's card if left out.
        side: The side that asks.
        stored: Items that the index holds and the vectors stored for them, ``(n, d)``. They are
            encoded anew and compared, so that an index of another encoder is refused; some tens
            are enough.
        stored_encoder: Encoder of the stored items; built from the adapter's card if left out.

    Raises:
        ValueError: The stored vectors are not those that the adapter expects.
    """
    other = other_side(side)
    encoders = {side: encoder, other: stored_encoder}
    embedder = Embedder(adapter, source=encoders["source"], target=encoders["target"])
    if stored is not None:
        items, vectors = stored
        check_stored(vectors, embedder.gallery(items, side=other))
    return Wrapped(search, embedder, side)


class Wrapped:
    """What ``wrap`` gives: the running retriever, asked with raw items."""

    def __init__(self, search: Search, embedder: Embedder, side: Side) -> None:
        self._search = search
        self._embedder = embedder
        self._side = side

    def search(
        self,
        items: Sequence[Any],
        *,
        k: int = 10,
        modality: str | Sequence[str] | None = None,
        instruction: str | None = None,
    ) -> list[list[Hit]]:
        """Up to ``k`` hits for each item, in the order in which the retriever gave them.

        Args:
            items: Queries, as the encoder of the side that asks takes them.
            k: Hits per query, at least 1.
            modality: Modality of each item, or of all; only where the encoder is of several.
            instruction: What to look for, if the adapter takes instructions.

        Raises:
            ValueError: ``k`` is below 1, an item does not suit the encoder, or the retriever
                answered with another number of rows, or ids and scores that do not match.
        """
        check_at_least("k", k, 1)
        items = as_list("items", items)
        if not items:
            return []
        asked = self._embedder.queries(
            items, side=self._side, modality=modality, instruction=instruction
        )
        ids, scores = self._search(np.ascontiguousarray(asked.cpu().numpy()), k)
        check_length("ids that search returned", ids, len(items))
        check_length("scores that search returned", scores, len(items))
        return [_hits(*row) for row in zip(_plain(ids), _plain(scores), strict=True)]


def check_stored(stored: Vectors, expected: Tensor) -> None:
    """Raise ``ValueError`` unless stored vectors point where those of the adapter's encoder do.

    Args:
        stored: What the index holds for some items, ``(n, d)``, of any length.
        expected: What the adapter gives for the same items, ``(n, d)``.
    """
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
    if not cosine >= SAME:
        raise ValueError(
            f"stored vectors must be those of the encoder that the adapter was fitted on, with a "
            f"mean cosine of at least {SAME} to them; got {cosine:.3f} over {n} items. Index the "
            "items with that encoder, fit an adapter for the encoder that filled this index, or "
            "check that items and vectors are in the same order."
        )


def _plain(rows: Any) -> list[list[Any]]:
    """Rows as lists of Python values, whatever arrays or lists they came as."""
    if isinstance(rows, torch.Tensor | np.ndarray):
        return rows.tolist()
    return [row.tolist() if hasattr(row, "tolist") else list(row) for row in rows]


def _hits(ids: list[Any], scores: list[Any]) -> list[Hit]:
    check_length("scores of one query", scores, len(ids))
    found = [
        (name, float(score))
        for name, score in zip(ids, scores, strict=True)
        if name is not None and name != -1
    ]
    if any(math.isnan(score) for _, score in found):
        raise ValueError(
            "scores must be numbers; the retriever gave NaN. Look for zero or damaged vectors in "
            "the index."
        )
    return [Hit(name, score) for name, score in found]
