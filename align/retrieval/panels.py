"""What a line and a panel say of what searches with raw items; no encoder is built for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align._display.lines import one_line, shortened
from align._display.parts import Cell, Panel, Table
from align.data.encoding import Encoder
from align.data.sides import Side
from align.encoders.panels import encoder_words


def embedder_line(
    adapter: object, given: Mapping[str, Encoder], remembered: Mapping[str, str]
) -> str:
    """``Embedder(source: TextEncoder(...), target: image:dino on the card, on Adapter(...))``."""
    sides = [
        f"{role}: {_encoder(role, given, remembered, longest=40)}" for role in ("source", "target")
    ]
    return one_line("Embedder", *sides, f"on {adapter!r}")


def embedder_panel(
    adapter: object, given: Mapping[str, Encoder], remembered: Mapping[str, str], store: object
) -> Panel:
    """The adapter, and the encoder of each side: at hand, on the adapter's card, or unknown."""
    facts: dict[str, Cell] = {"adapter": repr(adapter), "store": _store(store)}
    return Panel("Embedder", facts=facts, tables=[_encoders(given, remembered)])


def retriever_line(query_side: Side, index: object) -> str:
    """``Retriever(source queries on Index(...))``."""
    return one_line("Retriever", f"{query_side} queries on {index!r}")


def retriever_panel(query_side: Side, index: Panel, embedder: Panel) -> Panel:
    """The index that is searched, and the encoders of queries and items."""
    return Panel(
        f"Retriever: {query_side} queries",
        warning=index.warning,
        tiles=index.tiles,
        facts={**embedder.facts, **index.facts},
        tables=[*embedder.tables, *index.tables],
    )


def wrapped_line(search: object, side: Side, embedder: object) -> str:
    """``Wrapped(search_faiss, source queries, Embedder(...))``."""
    return one_line("Wrapped", _name_of(search), f"{side} queries", repr(embedder))


def wrapped_panel(search: object, side: Side, embedder: Panel) -> Panel:
    """The running retriever, and the encoder and the adapter that its queries go through."""
    facts: dict[str, Cell] = {"searched by": _name_of(search), "queries": f"of the {side} side"}
    return Panel("Wrapped", facts={**facts, **embedder.facts}, tables=embedder.tables)


def _encoders(given: Mapping[str, Encoder], remembered: Mapping[str, str]) -> Table:
    roles = [
        role
        for role in ("source", "target", "instruction")
        if role != "instruction" or role in given or role in remembered
    ]
    rows = [[role, _encoder(role, given, remembered, longest=120)] for role in roles]
    return Table(["side", "encoder"], rows)


def _encoder(
    role: str, given: Mapping[str, Encoder], remembered: Mapping[str, str], *, longest: int
) -> str:
    if role in given:
        return shortened(encoder_words(given[role]), longest)
    if role in remembered:
        return f"{shortened(remembered[role], longest)} on the card"
    return "not known"


def _store(store: object) -> str:
    return "none" if store is None else _brief(store)


def _brief(value: Any) -> str:
    return repr(value) if hasattr(type(value), "_repr_html_") else type(value).__name__


def _name_of(search: object) -> str:
    name = getattr(search, "__qualname__", None)
    return shortened(name if isinstance(name, str) else type(search).__name__, 40)
