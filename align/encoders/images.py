"""Pictures of any source as upright 8-bit RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from align.data.pictures import check_size, opened, upright_rgb

ImageItem = str | Path | Image.Image | np.ndarray[Any, Any]


def open_rgb(item: ImageItem, position: int) -> Image.Image:
    """The picture as RGB: turned upright by its EXIF tag, laid over white where it is transparent.

    Of an animation, the first frame.

    Args:
        item: Path, Pillow image, or ``(h, w, 3)`` uint8 array.
        position: Where the item stands in the caller's list, for the error.

    Raises:
        ValueError: The item cannot be read as a picture of 8 bits per channel, or is larger or
            longer than ``align.data.pictures`` allows.
    """
    if isinstance(item, str | Path):
        name = f"item {position}, {str(item)!r},"
        with opened(item, name) as image:
            return upright_rgb(image, name)
    name = f"item {position}"
    if isinstance(item, np.ndarray):
        if item.ndim != 3 or item.shape[2] != 3 or item.dtype != np.uint8 or item.size == 0:
            raise ValueError(
                "an image array must be uint8 of shape (h, w, 3), RGB; "
                f"{name} has shape {item.shape} and dtype {item.dtype}. "
                "Convert it, or pass a path or a Pillow image."
            )
        made = Image.fromarray(item)
        check_size(made, name)
        return made
    check_size(item, name)
    try:
        item.load()
    except Exception as error:  # a file that Pillow has opened and not yet read
        raise ValueError(
            f"a picture must be a readable image; {name} gave {type(error).__name__}: {error}. "
            "Check where it comes from, or drop the item and its id."
        ) from error
    return upright_rgb(item, name)
