"""The frame of a video that a query matches best, and the second at which it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from align.data.multi_vector import MultiVector
from align.retrieval.moments import FIELD
from align.scoring.pair_scores import best_tokens


def second_of(
    query: MultiVector, items: MultiVector, row: int, metadata: Mapping[str, Any]
) -> float | None:
    """The second of the frame of an item that a query of one packed item matches best.

    ``None`` where the item has no seconds for its vectors; of equal frames the first.
    """
    seconds = metadata.get(FIELD)
    if not isinstance(seconds, list):
        return None
    item = items.take(torch.tensor([row]))
    if int(item.lengths[0]) > len(seconds):
        return None  # what somebody else keeps under this name
    best = best_tokens(query, item, [(0, 0)])
    return float(seconds[int(best.places[int(best.values.argmax())])])
