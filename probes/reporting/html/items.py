"""The items behind the ids of a report, as a page shows them."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from align.data.pictures import check_size, opened
from align.data.sides import Side

if TYPE_CHECKING:
    from PIL.Image import Image

    from align.data.pairs import Pairs
    from probes.reporting.model import ReportValues

EDGE = 96  # longest side of a thumbnail in pixels

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """``text`` whose control characters, and surrogates that UTF-8 cannot hold, are U+FFFD."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def item_renderer(pairs: Pairs, report: ReportValues) -> Callable[[Side, str], Markup]:
    """A function from a side and an id to the item as HTML, which draws each once."""
    rows = {id: row for row, id in enumerate(pairs.ids)}
    ids = {hub.id for hub in report.hubs}
    ids |= {id for failure in report.failures for id in (failure.id, failure.best_id)}
    missing = sorted(ids - set(rows))
    if missing:
        raise ValueError(
            f"pairs must hold every id that the report names; {len(missing)} of {len(ids)} "
            f"are missing, such as {missing[0]!r}. Pass the pairs that were embedded."
        )

    @cache
    def rendered(side: Side, id: str) -> Markup:
        return _html((pairs.source if side == "source" else pairs.target)[rows[id]])

    return rendered


def _html(item: Any) -> Markup:
    """A picture, a text, or what its type makes of itself."""
    from PIL.Image import Image

    if isinstance(item, str):
        return Markup('<p class="item" dir="auto">{}</p>').format(_cut(item))
    if not isinstance(item, Path | Image):
        return Markup('<p class="item"><code>{}</code></p>').format(_cut(repr(item)))
    name = _cut(item.name if isinstance(item, Path) else "picture in memory")
    small = thumbnail(item)
    if small is None:
        return Markup('<p class="item unread">cannot be read: {}</p>').format(name)
    return Markup('<img src="{0.uri}" width="{0.width}" height="{0.height}" alt="{1}">').format(
        small, name
    )


def _cut(text: str, longest: int = 240) -> str:
    text = printable(text)
    return text if len(text) <= longest else text[:longest].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a data URI: JPEG, base64, without the metadata of the original."""

    uri: str
    width: int
    height: int


def thumbnail(item: Path | Image) -> Thumbnail | None:
    """A small upright copy of the picture, or of its first frame; ``None`` if it is unreadable."""
    try:
        if isinstance(item, Path):
            with opened(item, str(item)) as image:
                return _small(image)
        check_size(item, "the picture")
        return _small(item.copy())
    except Exception:  # Pillow's formats raise errors of many kinds, and a report goes on without
        return None


def _small(image: Image) -> Thumbnail:
    from PIL import Image, ImageOps

    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode} has more than 8 bits and would be cut off to white")
    if image.mode == "P":
        image = image.convert("RGBA")
    # A JPEG is decoded at the smaller size; turned upright afterwards, as the box is square.
    image.thumbnail((EDGE, EDGE))
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    # What shows through is light enough for black drawings and dark enough for white ones.
    ground = Image.new("RGBA", upright.size, (200, 200, 200, 255))
    flat = Image.alpha_composite(ground, upright).convert("RGB")
    jpeg = io.BytesIO()
    flat.save(jpeg, format="JPEG", quality=82)
    uri = "data:image/jpeg;base64," + b64encode(jpeg.getvalue()).decode()
    return Thumbnail(uri, flat.width, flat.height)
