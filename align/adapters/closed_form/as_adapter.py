"""Maps that were fitted to raw pairs as an adapter with a card."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import SideMap
from align.adapters.training_items import TrainingItems


def as_adapter(method: str, maps: Sequence[SideMap], source: Tensor, target: Tensor) -> Adapter:
    """The two maps that ``method`` fitted to raw pairs as an adapter that remembers these."""
    card = Card(method, len(source), source.shape[1], target.shape[1])
    source_map, target_map = maps
    items = TrainingItems.of(source, target)
    return Adapter(source_map, target_map, card, training_items=items)
