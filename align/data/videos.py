"""Frames of video files of any origin: which are taken, when they are shown, what they may cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from align.data.pictures import MOST_ASPECT

if TYPE_CHECKING:
    from PIL.Image import Image

Sampling = Literal["uniform", "scenes"]

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
"""Endings of the names of video files, in small letters. A GIF among pictures stays a picture."""

MOST_BYTES = 8 << 30
MOST_FRAMES = 200_000
"""Most frames that are decoded: about two hours at 25 in a second."""
MOST_SECONDS = 4 * 3600.0
MOST_PIXELS = 8192 * 4320
"""Most pixels of a frame: those of 8K."""

CUT = 0.3
"""Share of a frame's pixels that must change their colour for a cut; see ``scene_frames``."""

_THUMB = 32  # side in pixels of what histograms are taken of
_SAME = 1e-3  # seconds that rounding may take from a time; an index keeps thousandths
_WHOLE = 0.8  # share of the length that a file claims that must be there


class Frame(NamedTuple):
    """A frame, upright, and the second at which it is shown, counted from the first frame."""

    second: float
    picture: Image


class _RefusedError(ValueError):
    """Already explained in three parts."""


def frame_times(path: str | Path, *, frames: int, sampling: Sampling = "uniform") -> list[float]:
    """Seconds, from the first frame, at which the frames of ``sampled_frames`` are shown."""
    times, picked = _pick(Path(path), frames, sampling)
    return [times[index] for index in picked]


def sampled_frames(path: str | Path, *, frames: int, sampling: Sampling = "uniform") -> list[Frame]:
    """At most ``frames`` frames of a video, in order; fewer where it has no more.

    The file is decoded twice, to see when its frames are shown and to take some: what headers say
    of length and rate is not relied on, so that variable rates and odd timestamps do no harm.

    Args:
        path: A file of MP4, MOV, Matroska, WebM, AVI or GIF.
        frames: How many, >= 1.
        sampling: ``"uniform"`` takes what is shown in the middle of each of ``frames`` equal spans
            of time; ``"scenes"`` what ``scene_frames`` says.

    Raises:
        ModuleNotFoundError: PyAV is not installed.
        ValueError: It is no readable video, has no picture, is cut off, or too long or too large.
    """
    path = Path(path)
    _, picked = _pick(path, frames, sampling)
    wanted, taken = set(picked), []
    with _decoded(path) as shown:
        for index, (second, frame) in enumerate(shown):
            if index in wanted:
                taken.append(Frame(second, _upright(frame)))
                if len(taken) == len(wanted):
                    break
    return taken


def frame_at(path: str | Path, second: float) -> Image:
    """The picture that a video shows at a second; its first before, and its last after the end.

    Raises:
        ModuleNotFoundError: PyAV is not installed.
        ValueError: As for ``sampled_frames``.
    """
    last = None
    with _decoded(Path(path)) as shown:
        for time, frame in shown:
            if last is not None and time > second + _SAME:
                break
            last = frame
        assert last is not None  # _decoded refuses a video without frames
        return _upright(last)


def video_problem(path: Path) -> str:
    """Why ``path`` is no video that an encoder takes, or ``""``; its first frame is decoded."""
    if not path.exists():
        return "is missing"
    try:
        frame_at(path, -1.0)
    except ValueError as error:
        return f"is unreadable: {error.__cause__ or error}"
    return ""


def uniform_frames(times: Sequence[float], frames: int) -> list[int]:
    """Indices of what is shown in the middle of each of ``frames`` equal spans, each once."""
    length = _end(times) - times[0]
    middles = (times[0] + (span + 0.5) * length / frames for span in range(frames))
    return sorted({max(bisect_right(times, middle + _SAME) - 1, 0) for middle in middles})


def scene_frames(times: Sequence[float], changes: Sequence[float], frames: int) -> list[int]:
    """Indices of what is shown in the middle of scenes, at most ``frames``.

    A cut lies before each frame whose colours changed by at least ``CUT``: half the sum of the
    absolute differences between its histogram and the one before, of 4 x 4 x 4 colours, so 1 where
    no colour is kept. Of more cuts than ``frames - 1``, the largest count, of equal ones the
    earlier. Where there are fewer, further frames go one by one to the scene with the most
    seconds per frame, the earlier of equal ones, and stand in it as uniform ones do.

    Args:
        times: Second of each frame, increasing, ``n`` of them.
        changes: Change of each frame from the one before, ``n`` in [0, 1]; the first is 0.
        frames: How many to take, >= 1.
    """
    cuts = [index for index in range(1, len(times)) if changes[index] >= CUT]
    cuts = sorted(sorted(cuts, key=lambda index: (-changes[index], index))[: frames - 1])
    bounds = [0, *cuts, len(times)]
    ends = [*times, _end(times)]
    shares = [1] * (len(bounds) - 1)
    lengths = [ends[stop] - ends[start] for start, stop in pairwise(bounds)]
    for _ in range(frames - len(shares)):
        # A rounded second cannot flip the choice: shots of one length tie, and the earlier wins.
        shares[max(range(len(shares)), key=lambda s: round(lengths[s] / shares[s], 6))] += 1
    picked: set[int] = set()
    for (start, stop), share in zip(pairwise(bounds), shares, strict=True):
        middles = (
            ends[start] + (part + 0.5) * (ends[stop] - ends[start]) / share for part in range(share)
        )
        picked |= {
            max(bisect_right(times, middle + _SAME, start, stop) - 1, start) for middle in middles
        }
    return sorted(picked)


