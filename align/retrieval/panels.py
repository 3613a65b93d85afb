"""What a line and a panel say of what searches with raw items; no encoder is built for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align._display.lines import one_line, shortened
from align._display.parts import Cell, Panel, Table
from align.adapters.card import Card
from align.data.encoding import Encoder
from align.data.sides import SIDES
from align.encoders.panels import encoder_words


def embedder_line(adapter: object, given: Mapping[str, Encoder], card: Card) -> str:
    """``Embedder(source: TextEncoder(...), target: image:dino on the card, on Adapter(...))``."""
    sides = [f"{card.side_name(side)}: {_encoder(side, given, card, longest=40)}" for side in SIDES]
    return one_line("Embedder", *sides, f"on {adapter!r}")


def embedder_panel(
    adapter: object, given: Mapping[str, Encoder], card: Card, store: object
) -> Panel:
    """The adapter, and the encoder of each side: at hand, on the adapter's card, or unknown."""
    facts: dict[str, Cell] = {"adapter": repr(adapter), "store": _store(store)}
    return Panel("Embedder", facts=facts, tables=[_encoders(given, card)])


def retriever_line(asking: str, index: object) -> str:
    """``Retriever(caption queries on Index(...))``; ``asking`` is the name of their side."""
    return one_line("Retriever", f"{asking} queries on {index!r}")


def retriever_panel(asking: str, index: Panel, embedder: Panel) -> Panel:
    """The index that is searched, and the encoders of queries and items."""
    return Panel(
        f"Retriever: {asking} queries",
        warning=index.warning,
        tiles=index.tiles,
        facts={**embedder.facts, **index.facts},
        tables=[*embedder.tables, *index.tables],
    )


def wrapped_line(search: object, asking: str, embedder: object) -> str:
    """``Wrapped(search_faiss, caption queries, Embedder(...))``."""
    return one_line("Wrapped", _name_of(search), f"{asking} queries", repr(embedder))


def wrapped_panel(search: object, asking: str, embedder: Panel) -> Panel:
    """The running retriever, and the encoder and the adapter that its queries go through."""
    facts: dict[str, Cell] = {"searched by": _name_of(search), "queries": f"of the {asking} side"}
    return Panel("Wrapped", facts={**facts, **embedder.facts}, tables=embedder.tables)


def _encoders(given: Mapping[str, Encoder], card: Card) -> Table:
    rows = [[card.side_name(side), _encoder(side, given, card, longest=120)] for side in SIDES]
    if "instruction" in given or "instruction" in card.encoders:
        rows.append(["instruction", _encoder("instruction", given, card, longest=120)])
    return Table(["side", "encoder"], rows)


def _encoder(role: str, given: Mapping[str, Encoder], card: Card, *, longest: int) -> str:
    if role in given:
        return shortened(encoder_words(given[role]), longest)
    if role in card.encoders:
        return f"{shortened(card.encoders[role], longest)} on the card"
    return "not known"


def _store(store: object) -> str:
    return "none" if store is None else _brief(store)


def _brief(value: Any) -> str:
    return repr(value) if hasattr(type(value), "_repr_html_") else type(value).__name__


def _name_of(search: object) -> str:
    name = getattr(search, "__qualname__", None)
    return shortened(name if isinstance(name, str) else type(search).__name__, 40)
