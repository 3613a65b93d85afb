"""Small copies of pictures, for pages, reports and notebooks."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from align.data.pictures import FORMATS, MOST_PIXELS, check_size, opened, upright_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

NEUTRAL = "#c8c8c8"
"""A ground for transparent pictures, light enough for black drawings and dark enough for white."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small JPEG, without the metadata of the original, and its size in pixels."""

    jpeg: bytes = field(repr=False)
    width: int
    height: int

    @property
    def address(self) -> str:
        """The JPEG as a ``data:`` address, for the ``src`` of a picture."""
        return "data:image/jpeg;base64," + b64encode(self.jpeg).decode()


def thumbnail(
    picture: str | Path | IO[bytes] | Image,
    name: str,
    *,
    edge: int,
    ground: str = "white",
    formats: Sequence[str] = FORMATS,
    most_pixels: int = MOST_PIXELS,
) -> Thumbnail:
    """A picture, or the first frame of an animation, upright and at most ``edge`` pixels a side.

    A picture is never made larger, and one in memory stays as it is.

    Args:
        picture: A file, or a Pillow image.
        name: What to call it in an error.
        edge: Longest side of the thumbnail in pixels.
        ground: Colour behind what is transparent, as Pillow writes it.
        formats: Formats of Pillow that a file may have.
        most_pixels: Most pixels that are decoded.

    Raises:
        ValueError: It is missing, no picture in one of the formats, of more pixels or of another
            shape than is taken, or cannot be decoded.
    """
    most = (4 * edge) ** 2
    if isinstance(picture, str | Path) or hasattr(picture, "read"):
        with opened(picture, name, formats=formats, most_pixels=most_pixels) as image:  # type: ignore[arg-type]  # no Image
            image.draft("RGB", (2 * edge, 2 * edge))  # a JPEG is not decoded at full size
            return _small(upright_rgb(image, name, most_pixels=most, ground=ground), edge)
    check_size(picture, name, most_pixels=most_pixels)
    try:
        upright = upright_rgb(picture, name, most_pixels=most, ground=ground)
    except ValueError:
        raise
    except Exception as error:  # of a file that Pillow has opened and not yet read
        raise ValueError(
            f"a picture must be a readable image; {name} gave {type(error).__name__}: {error}. "
            "Check where it comes from."
        ) from error
    return _small(upright, edge)


def _small(image: Image, edge: int) -> Thumbnail:
    from PIL import Image

    # What Pillow keeps of the original in `info`, such as its comment, is not written.
    small = Image.frombytes("RGB", image.size, image.tobytes())
    small.thumbnail((edge, edge))
    jpeg = io.BytesIO()
    small.save(jpeg, format="JPEG", quality=82)
    return Thumbnail(jpeg.getvalue(), small.width, small.height)
