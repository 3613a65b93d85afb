"""What a search of an index answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from align.kernels.topk import Neighbours


class Hit(NamedTuple):
    """One found item.

    Attributes:
        id: The id it was added under.
        score: What it was ranked by. In an ``Index``, the inner product in the shared space, the
            adapter's hubness correction included; in a ``MultiVectorIndex``, MaxSim.
    """

    id: str
    score: float


def name_hits(ids: Sequence[str], found: Neighbours) -> list[list[Hit]]:
    """Ids and scores of the neighbours of each query; ``ids[row]`` names gallery row ``row``."""
    return [
        [Hit(ids[row], score) for row, score in zip(rows, scores, strict=True)]
        for rows, scores in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]
