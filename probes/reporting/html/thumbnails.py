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

EDGE = 96  # longest side in pixels


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a data URI: JPEG, base64, without the metadata of the original."""

    uri: str
    width: int
    height: int


def thumbnail(item: Path | Image) -> Thumbnail | None:
    """The picture, or the first frame of it, made small and turned upright; a copy.

    ``None`` if it cannot be read.
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
    # What shows through is light enough for black drawings and dark enough for white ones.
    ground = Image.new("RGBA", upright.size, (200, 200, 200, 255))
    flat = Image.alpha_composite(ground, upright).convert("RGB")
    jpeg = io.BytesIO()
    flat.save(jpeg, format="JPEG", quality=82)
    uri = "data:image/jpeg;base64," + b64encode(jpeg.getvalue()).decode()
    return Thumbnail(uri, flat.width, flat.height)
