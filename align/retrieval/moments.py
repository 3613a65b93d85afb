"""Moments of videos: the seconds at which their frames are shown, as an index keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FIELD = "frame_seconds"
"""The field of the metadata that holds the second of each vector of a video."""


def metadata_of_moments(
    metadata: Sequence[Mapping[str, Any]] | None, seconds: Sequence[Sequence[float]]
) -> list[Mapping[str, Any]]:
    """Metadata in which each video has the seconds of its frames, to a thousandth."""
    given: Sequence[Mapping[str, Any]] = [{}] * len(seconds) if metadata is None else metadata
    return [
        {**fields, FIELD: [round(second, 3) for second in own]}
        for fields, own in zip(given, seconds, strict=True)
    ]


def clock(second: float) -> str:
    """``0:07``: minutes and seconds as players show them, rounded down."""
    minutes, seconds = divmod(int(second), 60)
    return f"{minutes}:{seconds:02}"
