"""Pictures of any source as upright 8-bit RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

ImageItem = str | Path | Image.Image | np.ndarray[Any, Any]


def open_rgb(item: ImageItem, position: int) -> Image.Image:
    """The picture as RGB: turned upright by its EXIF tag, laid over white where it is transparent.

    Of an animation, the first frame.

    Args:
        item: Path, Pillow image, or ``(h, w, 3)`` uint8 array.
        position: Where the item stands in the caller's list, for the error.

    Raises:
        ValueError: The item cannot be read as a picture of 8 bits per channel.
    """
    if isinstance(item, np.ndarray):
        if item.ndim != 3 or item.shape[2] != 3 or item.dtype != np.uint8 or item.size == 0:
            raise ValueError(
                "an image array must be uint8 of shape (h, w, 3), RGB; "
                f"item {position} has shape {item.shape} and dtype {item.dtype}. "
                "Convert it, or pass a path or a Pillow image."
            )
        return Image.fromarray(item)
    if isinstance(item, Image.Image):
        return _upright_rgb(item, f"item {position}")
    try:
        with Image.open(item) as image:
            return _upright_rgb(image, f"item {position}, {str(item)!r},")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"every item must be a readable image; item {position}, {str(item)!r}, gave "
            f"{type(error).__name__}: {error}. Check the path, or drop the item and its id."
        ) from error


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        raise ValueError(
            "images must have 8 bits per channel, because wider ones would be cut off; "
            f"{name} has mode {image.mode!r}. Scale it to 0..255 and convert it to RGB."
        )
    upright = ImageOps.exif_transpose(image)
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    colour = upright.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour).convert("RGB")
