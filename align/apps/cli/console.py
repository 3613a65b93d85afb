"""A rich console that takes text as it is: no markup, no emoji codes, nothing that steers."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from align._display.escaping import plain_lines


class PlainConsole(Console):
    """Standard output, as wide as the terminal, or standard error.

    Rich turns every string, cells and titles of tables included, into text by ``render_str``;
    here it stays as it is. A ``Text`` of rich itself keeps its styles, and whoever makes one passes
    foreign text through ``plain`` first.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """``text`` as it is, steering characters spelled out."""
        options |= {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(plain_lines(text), **options)
