"""Clips made of photos: each photo a shot that is panned, a few cut together; made, not filmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from align._files.atomic import atomic_file

RATE = 8  # frames per second
SIDE = 224  # pixels
PANNED = 256  # shortest side of the photo over which the frame moves


@dataclass(frozen=True, slots=True)
class Shot:
    """A photo in a clip, from one second to another."""

    photo: Path
    start: float
    stop: float


@dataclass(frozen=True, slots=True)
class Clip:
    """A file and what was cut together in it."""

    path: Path
    shots: tuple[Shot, ...]


def make_clips(
    photos: Sequence[Path], folder: Path, *, shots: int = 4, seed: int = 0
) -> list[Clip]:
    """Clips of ``shots`` photos each, in their order; each is shown one to three seconds.

    The same photos and seed give the same shots. A clip that is in ``folder`` is not made again.
    """
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for number in range(len(photos) // shots):
        own = photos[number * shots : (number + 1) * shots]
        lengths = generator.integers(RATE, 3 * RATE + 1, size=shots)
        ends = np.cumsum([0, *lengths]) / RATE
        made = tuple(
            Shot(photo, float(start), float(stop))
            for photo, start, stop in zip(own, ends[:-1], ends[1:], strict=True)
        )
        clips.append(Clip(folder / f"{seed}-{number:04}.mp4", made))
        if not clips[-1].path.exists():
            _write(clips[-1].path, own, lengths)
    return clips


def _write(path: Path, photos: Sequence[Path], lengths: Sequence[int]) -> None:
    import av

    with atomic_file(path) as scratch, av.open(str(scratch), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 1_500_000
        number = 0
        for photo, length in zip(photos, lengths, strict=True):
            for picture in _panned(photo, int(length)):
                frame = av.VideoFrame.from_image(picture)
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode(None))


def _panned(photo: Path, length: int) -> list[Image.Image]:
    """Crops of a photo that move from its top left to its bottom right."""
    with Image.open(photo) as opened:
        whole = opened.convert("RGB")
    scale = PANNED / min(whole.size)
    whole = whole.resize((round(whole.width * scale), round(whole.height * scale)))
    steps = np.linspace(0, 1, length)
    corners = [(int((whole.width - SIDE) * s), int((whole.height - SIDE) * s)) for s in steps]
    return [whole.crop((left, top, left + SIDE, top + SIDE)) for left, top in corners]
