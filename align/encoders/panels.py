"""What a line and a panel say of an encoder; nothing is loaded or read for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align._display.lines import changed_fields, count, one_line, quoted, shortened, size
from align._display.parts import Cell, Panel, Table
from align.data.encoding import Encoder


def network_line(encoder: Any) -> str:
    """``TextEncoder('intfloat/e5-small', pooling='mean')``: the model, and what is no default."""
    return one_line(type(encoder).__name__, quoted(encoder.model, 80), *changed_fields(encoder))


def network_panel(encoder: Any) -> Panel:
    """The model and its options; width and fingerprint where they have been asked for before."""
    facts: dict[str, Cell] = {"model": str(encoder.model), "modality": encoder.modality}
    for option in changed_fields(encoder):
        name, _, value = option.partition("=")
        facts[name] = value
    return Panel(type(encoder).__name__, facts={**facts, **_known(encoder)})


def callable_line(name: str, dim: int, modality: str) -> str:
    """``CallableEncoder('clip-v1', 512 dimensions, image)``."""
    return one_line("CallableEncoder", quoted(name, 60), count(dim, "dimension"), modality)


def callable_panel(name: str, dim: int, modality: str, *, batch_size: int) -> Panel:
    """What the function promises."""
    return Panel(
        f"CallableEncoder: {name}",
        facts={"dimensions": dim, "modality": modality, "items per call": batch_size},
    )


def concat_line(encoders: Sequence[Encoder]) -> str:
    """``ConcatEncoder(2 of text: TextEncoder(...), TextEncoder(...))``."""
    words = f"{len(encoders)} of {encoders[0].modality}: "
    return one_line("ConcatEncoder", words + ", ".join(map(encoder_words, encoders[:8])))


def named_line(name: str, encoders: Mapping[str, Encoder]) -> str:
    """``MixedEncoder(image: ImageEncoder(...), text: TextEncoder(...))``."""
    named = [f"{shortened(k, 20)}: {encoder_words(each)}" for k, each in encoders.items()]
    return one_line(name, *named[:8])


def several_panel(title: str, encoders: Sequence[tuple[str, Encoder]]) -> Panel:
    """A table of the encoders that one is made of."""
    rows: list[list[Cell]] = [[name, encoder_words(each)] for name, each in encoders]
    return Panel(title, tables=[Table(["part", "encoder"], rows)])


def encoder_words(encoder: Encoder) -> str:
    """An encoder in short: one of ours by its line, any other by its class."""
    ours = hasattr(type(encoder), "_repr_html_")
    return shortened(repr(encoder) if ours else type(encoder).__name__, 120)


def store_line(root: Path, dtype: str) -> str:
    """``EmbeddingStore('vectors', float32)``."""
    return one_line("EmbeddingStore", quoted(root, 90), dtype)


def store_panel(root: Path, dtype: str, *, batch: int, file: str) -> Panel:
    """Where the store is and what it takes on disk; what it holds is for ``stat`` to count."""
    try:
        nbytes = size((root / file).stat().st_size)
    except (OSError, ValueError):
        nbytes = "nothing was written yet"
    facts: dict[str, Cell] = {"folder": str(root), "on disk": nbytes, "dtype": dtype}
    return Panel(
        "EmbeddingStore",
        facts={**facts, "items per batch": batch, "what it holds": "store.stat() counts it"},
    )


def _known(encoder: Any) -> dict[str, Cell]:
    """Properties that have been worked out: others would read files."""
    held = vars(encoder)
    names = {"dim": "dimensions", "fingerprint": "fingerprint"}
    return {name: held[key] for key, name in names.items() if key in held}
