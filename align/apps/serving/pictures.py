"""Pictures from strangers, opened within limits, and made small for a page."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from align.data.pictures import opened, upright_rgb
from align.data.thumbnails import thumbnail
from align.data.videos import frame_at
from align.data.visual_files import visual_kind

EDGE = 360
"""Longest side of a thumbnail in pixels: sharp at 180 on a screen with two per point."""

LARGE = 1280
"""Longest side of a picture that was asked to be shown large."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_DECODER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder")
"""One picture is decoded at a time, which bounds memory whatever a page asks for; and always in the
same thread, since the allocator keeps some of what each thread has freed."""


def open_picture(
    file: Path | bytes, *, edge: int | None = None, most_pixels: int = 50_000_000
) -> Image.Image:
    """The picture in a file, or in its bytes, as upright RGB; of an animation, the first frame.

    With ``edge``, a side in pixels that is enough, a JPEG is not decoded at full size. At most
    ``most_pixels`` are decoded: what a large camera takes, and about 200 MB.

    Raises:
        ValueError: It is no picture in one of ``FORMATS``, has more than ``most_pixels`` pixels or
            sides too unlike, or cannot be decoded.
    """
    return _DECODER.submit(_decoded, file, edge, most_pixels).result()


def _decoded(file: Path | bytes, edge: int | None, most_pixels: int) -> Image.Image:
    name = "this one" if isinstance(file, bytes) else repr(file.name)
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    # Encoding a picture takes several copies, so a larger one is brought down first.
    most = 16_000_000 if edge is None else (4 * edge) ** 2
    with opened(source, name, formats=FORMATS, most_pixels=most_pixels) as image:
        if edge is not None:
            image.draft("RGB", (edge, edge))
        return upright_rgb(image, name, most_pixels=most)


class Thumbnails:
    """Small JPEGs of files, made when they are first asked for and cached while there is room."""

    def __init__(self, *, most_bytes: int = 64 << 20) -> None:
        """Start empty; ``most_bytes`` are by default some 4,000, the least recent go first."""
        self._most_bytes = most_bytes
        self._cached: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def jpeg(self, file: Path, version: str, *, edge: int = EDGE, second: float = 0.0) -> bytes:
        """A picture, or the frame of a video at a ``second``, with no side above ``edge``.

        The metadata of the file are left out; ``version`` tells files and frames apart.

        Raises:
            ValueError: As for ``open_picture``, or ``align.data.videos.frame_at``.
            ModuleNotFoundError: A video needs PyAV, which is not installed.
        """
        key = (str(file), version, edge)
        with self._lock:
            if key in self._cached:
                self._cached.move_to_end(key)
                return self._cached[key]
        if visual_kind(file) == "video":
            picture = _DECODER.submit(frame_at, file, second).result()
        else:
            picture = open_picture(file, edge=edge)
        jpeg = thumbnail(picture, repr(file.name), edge=edge).jpeg
        with self._lock:
            self._bytes += len(jpeg) - len(self._cached.get(key, b""))
            self._cached[key] = jpeg
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._cached.popitem(last=False)[1])
        return jpeg


def version_of(file: Path) -> str:
    """A tag that changes when the file is written: its size and time of change."""
    status = file.stat()
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"
