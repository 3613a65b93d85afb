"""Where the items of an index lie, by their ids, and what is stored of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import torch

from align._checks import as_list
from align._display.lines import count, one_line
from align._display.panel import Panel, render
from align.data.multi_vector import MultiVector
from align.data.readers import in_utf8
from align.retrieval.hits import Hit
from align.retrieval.hits_panel import item_table
from align.retrieval.storage.id_table import check_texts, hash_ids
from align.retrieval.storage.metadata import modality_name
from align.retrieval.storage.segment import take_across
from align.retrieval.storage.segments import LiveSegment, starts_of

Location = tuple[int, int]
"""The segment, and the row in it, of an item."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredItems:
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

    def __repr__(self) -> str:
        return one_line("StoredItems", count(len(self.ids), "item"), repr(self.vectors))

    def _repr_html_(self) -> str:
        hits = [Hit(*each) for each in zip(self.ids, repeat(0.0), self.modality, self.metadata)]
        table = item_table(hits, None, title="")
        return render(Panel(f"StoredItems: {count(len(hits), 'item')}", tables=[table]))


def locate(segments: Sequence[LiveSegment], ids: Sequence[str]) -> list[Location | None]:
    """The location of each id, ``None`` where the item is not there or deleted."""
    encoded = [id.encode() for id in ids]
    hashes = hash_ids(encoded)
    locations: list[Location | None] = [None] * len(ids)
    for at, each in enumerate(segments):
        each.segment.check_there()
        rows = each.segment.ids.find(encoded, hashes)
        for number in np.flatnonzero(rows >= 0).tolist():
            row = int(rows[number])
            if each.dead is None or not each.dead[row]:
                locations[number] = at, row
    return locations


def locations_of(segments: Sequence[LiveSegment], ids: Sequence[str]) -> list[Location]:
    """The location of each id; ``KeyError`` where an item is not there."""
    locations = locate(segments, ids)
    unknown = [id for id, at in zip(ids, locations, strict=True) if at is None]
    if unknown:
        raise KeyError(
            f"ids must be in the index; {len(unknown)} are not, the first {unknown[:5]}. "
            "Leave them out, or add them."
        )
    return [at for at in locations if at is not None]


def holds(segments: Sequence[LiveSegment], id: object) -> bool:
    """Whether an item of that id is there."""
    if not isinstance(id, str) or not in_utf8(id):
        return False
    return locate(segments, [id])[0] is not None


def check_absent(segments: Sequence[LiveSegment], ids: Sequence[str]) -> None:
    """Raise ``ValueError`` if an item is there."""
    there = [id for id, at in zip(ids, locate(segments, ids), strict=True) if at is not None]
    if there:
        raise ValueError(
            f"every id can be added once; {len(there)} are in the index already, the first "
            f"{there[:5]}. Use update to replace those, or name the new items differently."
        )


def count_modalities(segments: Sequence[LiveSegment]) -> dict[str | None, int]:
    """How many live items there are of each modality."""
    counts = np.zeros(256, dtype=np.int64)
    for each in segments:
        codes = each.segment.records.modality
        counts += np.bincount(codes if each.dead is None else codes[~each.dead], minlength=256)
    return {modality_name(code): int(counts[code]) for code in np.flatnonzero(counts).tolist()}


def without(segments: Sequence[LiveSegment], ids: Sequence[str]) -> list[LiveSegment]:
    """The segments with these items deleted; ``KeyError`` where one is not there."""
    gone: dict[int, list[int]] = {}
    for at, row in locations_of(segments, ids):
        gone.setdefault(at, []).append(row)
    return [
        each.without(np.array(gone[at])) if at in gone else each for at, each in enumerate(segments)
    ]


def stored_items(segments: Sequence[LiveSegment], ids: Sequence[str]) -> StoredItems:
    """``items_at`` for ids that come from outside, as ``Index.get`` has it."""
    ids = as_list("ids", ids)
    if not len(ids):
        raise ValueError("get needs ids of items to look at; got none. Pass at least one.")
    check_texts(ids)
    return items_at(segments, ids)


def items_at(segments: Sequence[LiveSegment], ids: Sequence[str]) -> StoredItems:
    """What is stored of some items, in the order of ``ids``, of which there are some."""
    locations = locations_of(segments, ids)
    starts = starts_of(segments)
    through = torch.tensor([starts[at] + row for at, row in locations])
    rising, order = torch.unique(through, return_inverse=True)
    vectors = take_across([each.segment.vectors for each in segments], rising).take(order)
    records = [(segments[at].segment.records, row) for at, row in locations]
    return StoredItems(
        tuple(ids),
        vectors,
        tuple(modality_name(int(held.modality[row])) for held, row in records),
        tuple(held[row] for held, row in records),
    )
