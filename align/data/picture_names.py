"""Texts that name a picture: encoded as words they would find nonsense."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align._advice import Advised
from align.data.encoding import MIXED, Encoder
from align.data.pictures import SUFFIXES

_NAMED = re.compile(rf"[^\s.]({'|'.join(map(re.escape, sorted(SUFFIXES)))})\Z", re.IGNORECASE)
_ADDRESS = re.compile(r"(https?|ftp|file|s3|gs)://", re.IGNORECASE)
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")


def names_picture(text: object, *, look: bool = True) -> bool:
    """Whether a string is the path of a picture, or ends as the name or address of one does.

    With ``look``, a file of another name is opened and recognized by its content.
    """
    if not isinstance(text, str) or not 0 < len(text) <= 4096 or "\n" in text or "\0" in text:
        return False
    name = text.strip()
    if _ADDRESS.match(name):
        name = re.split("[?#]", name, maxsplit=1)[0]
    if _NAMED.search(name):
        return True
    return look and _is_picture(name)


def _is_picture(name: str) -> bool:
    try:
        if not os.path.isfile(name):
            return False
        with open(name, "rb") as file:
            start = file.read(16)
    except (OSError, ValueError):
        return False
    brand = start[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1")
    return start.startswith(_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP") or brand


def route_picture_names(
    encoder: Encoder, items: Sequence[Any], modality: Sequence[str] | None, *, side: str
) -> tuple[list[Any], list[str] | None]:
    """Items whose pictures are paths, and the modality of each where the encoder needs it.

    A text that names a picture goes to the encoder of pictures, where this ``side`` has one; an
    item whose ``modality`` is given as text stays a text.

    Raises:
        ValueError: A text names a picture and the side has no encoder of pictures, or it is the
            address of one.
    """
    kinds = getattr(encoder, "encoders", ()) if encoder.modality == MIXED else (encoder.modality,)
    routed, kinds_given = list(items), list(modality) if modality is not None else None
    named = [row for row, item in enumerate(routed) if names_picture(item)]
    for row in named:
        kind = None if kinds_given is None else str(kinds_given[row])
        if kind is not None and "image" not in kind:
            continue
        if "image" not in kinds:
            refused_by_name = encoder.modality == MIXED and kind is not None
            if refused_by_name or (kind is None and not {"text", "code"} & set(kinds)):
                continue
            raise ValueError(
                Advised(
                    f"the {side} items must be texts, as this side has no encoder of pictures; "
                    f"item {row} names a picture, {routed[row][:100]!r}. Search with pictures "
                    "where pictures are queries, or say that it is meant as a text:",
                    python='modality="text".',
                    command="--modality text.",
                )
            )
        if _ADDRESS.match(routed[row].strip()):
            raise ValueError(
                Advised(
                    f"pictures must be files on this machine; item {row} is an address, "
                    f"{routed[row][:100]!r}. Download it first, or, if it is meant as a text,",
                    python='pass modality="text".',
                    command="give --modality text.",
                )
            )
        routed[row] = Path(routed[row].strip())
    if encoder.modality == MIXED and kinds_given is None and routed and "image" in kinds:
        if all(isinstance(item, Path) or hasattr(item, "getpixel") for item in routed):
            kinds_given = ["image"] * len(routed)
    return routed, kinds_given
