"""Pictures from strangers, opened within limits, and made small for a page."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from align.data.pictures import opened, upright_rgb

EDGE = 360
"""Longest side of a thumbnail in pixels: sharp at 180 on a screen with two per point."""

PIXELS = 50_000_000
"""Most pixels of a picture that is decoded: what a large camera takes, and about 200 MB."""

ENCODED_PIXELS = 16_000_000
"""Of these more are brought down before a picture is encoded, as that takes several copies."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

KEPT_BYTES = 64 << 20
"""Memory for thumbnails: some 4,000 photos."""

_DECODER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder")
"""One picture is decoded at a time, which bounds memory whatever a page asks for; and always in the
same thread, since the allocator keeps some of what each thread has freed."""


def open_picture(file: Path | bytes, *, edge: int | None = None) -> Image.Image:
    """The picture as upright RGB; of an animation, the first frame.

    Args:
        file: A file or its bytes.
        edge: A size that is enough: a JPEG is then decoded at no more than needed.

    Raises:
        ValueError: It is no picture in one of ``FORMATS``, has more than ``PIXELS`` pixels or sides
            too unlike, or cannot be decoded.
    """
    return _DECODER.submit(_decoded, file, edge).result()


def _decoded(file: Path | bytes, edge: int | None) -> Image.Image:
    name = "this one" if isinstance(file, bytes) else repr(file.name)
    held = io.BytesIO(file) if isinstance(file, bytes) else file
    most = ENCODED_PIXELS if edge is None else (4 * edge) ** 2
    with opened(held, name, formats=FORMATS, most_pixels=PIXELS) as image:
        if edge is not None:
            image.draft("RGB", (edge, edge))
        return upright_rgb(image, name, most_pixels=most)


class Thumbnails:
    """Small JPEGs of files, made when they are first asked for and kept while there is room."""

    def __init__(self, *, kept_bytes: int = KEPT_BYTES) -> None:
        """Start empty.

        Args:
            kept_bytes: Memory for thumbnails; those not asked for longest go first.
        """
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def jpeg(self, file: Path, version: str) -> bytes:
        """The thumbnail of a picture, without the metadata of the file.

        Args:
            file: A file that may be shown.
            version: What ``version_of`` said of it.

        Raises:
            ValueError: As for ``open_picture``.
        """
        key = (str(file), version)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = _small(open_picture(file, edge=EDGE))
        with self._lock:
            self._held += len(made) - len(self._kept.get(key, b""))
            self._kept[key] = made
            while self._held > self._kept_bytes:
                self._held -= len(self._kept.popitem(last=False)[1])
        return made


def version_of(file: Path) -> str:
    """A tag that changes when the file is written: its size and time of change."""
    found = file.stat()
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{EDGE}"


def _small(image: Image.Image) -> bytes:
    image.thumbnail((EDGE, EDGE))
    held = io.BytesIO()
    # What Pillow keeps of the original in `info`, such as its comment, is not written.
    Image.frombytes("RGB", image.size, image.tobytes()).save(held, format="JPEG", quality=82)
    return held.getvalue()
