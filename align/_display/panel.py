"""The parts of a panel, and how they become HTML that any notebook shows, light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from align._display.escaping import plain

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a cell: a ``data:`` address, and what it shows in words."""

    address: str
    caption: str


Cell = str | int | Picture
"""Texts are shown as they are, in no markup; whole numbers stand to the right with commas."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One number in large type: a name, the number, and what it stands beside."""

    name: str
    value: str
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells below their headings; cells in columns of ``numeric`` stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    numeric: Sequence[int] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Folded:
    """Tables behind a line that opens them."""

    summary: str
    tables: Sequence[Table]


@dataclass(frozen=True, slots=True)
class Panel:
    """What is shown of one object, from the top: title, sentence, tiles, facts, tables, folded."""

    title: str
    sentence: str = ""
    warning: str = ""
    tiles: Sequence[Tile] = ()
    facts: Mapping[str, str | int] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    folded: Sequence[Folded] = ()


def render(panel: Panel) -> str:
    """The HTML of a panel: one ``div`` with its own style, no script, nothing from elsewhere.

    Colours follow the text around it, so that a light and a dark theme both stay readable; a viewer
    that drops styles, as GitHub does, shows plain headings and tables. Every value is escaped.
    """
    return _template().render(panel=panel, style=_resource("panel.css"))


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = plain
    environment.tests["picture"] = lambda cell: isinstance(cell, Picture)
    return environment.from_string(_resource("panel.html.jinja"))


def _resource(name: str) -> str:
    return files("align._display").joinpath(name).read_text(encoding="utf-8")
