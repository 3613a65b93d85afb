"""Files of pictures and of videos, where a row or a folder may hold either."""

from __future__ import annotations

from pathlib import Path

from align.data import pictures, videos

SUFFIXES = pictures.SUFFIXES | videos.SUFFIXES
"""Endings of the names of such files, in small letters."""


def visual_kind(path: Path) -> str:
    """``"video"`` or ``"image"``, by the ending of the name."""
    return "video" if path.suffix.lower() in videos.SUFFIXES else "image"


def file_problem(path: Path) -> str:
    """Why an encoder cannot take a picture or a video, or ``""``; it is opened to find out."""
    if visual_kind(path) == "video":
        return videos.video_problem(path)
    return pictures.picture_problem(path)
