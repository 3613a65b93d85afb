"""The two sides of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from align._checks import as_list

Side = Literal["source", "target"]
SideNames = tuple[str, str]

SIDES: tuple[Side, Side] = ("source", "target")

SIDE_NAMES: SideNames = ("source", "target")
"""What the sides are called where nobody gave them other names."""


class RawPairs(Protocol):
    """What ``align.data.pairs.Pairs`` offers to what encodes pairs or writes them down."""

    @property
    def ids(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> tuple[Any, ...]: ...
    @property
    def target(self) -> tuple[Any, ...]: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def source_modality(self) -> tuple[str, ...] | None: ...
    @property
    def target_modality(self) -> tuple[str, ...] | None: ...
    @property
    def instructions(self) -> tuple[str, ...] | None: ...
    @property
    def side_names(self) -> SideNames: ...


def checked_side_names(names: Sequence[str]) -> SideNames:
    """Two different names of sides, as a tuple.

    Raises:
        TypeError: They are one text.
        ValueError: They are not two different texts with something in them.
    """
    found = tuple(as_list("side_names", names))
    if (
        len(found) != 2
        or not all(isinstance(name, str) and name.strip() for name in found)
        or found[0] == found[1]
    ):
        raise ValueError(
            "side_names must be two different names, of the source and of the target; got "
            f"{found!r}. Pass what people call them, such as ('caption', 'image')."
        )
    return found[0], found[1]


def side_names_of(source: str, target: str) -> SideNames:
    """The names of two columns; the usual ones where one column is both sides."""
    return SIDE_NAMES if source == target else (source, target)


def directions_of(names: SideNames) -> tuple[str, str]:
    """Both directions of a search: ``("caption → image", "image → caption")``."""
    source, target = names
    return f"{source} → {target}", f"{target} → {source}"


def other_side(side: Side) -> Side:
    """The side that is not ``side``."""
    return "source" if side == "target" else "target"
