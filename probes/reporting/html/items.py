"""The items behind the ids of a report, as a page shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from probes.reporting.html.escape import escaped
from probes.reporting.html.thumbnails import thumbnail

if TYPE_CHECKING:
    from align.data.pairs import Pairs
    from probes.reporting.model import Direction, ReportValues

Side = Literal["source", "target"]

_LONGEST = 240
"""Characters of a text that are shown."""


class Items:
    """Items as HTML, each drawn once.

    Args:
        pairs: The pairs that the report was made of, or more.
        report: The report whose ids will be asked for.

    Raises:
        ValueError: An id of the report is not among the pairs.
    """

    def __init__(self, pairs: Pairs, report: ReportValues) -> None:
        self._rows = {id: row for row, id in enumerate(pairs.ids)}
        self._sides = {"source": pairs.source, "target": pairs.target}
        self._made: dict[tuple[Side, str], str] = {}
        named = {failure.id for failure in report.failures}
        named |= {failure.best_id for failure in report.failures}
        named |= {hub.id for hub in report.hubs}
        strange = sorted(named - set(self._rows))
        if strange:
            raise ValueError(
                f"pairs must hold every id that the report names; {len(strange)} of {len(named)} "
                f"are missing, such as {strange[0]!r}. Pass the pairs that were embedded."
            )

    def html(self, side: Side, id: str) -> str:
        """The item of a pair: a picture, a text, or what its type makes of itself.

        Args:
            side: Which of the two items.
            id: The pair.
        """
        if (side, id) not in self._made:
            self._made[side, id] = _drawn(self._sides[side][self._rows[id]])
        return self._made[side, id]


def sides(direction: Direction) -> tuple[Side, Side]:
    """The side that asks and the side that is searched.

    Args:
        direction: What was searched.
    """
    return ("source", "target") if direction == "source to target" else ("target", "source")


def _drawn(item: Any) -> str:
    from PIL.Image import Image

    if isinstance(item, str):
        return f'<p class="item" dir="auto">{escaped(_cut(item))}</p>'
    if not isinstance(item, Path | Image):
        return f'<p class="item"><code>{escaped(_cut(repr(item)))}</code></p>'
    name = item.name if isinstance(item, Path) else "picture in memory"
    small = thumbnail(item)
    if small is None:
        return f'<p class="item unread">cannot be read: {escaped(_cut(name))}</p>'
    return (
        f'<img src="{small.uri}" width="{small.width}" height="{small.height}" '
        f'alt="{escaped(_cut(name))}">'
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
