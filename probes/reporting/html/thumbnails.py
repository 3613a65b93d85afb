"""Small pictures that stand inside a page."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from align.data.pictures import check_size, opened

if TYPE_CHECKING:
    from PIL.Image import Image

EDGE = 96
"""Longest side in pixels."""

_GROUND = (200, 200, 200, 255)
"""What shows through: light enough for black drawings and dark enough for white ones."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a data URI.

    Attributes:
        uri: JPEG, base64, without the metadata of the original.
        width: In pixels.
        height: In pixels.
    """

    uri: str
    width: int
    height: int


def thumbnail(item: Path | Image) -> Thumbnail | None:
    """The picture made small and turned upright, or ``None`` if it cannot be read.

    Of an animation, the first frame.

    Args:
        item: A file, or a picture, which stays as it is.
    """
    try:
        if isinstance(item, Path):
            with opened(item, str(item)) as image:
                return _small(image)
        check_size(item, "the picture")
        return _small(item.copy())
    except Exception:  # Pillow's formats raise errors of many kinds, and a report goes on without
        return None


def _small(image: Image) -> Thumbnail:
    from PIL import Image, ImageOps

    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode} has more than 8 bits and would be cut off to white")
    if image.mode == "P":
        image = image.convert("RGBA")
    # A JPEG is decoded at the smaller size; turned upright afterwards, as the box is square.
    image.thumbnail((EDGE, EDGE))
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", upright.size, _GROUND), upright).convert("RGB")
    held = io.BytesIO()
    flat.save(held, format="JPEG", quality=82)
    uri = "data:image/jpeg;base64," + b64encode(held.getvalue()).decode()
    return Thumbnail(uri, flat.width, flat.height)
