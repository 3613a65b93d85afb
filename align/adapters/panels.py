"""What a line and a panel say of an adapter, and of a head of meta tokens on top of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align._display.lines import count, one_line, percent, rounded, size
from align._display.parts import Cell, Folded, Panel, Table, Tile
from align.adapters.card import (
    Card,
    card_facts,
    held_out_tiles,
    held_out_words,
    sides_table,
    tried,
)
from align.adapters.components import Components
from align.adapters.maps.linear import SideMap
from align.adapters.maps.parts import Parts


def adapter_line(parts: Components, card: Card) -> str:
    """``Adapter(source 384 → 256, target 1,280 → 256, 4,000 pairs, held-out recall@10 ...)``."""
    return one_line(
        "Adapter",
        f"{card.side_name('source')} {_widths(parts.source_map)}",
        f"{card.side_name('target')} {_widths(parts.target_map)}",
        count(card.n_pairs, "pair"),
        held_out_words(card),
    )


def adapter_panel(parts: Components, card: Card) -> Panel:
    """What an adapter maps, how well on held-out pairs beside chance, and what it consists of."""
    verdict = card.verdict or "No verdict was recorded."
    failed = card.better_than_chance is False
    return Panel(
        f"Adapter: {card.d_source:,} and {card.d_target:,} to {parts.source_map.dim:,} dimensions",
        sentence="" if failed else verdict,
        warning=verdict if failed else "",
        tiles=held_out_tiles(card),
        facts={**card_facts(card), **_parts(parts)},
        tables=[_sides(parts, card)],
        folded=tried(card),
    )


def meta_tokens_line(vectors: int, asking: int, adapter: str) -> str:
    """``MetaTokens(16 vectors an item, 4 a query, on Adapter(...))``."""
    return one_line(
        "MetaTokens", f"{count(vectors, 'vector')} an item", f"{asking} a query", f"on {adapter}"
    )


def meta_tokens_panel(
    vectors: int, asking: int, mix: float, card: Mapping[str, Any], adapter: Panel
) -> Panel:
    """How many vectors a head gives, what they gained, and the adapter behind the first."""
    verdict = str(card.get("verdict", "") or "No verdict was recorded.")
    failed = card.get("better_than_chance") is False
    tiles = [
        Tile("vectors an item", f"{vectors:,}", "the first is the adapter's"),
        Tile("vectors a query", f"{asking:,}"),
        Tile("share of aspects", percent(mix), "in each further vector"),
    ]
    return Panel(
        f"MetaTokens: {count(vectors, 'vector')} an item",
        sentence="" if failed else verdict,
        warning=verdict if failed else "",
        tiles=tiles if vectors > 1 else tiles[:2],
        facts={"adapter": adapter.title, "verdict of the adapter": adapter.sentence},
        tables=adapter.tables,
        folded=_tried_of_head(card.get("tried")),
    )


def _sides(parts: Components, card: Card) -> Table:
    known = sides_table(card)
    maps = parts.source_map, parts.target_map
    rows: list[list[Cell]] = [
        [side, width, _map_words(each), encoder]
        for (side, width, encoder), each in zip(known.rows, maps, strict=True)
    ]
    return Table(["side", "dimensions", "map", "encoder"], rows, numeric=(1,))


def _widths(side_map: SideMap) -> str:
    return f"{side_map.d_in:,} → {side_map.dim:,}"


def _map_words(side_map: SideMap) -> str:
    """``"LinearMap of 2 parts (384 + 768)"``."""
    parts = getattr(side_map, "parts", None)
    widths = parts.widths if isinstance(parts, Parts) else parts or ()
    of = f" of {len(widths)} parts ({' + '.join(map(str, widths))})" if len(widths) > 1 else ""
    return f"{type(side_map).__name__}{of}"


def _parts(parts: Components) -> dict[str, str | int]:
    """What goes with the maps: corrections of the gallery, instructions, remembered pairs."""
    facts: dict[str, str | int] = {}
    reference = parts.reference
    if reference is None:
        facts["gallery correction"] = "none"
    else:
        used = [str(each) for each in (reference.hubness, reference.expansion) if each is not None]
        facts["gallery correction"] = (
            f"{' and '.join(used) or 'none'}, from {count(reference.rows, 'training pair')}"
        )
        if reference.query_expansion is not None:
            facts["queries"] = f"{reference.query_expansion}, by the same pairs at each query"
    if parts.preference is not None:
        facts["instructions"] = f"prefer some of {parts.preference.dim} kinds of target"
    facts["remembers"] = (
        "not which pairs it was fitted on"
        if parts.training_items is None
        else f"{count(parts.training_items.pairs, 'training pair')}, to say what is not held out"
    )
    known = parts.calibration
    facts["calibrated"] = (
        "no: hits have no confidence"
        if known is None
        else f"on held-out pairs, asked of {count(known.source_confidence.gallery, 'item')}"
    )
    if parts.statistics is not None:
        facts["update"] = f"takes further pairs beside {count(parts.statistics.pairs, 'pair')}"
    module = parts.module()
    facts["weights"] = size(sum(each.nbytes for each in (*module.parameters(), *module.buffers())))
    return facts


def _tried_of_head(entries: Any) -> list[Folded]:
    """What a head's card lists; it is plain JSON, of which nothing is certain."""
    rows: list[list[Cell]] = [
        [str(each.get("stage", "")), str(each.get("name", "")), *_numbers(each)]
        for each in (entries if isinstance(entries, list) else ())
        if isinstance(each, Mapping)
    ]
    if not rows:
        return []
    columns = ["stage", "candidate", "MRR", "chance", "recall@10", "chance"]
    summary = f"{count(len(rows), 'candidate was', 'candidates were')} tried"
    return [Folded(summary, [Table(columns, rows, numeric=range(2, 6))])]


def _numbers(entry: Mapping[str, Any]) -> list[str]:
    fields = (
        ("mrr", rounded), ("chance_mrr", rounded),
        ("recall_at_10", percent), ("chance_at_10", percent),
    )  # fmt: skip
    values = [(entry.get(name), shown) for name, shown in fields]
    return [shown(v) if isinstance(v, float | int) else "" for v, shown in values]
