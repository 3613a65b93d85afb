"""Panels as HTML that any notebook shows, light or dark."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from align._display.escaping import plain
from align._display.limits import GENEROUS_TO_STRICT, limited
from align._display.parts import Cell, Folded, Panel, Picture, Table, Tile

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Cell", "Folded", "Panel", "Picture", "Table", "Tile", "render"]

MOST_BYTES = 60_000
"""A notebook keeps the panel of each cell in its file."""


def render(panel: Panel, *, most_bytes: int = MOST_BYTES) -> str:
    """The HTML of a panel: one ``div`` with its own style, no script, nothing from elsewhere.

    Colours follow the text around it, so that a light and a dark theme both stay readable; a viewer
    that drops styles, as GitHub does, shows plain headings and tables. Every value is escaped. What
    would take more than ``most_bytes`` is cut, letters first, and says so.
    """
    html = ""
    for limits in GENEROUS_TO_STRICT:
        html = _template().render(panel=limited(panel, limits), style=_resource("panel.css"))
        if len(html.encode()) <= most_bytes:
            break
    return html


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = plain
    environment.tests["picture"] = lambda cell: isinstance(cell, Picture)
    return environment.from_string(_resource("panel.html.jinja"))


@cache
def _resource(name: str) -> str:
    return files("align._display").joinpath(name).read_text(encoding="utf-8")