def _end(times: Sequence[float]) -> float:
    """When the last frame ends, if it is shown as long as the others on average."""
    return times[-1] + ((times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0)


def _pick(path: Path, frames: int, sampling: Sampling) -> tuple[list[float], list[int]]:
    """Seconds of all frames of a video, and the indices of those that are taken."""
    times: list[float] = []
    changes: list[float] = []
    before = None
    with _decoded(path, whole=True) as shown:
        for second, frame in shown:
            times.append(second)
            if sampling == "scenes":
                now = _histogram(frame)
                changes.append(0.0 if before is None else float(abs(now - before).sum()) / 2)
                before = now
    if sampling == "scenes":
        return times, scene_frames(times, changes, frames)
    return times, uniform_frames(times, frames)


def _histogram(frame: Any) -> np.ndarray[Any, Any]:
    small = frame.reformat(width=_THUMB, height=_THUMB, format="rgb24").to_ndarray() // 64
    codes = small[..., 0] * 16 + small[..., 1] * 4 + small[..., 2]
    return np.bincount(codes.ravel(), minlength=64) / _THUMB**2


def _upright(frame: Any) -> Image:
    picture: Image = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


@contextmanager
def _decoded(path: Path, *, whole: bool = False) -> Iterator[Iterator[tuple[float, Any]]]:
    """Seconds and frames of a video, in order; whatever fails in the block names the file.

    With ``whole``, a file that ends long before the length that it claims is refused.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"videos need PyAV to be decoded; it is not installed, and {str(path)!r} is a video. "
            "Install it: pip install 'isthmus[video]'.",
            name="av",
        ) from error
    name = repr(str(path))
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size > MOST_BYTES:
                raise _too_much(name, f"{size:,} bytes", f"{MOST_BYTES:,}")
            # The format is told from the content and the file handed over opened, so that a
            # playlist under the name of a video leads to no other file and no address.
            with av.open(file, format=_format(file, name)) as container:
                if not container.streams.video:
                    raise _RefusedError(
                        f"a video must have a picture; {name} has no video stream, as a file of "
                        "sound. Drop the item and its id."
                    )
                yield _frames(container, container.streams.video[0], name, whole=whole)
    except _RefusedError:
        raise
    except (OSError, ValueError, av.FFmpegError) as error:
        raise ValueError(
            f"a video must be a readable file of MP4, MOV, Matroska, WebM, AVI or GIF; {name} gave "
            f"{type(error).__name__}: {error}. Check that it was copied whole, or drop the item "
            "and its id."
        ) from error


def _format(file: IO[bytes], name: str) -> str:
    """What PyAV calls the format of a file, from its first bytes."""
    start = file.read(16)
    file.seek(0)
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    if start.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
        return "avi"
    if start.startswith(b"GIF8"):
        return "gif"
    came = "is empty" if not start else "begins as none of them does"
    raise _RefusedError(
        f"a video must be a file of MP4, MOV, Matroska, WebM, AVI or GIF; {name} {came}. Convert "
        "it, or drop the item and its id."
    )


def _frames(container: Any, stream: Any, name: str, *, whole: bool) -> Iterator[tuple[float, Any]]:
    """Frames with growing times; one that is not later than the one before is left out."""
    _check_size(stream.codec_context, name)
    stream.thread_type = "AUTO"
    first: float | None = None
    last, count = -1.0, 0
    for count, frame in enumerate(container.decode(stream), start=1):
        if count > MOST_FRAMES:
            raise _too_much(name, f"more than {MOST_FRAMES:,} frames", f"{MOST_FRAMES:,}")
        _check_size(frame, name)
        if frame.time is None:
            raise _RefusedError(
                f"the frames of a video must say when they are shown; those of {name} do not. "
                "Convert it to MP4."
            )
        first = frame.time if first is None else first
        second = float(frame.time - first)
        if second > MOST_SECONDS:
            raise _too_much(name, f"more than {MOST_SECONDS:,.0f} seconds", f"{MOST_SECONDS:,.0f}")
        if second > last:
            last = second
            yield second, frame
    if not count:
        raise _RefusedError(
            f"a video must have frames; none of {name} can be decoded. Check that it was copied "
            "whole, or drop the item and its id."
        )
    claimed = float(stream.duration * stream.time_base) if stream.duration else 0.0
    if not claimed and container.duration and len(container.streams) == 1:
        claimed = container.duration / 1e6 - max(first or 0.0, 0.0)  # it says when the file ends
    if whole and claimed > MOST_SECONDS * 100:
        claimed = 0.0  # no length at all, as of a stream that was recorded without an end
    shown = last * (1 + 1 / max(count - 1, 1))
    if whole and count > 1 and shown < _WHOLE * claimed:
        raise _RefusedError(
            f"a video must be there whole; {name} claims {claimed:.1f} seconds and has "
            f"{shown:.1f}. Copy it again, or drop the item and its id."
        )


def _check_size(held: Any, name: str) -> None:
    width, height = held.width, held.height
    if width * height > MOST_PIXELS:
        raise _too_much(name, f"frames of {width:,} x {height:,}", f"{MOST_PIXELS:,} pixels")
    if min(width, height) and max(width, height) > MOST_ASPECT * min(width, height):
        raise _too_much(name, f"frames of {width:,} x {height:,}", f"{MOST_ASPECT}:1")


def _too_much(name: str, came: str, most: str) -> _RefusedError:
    return _RefusedError(
        f"a video may have at most {most}; {name} has {came}. Cut it into shorter clips, or make "
        "it smaller, first."
    )
