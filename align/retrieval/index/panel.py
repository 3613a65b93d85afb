"""What a line and a panel say of an index, which is not read through for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from align._display.lines import count, one_line, quoted, size
from align._display.parts import Cell, Panel, Tile
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.sides import Side
from align.retrieval.hits import Hit
from align.retrieval.hits_panel import item_table
from align.retrieval.index.lookup import count_modalities
from align.retrieval.storage.adapter_files import AnyAdapter
from align.retrieval.storage.manifest import Stored
from align.retrieval.storage.metadata import modality_name
from align.retrieval.storage.segments import LiveSegment

SHOWN = 5  # items, from the first
COUNTED = 200_000  # items of which modalities are counted: that reads a byte of each


class _Index(Protocol):
    folder: Path
    side: Side
    dim: int | None
    dtype: Stored
    adapter: AnyAdapter | None


def index_line(index: _Index, segments: Sequence[LiveSegment]) -> str:
    """``Index(1,000 target items, 256 dimensions, float32, 'idx', 12 not saved)``."""
    return one_line(
        "Index",
        count(_items(segments), f"{_side_name(index)} item"),
        "" if index.dim is None else count(index.dim, "dimension"),
        index.dtype,
        quoted(index.folder, 60),
        _unsaved(segments),
    )


def index_panel(index: _Index, segments: Sequence[LiveSegment]) -> Panel:
    """Sizes, where it is saved, its adapter, and the first items as far as they can be read."""
    items = _items(segments)
    nbytes = sum(each.segment.nbytes for each in segments)
    vectors = sum(len(each.segment.tokens) for each in segments)
    tiles = [Tile("items", f"{items:,}", f"of the {_side_name(index)} side")]
    if index.dim is not None:
        tiles.append(Tile("dimensions", f"{index.dim:,}", index.dtype))
    if vectors > sum(len(each.segment) for each in segments):
        tiles.append(Tile("vectors", f"{vectors:,}", f"{vectors / max(1, items):.1f} an item"))
    tiles.append(Tile("vectors take", size(nbytes)))
    facts: dict[str, Cell] = {
        "folder": str(index.folder),
        "adapter": repr(index.adapter)
        if index.adapter is not None
        else "none: vectors come mapped",
    }
    if unsaved := _unsaved(segments):
        facts["changes"] = f"{unsaved}: save() keeps them"
    tables, warning = [], ""
    try:
        for each in segments:
            each.segment.check_there()
        if 0 < items <= COUNTED and (kinds := count_modalities(segments)) != {None: items}:
            facts["modalities"] = ", ".join(f"{k or 'none'} ({n:,})" for k, n in kinds.items())
        hits = list(islice(_first(segments), SHOWN))
        if hits:
            title = f"the first {len(hits)} of {items:,}" if items > len(hits) else ""
            tables.append(item_table(hits, index.folder, title=title))
    except (OSError, ValueError) as error:
        warning = f"The items cannot be read: {error}"
    return Panel("Index", warning=warning, tiles=tiles, facts=facts, tables=tables)


def _side_name(index: _Index) -> str:
    """What people call the side of the items, as far as the adapter of the index knows."""
    held = index.adapter
    if held is None:
        return index.side
    card = held.adapter.card if isinstance(held, MetaTokens) else held.card
    return card.side_name(index.side)


def _items(segments: Sequence[LiveSegment]) -> int:
    return sum(map(len, segments))


def _unsaved(segments: Sequence[LiveSegment]) -> str:
    new = sum(len(each) for each in segments if each.entry is None)
    if new:
        return f"{new:,} not saved"
    return "" if all(each.is_saved for each in segments) else "deletions not saved"


def _first(segments: Sequence[LiveSegment]) -> Iterator[Hit]:
    """The items in the order of adding, each read when it is asked for."""
    for each in segments:
        held, dead = each.segment, each.dead
        for row in range(len(held)):
            if dead is None or not dead[row]:
                kind = modality_name(int(held.records.modality[row]))
                yield Hit(held.ids[row], 0.0, kind, held.records[row])
