"""The two sides of a pair."""

from __future__ import annotations

from typing import Literal

Side = Literal["source", "target"]


def other_side(side: Side) -> Side:
    """The side that is not ``side``."""
    return "source" if side == "target" else "target"
