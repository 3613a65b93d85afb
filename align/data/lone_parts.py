"""Texts and pictures that stand for a composite item of that part alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align.data.composite import Composite
from align.data.encoding import COMPOSITE, Encoder
from align.data.picture_names import names_picture
from align.data.visual_files import visual_kind

TEXTS = ("text", "code")
"""Modalities of encoders that take strings."""


def as_composites(
    encoder: Encoder, items: Sequence[Any], modality: Sequence[str] | None, *, side: str
) -> list[Any]:
    """Items as an encoder of composite items takes them; those of any other are left as they are.

    A text, a ``pathlib.Path`` or a PIL image becomes the only part of a ``Composite``, where one
    part alone has an encoder of that kind. A text that names a picture is taken for the picture,
    unless its ``modality`` is given as text.

    Raises:
        ValueError: No part takes an item, or several do.
    """
    if encoder.modality != COMPOSITE:
        return list(items)
    parts: Mapping[str, Encoder] = getattr(encoder, "encoders", {})
    named = [None] * len(items) if modality is None else modality
    return [
        item if isinstance(item, Composite) else _as_composite(parts, item, kind, row, side)
        for row, (item, kind) in enumerate(zip(items, named, strict=True))
    ]


def _as_composite(
    parts: Mapping[str, Encoder], item: Any, kind: str | None, row: int, side: str
) -> Composite:
    if kind not in TEXTS and names_picture(item):
        item = Path(item.strip())
    kinds: tuple[str, ...] = ()
    if isinstance(item, str):
        kinds = TEXTS
    elif isinstance(item, Path):
        kinds = (visual_kind(item),)
    elif hasattr(item, "getpixel"):
        kinds = ("image",)
    takers = [name for name, each in parts.items() if each.modality in kinds]
    if len(takers) == 1:
        return Composite({takers[0]: item})
    known = ", ".join(f"{name} ({each.modality})" for name, each in parts.items())
    raise ValueError(
        f"a {side} item that is no Composite must suit one of the parts alone, {known}; item {row} "
        f"is {repr(item)[:60]}, which {len(takers) or 'none'} of them take"
        f"{'' if takers else 's'}. Name its part: align.Composite({{NAME: item}})."
    )
