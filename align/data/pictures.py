"""Picture files of any origin: which are taken, how they are opened, and what they may cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {
        ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".heic", ".heif", ".bmp",
        ".gif", ".tif", ".tiff",
    }
)  # fmt: skip
"""Endings of the names of picture files, in small letters."""

FORMATS = (
    "JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO",
    "TGA",
)  # fmt: skip
"""What is opened, whatever the name of the file says. EPS is left out: it is run by Ghostscript."""

MOST_PIXELS = 89_478_485
"""Most pixels that are decoded; from here on Pillow itself suspects a decompression bomb."""

MOST_ASPECT = 100
"""Longest side over shortest. Networks enlarge the shortest side before they crop, so a picture of
4,000 x 1 would become one of 896,000 x 224, which is 600 MB before the first copy."""

_STRIP = 64  # rows of the result that are made at a time

_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
    7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
"""How to turn a picture upright by its EXIF tag of orientation."""


class _RefusedError(ValueError):
    """Already explained in three parts."""


@contextmanager
def opened(
    file: str | Path | IO[bytes],
    name: str,
    *,
    formats: Sequence[str] = FORMATS,
    most_pixels: int = MOST_PIXELS,
) -> Iterator[Image]:
    """The picture in a file, not yet decoded; whatever fails in the block names the file.

    Of an animation, the first frame. ``name`` is what to call the file in an error, and
    ``formats`` are those of Pillow.

    Raises:
        ValueError: It is no regular file, no picture in one of the formats, of more pixels or of
            another shape than is taken, or cannot be decoded.
    """
    from PIL import Image

    try:
        if isinstance(file, str | Path):
            _check_file(Path(file))
        Image.init()
        with Image.open(file, formats=[each for each in formats if each in Image.OPEN]) as image:
            check_size(image, name, most_pixels=most_pixels)
            yield image
    except _RefusedError:
        raise
    except Exception as error:  # Pillow's formats raise errors of many kinds
        ending = Path(file).suffix.lower() if isinstance(file, str | Path) else ""
        hint = "Check the path, or drop the item and its id."
        if ending in (".heic", ".heif") and "HEIF" not in Image.OPEN:
            hint = "Convert it to JPEG, or install pillow-heif and call its register_heif_opener()."
        raise ValueError(
            f"a picture must be a readable file of {', '.join(formats)}; {name} gave "
            f"{type(error).__name__}: {error}. {hint}"
        ) from error


def check_size(image: Image, name: str, *, most_pixels: int = MOST_PIXELS) -> None:
    """Raise ``ValueError`` if a picture, called ``name``, has too many pixels or is too long."""
    width, height = image.size
    if width * height > most_pixels:
        raise _RefusedError(
            f"a picture may have {most_pixels:,} pixels; {name} has {width:,} x {height:,}. "
            "Make it smaller first."
        )
    if min(width, height) < 1 or max(width, height) > MOST_ASPECT * min(width, height):
        raise _RefusedError(
            f"the longest side of a picture may be {MOST_ASPECT} times the shortest; {name} has "
            f"{width:,} x {height:,}. Cut out the part that matters."
        )


def upright_rgb(
    image: Image, name: str, *, most_pixels: int | None = None, ground: str = "white"
) -> Image:
    """A picture as 8-bit RGB: turned upright by its EXIF tag, over ``ground`` where transparent.

    A picture of more than ``most_pixels`` is made smaller by the least whole factor that suffices,
    each pixel the mean of a square.
    """
    from PIL.Image import Transpose

    if image.mode.startswith(("I", "F")):
        raise _RefusedError(
            "images must have 8 bits per channel, because wider ones would be cut off; "
            f"{name} has mode {image.mode!r}. Scale it to 0..255 and convert it to RGB."
        )
    image.load()  # before copies are made: what fails here names the file
    pixels = image.width * image.height
    factor = 1 if most_pixels is None else math.ceil(math.sqrt(pixels / most_pixels))
    if factor > 1 or image.has_transparency_data:
        flat = _flat(image, factor, ground)
    else:
        flat = image if image.mode == "RGB" else image.convert("RGB")
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    if turn is None:
        return flat
    turned = flat.transpose(Transpose[turn])
    turned.info.clear()  # the tag among it: a copy that kept it would be turned a second time
    return turned


def _flat(image: Image, factor: int, ground: str) -> Image:
    """RGB over ``ground``, made smaller by ``factor``.

    In strips, because RGBA takes four bytes a pixel and each step is another copy.
    """
    from PIL import Image

    clear = image.has_transparency_data
    page = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    rows = _STRIP * factor
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if clear:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, ground), strip)
        page.paste(strip.convert("RGB").reduce(factor), (0, top // factor))
    return page


def picture_problem(path: Path) -> str:
    """Why ``path`` is no picture that an encoder takes, or ``""``; it is decoded to find out."""
    if not path.exists():
        return "is missing"
    try:
        with opened(path, str(path)) as image:
            mode = image.mode
            # Of a JPEG an eighth of each side is decoded: all of the file is read for that.
            image.draft(None, (max(image.width // 8, 1), max(image.height // 8, 1)))
            image.load()
            if mode.startswith(("I", "F")):
                return f"is unreadable: mode {mode!r} has more than 8 bits per channel"
    except ValueError as error:
        return f"is unreadable: {error.__cause__ or error}"
    return ""


def _check_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise OSError("it is a folder, a pipe or a device, no regular file")
    if path.is_file() and path.stat().st_size == 0:
        raise OSError("the file is empty")
