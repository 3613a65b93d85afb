"""From raw items and instructions to vectors: what suits an encoder, and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align.data.embeddings import Cache, CompositeEncoder, Encoder

MIXED = "mixed"
"""Modality of an encoder whose items are pairs ``(modality, item)``, as ``MixedEncoder``'s are."""


def items_for(
    encoder: Encoder, items: Sequence[Any], modality: Sequence[str] | None, *, side: str
) -> Sequence[Any]:
    """The items as an encoder takes them: with their modalities where it is one of several.

    Args:
        encoder: What will encode them.
        items: ``n`` items.
        modality: Name of the modality of each, or ``None`` where nobody said.
        side: What to call the items in an error.

    Raises:
        ValueError: An image encoder would get texts, or a text encoder files; or the modalities
            are not known and the encoder needs them.
    """
    if encoder.modality != MIXED:
        _check_kinds(side, items, [encoder.modality] * len(items))
        return items
    if modality is None:
        raise ValueError(
            f"an encoder of several modalities must be told which each {side} item is of; got "
            f"{len(items)} items without. Name the column that says so, {side}_modality= in Python "
            f"or --{side}-modality of align fit, or use an encoder of one modality."
        )
    _check_kinds(side, items, modality)
    return list(zip(modality, items, strict=True))


def encode_items(
    encoder: Encoder, items: Sequence[Any], *, store: Cache | None, progress: bool
) -> Tensor:
    """Vectors of items that suit the encoder, ``(n, dim)``, from the store where there is one."""
    if store is None:
        return encoder.encode(items, progress=progress)
    return store.encode(encoder, items, progress=progress)


def encode_instructions(
    encoder: Encoder, instructions: Sequence[str], *, store: Cache | None, progress: bool
) -> Tensor:
    """A vector for each instruction, zeros for an empty one; ``(n, dim)`` float32.

    Each distinct instruction is encoded once, store or not.

    Args:
        encoder: Of text, or of several modalities with text among them.
        instructions: ``n`` texts; ``""`` is no instruction.
        store: Where vectors are looked up and kept.
        progress: Show a bar.

    Raises:
        ValueError: The encoder does not take text.
    """
    named = encoder.modality == MIXED
    if not (encoder.modality == "text" or (named and "text" in getattr(encoder, "encoders", ()))):
        raise ValueError(
            "instructions are texts and need an encoder of text; got one of modality "
            f"{encoder.modality!r}. Pass instruction_encoder=, such as a TextEncoder."
        )
    distinct = list(dict.fromkeys(text for text in instructions if text.strip()))
    vectors = torch.zeros(len(distinct) + 1, encoder.dim)  # the last row is no instruction
    if distinct:
        asked = [("text", text) for text in distinct] if named else distinct
        vectors[:-1] = encode_items(encoder, asked, store=store, progress=progress)
    rows = {text: row for row, text in enumerate(distinct)}
    return vectors[[rows.get(text, len(distinct)) for text in instructions]]


def parts_of(encoder: Encoder) -> tuple[int, ...] | None:
    """Widths of the parts of an encoder made of several."""
    return encoder.parts if isinstance(encoder, CompositeEncoder) else None


def _check_kinds(side: str, items: Sequence[object], kinds: Sequence[str]) -> None:
    """Raise where plain texts would go to an image encoder, or files to one of text or code."""
    for row, (item, kind) in enumerate(zip(items, kinds, strict=True)):
        unfit = {"image": str, "text": Path, "code": Path}.get(kind)
        if unfit is not None and isinstance(item, unfit):
            raise ValueError(
                f"the {side} items must suit the {side} encoder, whose modality is "
                f"{kind!r}; row {row} is {item!r}. Swap the encoders, or say with "
                "images= which columns hold image paths; in a list, image files are pathlib.Path."
            )
