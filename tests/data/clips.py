"""Small clips with planted shots, for tests of videos."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)


def write_clip(
    path: Path,
    shots: Sequence[tuple[tuple[int, int, int], int]],
    *,
    ticks: Sequence[int] | None = None,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """A clip of one-coloured shots of so many frames; ``ticks`` of 1/10 s say when each shows."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        colours = [colour for colour, frames in shots for _ in range(frames)]
        for number, colour in enumerate(colours):
            pixels = np.full((size[1], size[0], 3), colour, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number if ticks is None else ticks[number]
            frame.time_base = Fraction(1, 10)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_sound(path: Path) -> Path:
    """A file of half a second of silence."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), "f4"), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    return path
