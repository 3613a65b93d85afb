"""Searches over vector databases, in the form that ``align.wrap`` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

Answers = tuple[list[list[Any]], Floats]
"""Ids and scores, both ``(q, k)``, best first."""

Search = Callable[[Floats, int], Answers]
"""Query vectors ``(q, d)`` and ``k`` in, ``Answers`` out; ``None`` and minus infinity where the
database finds fewer than ``k``."""


def padded(results: Sequence[Sequence[tuple[Any, float]]], k: int) -> Answers:
    """``(id, score)`` of each query's results, and ``None`` and minus infinity up to ``k``."""
    scores = np.full((len(results), k), -np.inf, dtype=np.float32)
    for row, hits in enumerate(results):
        scores[row, : len(hits)] = [score for _, score in hits]
    return [[name for name, _ in hits] + [None] * (k - len(hits)) for hits in results], scores


def check_unit_norm(vectors: NDArray[Any], *, space: str) -> None:
    """Raise ``ValueError`` unless all rows have unit norm, where a cosine is an inner product.

    Vectors of an adapter with a hubness correction or a preference have further columns and are
    longer, so a search by cosine or distance would rank them by something else.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    others = np.abs(lengths - 1) > 1e-3
    if others.any():
        raise ValueError(
            f"this collection ranks by {space}, which is the inner product for vectors of unit "
            f"norm only; {int(others.sum())} of {len(others)} queries have another, the first "
            f"{lengths[others][0]:.4g}. An adapter with a hubness correction gives such vectors: "
            "store its gallery vectors in a collection that ranks by inner product."
        )
