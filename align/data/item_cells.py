"""Raw items as they stand in the cell of a panel: a picture small, a text short."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from align._display.lines import shortened, size
from align._display.parts import Cell, Picture
from align.data.pictures import SUFFIXES
from align.data.thumbnails import NEUTRAL, thumbnail
from align.data.videos import SUFFIXES as VIDEOS
from align.data.videos import frame_at

EDGE = 96  # longest side of a thumbnail in pixels: sharp at 72 on most screens
LETTERS = 200  # of a text


def item_cell(item: Any) -> Cell:
    """A picture as a thumbnail, anything else as ``item_words``.

    A picture that is missing or cannot be read says so in words: nothing is raised, and what is
    in memory stays as it is.
    """
    if isinstance(item, Path) and item.suffix.lower() in SUFFIXES:
        return picture_cell(item)
    if isinstance(item, Path) and item.suffix.lower() in VIDEOS:
        return video_cell(item, 0.0, words=item_words(item))
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        return item_cell(item[1])  # of an encoder of several modalities
    if hasattr(item, "getpixel"):
        return _small(item, item_words(item))
    return item_words(item)


def item_words(item: Any) -> str:
    """A text cut to ``LETTERS``, the name of a file, anything else in a few words.

    Nothing is read, so that it may stand in a line.
    """
    if isinstance(item, Mapping):
        named = (f"{name}: {item_words(part)}" for name, part in item.items())
        return shortened(", ".join(named), LETTERS)
    if isinstance(item, str):
        return shortened(item, LETTERS)
    if isinstance(item, Path):
        return _name(item)
    if isinstance(item, bytes):
        return size(len(item))
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        return item_words(item[1])
    if hasattr(item, "getpixel"):
        return f"picture of {_measures(item.size)}"
    if isinstance(getattr(item, "shape", None), tuple):
        return shortened(f"{type(item).__name__} {_measures(item.shape)}", LETTERS)
    try:
        return shortened(reprlib.repr(item), LETTERS)
    except Exception:  # what a class of others makes of itself may be anything
        return type(item).__name__


def picture_cell(file: Path) -> Cell:
    """The picture in a file as a thumbnail, or what is wrong with it."""
    name = _name(file)
    return _small(file, name) if os.path.exists(file) else f"missing: {name}"


def video_cell(file: Path, second: float, *, words: str) -> Cell:
    """What a video shows at a second as a thumbnail, or what is wrong with it."""
    if not os.path.exists(file):
        return f"missing: {_name(file)}"
    try:
        return _small(frame_at(file, second), shortened(words, LETTERS))
    except (ValueError, ModuleNotFoundError):  # PyAV may be absent where an index is looked at
        return f"cannot be read: {_name(file)}"


def kinds(items: Iterable[Any]) -> str:
    """What items are, in words: ``"text"``, ``"image"``, or several joined by ``|``."""
    names: set[str] = set()
    for each in items:
        parts = each.values() if isinstance(each, Mapping) else (each,)
        names.update(_kind(type(part)) for part in parts)
    return "|".join(sorted(names)) or "nothing"


def _kind(kind: type) -> str:
    if issubclass(kind, str):
        return "text"
    if issubclass(kind, Path) or hasattr(kind, "getpixel"):
        return "image"
    return kind.__name__


def _small(picture: Any, name: str) -> Cell:
    try:
        return Picture(thumbnail(picture, name, edge=EDGE, ground=NEUTRAL).address, name)
    except ValueError:
        return f"cannot be read: {name}"


def _name(file: Path) -> str:
    return shortened(file.name or str(file), LETTERS)


def _measures(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
