"""Text of users inside HTML."""

from __future__ import annotations

import html
import re

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escaped(text: str) -> str:
    """``text`` for HTML, inside elements and inside quoted attributes.

    Control characters, and surrogates that UTF-8 cannot hold, become U+FFFD.

    Args:
        text: Any text.
    """
    return html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text))
