"""The items behind the ids of a report, as a page shows them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from align.data.sides import Side
from align.data.thumbnails import NEUTRAL, thumbnail

if TYPE_CHECKING:
    from probes.reporting.items import ReportItems

EDGE = 96  # longest side of a thumbnail in pixels

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """``text`` whose control characters, and surrogates that UTF-8 cannot hold, are U+FFFD."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def item_renderer(items: ReportItems) -> Callable[[Side, str], Markup]:
    """A function from a side and an id to the item as HTML, which draws each once."""

    @cache
    def rendered(side: Side, id: str) -> Markup:
        return _html(items.side(side)[id])

    return rendered


def _html(item: Any) -> Markup:
    """A picture, a text, or what its type makes of itself."""
    from PIL.Image import Image

    if isinstance(item, str):
        return Markup('<p class="item" dir="auto">{}</p>').format(_cut(item))
    if not isinstance(item, Path | Image):
        return Markup('<p class="item"><code>{}</code></p>').format(_cut(repr(item)))
    name = _cut(item.name if isinstance(item, Path) else "picture in memory")
    try:
        small = thumbnail(item, name, edge=EDGE, ground=NEUTRAL)
    except ValueError:  # a report goes on without
        return Markup('<p class="item unread">cannot be read: {}</p>').format(name)
    return Markup('<img src="{0.address}" width="{0.width}" height="{0.height}" alt="{1}">').format(
        small, name
    )


def _cut(text: str, longest: int = 240) -> str:
    text = printable(text)
    return text if len(text) <= longest else text[:longest].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
