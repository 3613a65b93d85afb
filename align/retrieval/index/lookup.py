"""Where the items of an index lie, by their ids, and what is stored of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from align.data.multi_vector import MultiVector
from align.retrieval.storage.id_table import hash_ids
from align.retrieval.storage.metadata import modality_name
from align.retrieval.storage.segment import take_across
from align.retrieval.storage.segments import Part, starts_of


class Place(NamedTuple):
    """The part, and the row in it, of an item."""

    part: int
    row: int


@dataclass(frozen=True, slots=True, eq=False)
class IndexedItems:
    """What an index holds of some items.

    Attributes:
        ids: The ids.
        vectors: As they are stored, in the dtype of the index.
        modality: Of each item, ``None`` where nobody said.
        metadata: Of each item.
    """

    ids: tuple[str, ...]
    vectors: MultiVector
    modality: tuple[str | None, ...]
    metadata: tuple[Mapping[str, Any], ...]


def locate(parts: Sequence[Part], ids: Sequence[str]) -> list[Place | None]:
    """The place of each id, ``None`` where the item is not there or deleted."""
    encoded = [id.encode() for id in ids]
    hashes = hash_ids(encoded)
    found: list[Place | None] = [None] * len(ids)
    for at, part in enumerate(parts):
        part.segment.check_there()
        rows = part.segment.ids.find(encoded, hashes)
        for number in np.flatnonzero(rows >= 0).tolist():
            row = int(rows[number])
            if part.dead is None or not part.dead[row]:
                found[number] = Place(at, row)
    return found


def places_of(parts: Sequence[Part], ids: Sequence[str]) -> list[Place]:
    """The place of each id.

    Raises:
        KeyError: An item is not there.
    """
    found = locate(parts, ids)
    unknown = [id for id, place in zip(ids, found, strict=True) if place is None]
    if unknown:
        raise KeyError(
            f"ids must be in the index; {len(unknown)} are not, the first {unknown[:5]}. "
            "Leave them out, or add them."
        )
    return [place for place in found if place is not None]


def without(parts: Sequence[Part], ids: Sequence[str]) -> list[Part]:
    """The parts with these items deleted.

    Raises:
        KeyError: An item is not there.
    """
    gone: dict[int, list[int]] = {}
    for place in places_of(parts, ids):
        gone.setdefault(place.part, []).append(place.row)
    return [
        part.without(np.array(gone[at])) if at in gone else part for at, part in enumerate(parts)
    ]


def items_at(parts: Sequence[Part], ids: Sequence[str]) -> IndexedItems:
    """What is stored of some items, in the order of ``ids``, of which there are some.

    Raises:
        KeyError: An item is not there.
    """
    places = places_of(parts, ids)
    starts = starts_of(parts)
    through = torch.tensor([starts[place.part] + place.row for place in places])
    rising, order = torch.unique(through, return_inverse=True)
    vectors = take_across([part.segment.vectors for part in parts], rising).take(order)
    records = [(parts[place.part].segment.records, place.row) for place in places]
    return IndexedItems(
        tuple(ids),
        vectors,
        tuple(modality_name(int(held.modality[row])) for held, row in records),
        tuple(held.of(row) for held, row in records),
    )
