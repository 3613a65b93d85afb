"""Text of others inside Markdown."""

from __future__ import annotations

import re

from align.data.plain import plain

# What begins anything inside a line of GitHub-flavoured Markdown (0.29), tables and bare links
# included, and what begins a heading, a list or a rule at the start of one.
_INSIDE = re.compile(r"[\\`*_\[\]|~$]|(?<=\bwww)\.|:(?=//)", re.IGNORECASE)
_AT_START = re.compile(r"^\s*(?:[#+=-]|\d+[.)](?=\s|$))")
_TAGS = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def in_code(text: object) -> str:
    """``str(text)`` as a code span of Markdown, for a table too; it can neither end nor leave it.

    Args:
        text: What came from outside.
    """
    shown = plain(text).replace("|", "\\|")
    longest = max(map(len, re.findall("`+", shown)), default=0)
    if not longest and shown == shown.strip():
        return f"`{shown}`"
    fence = "`" * (longest + 1)
    return f"{fence} {shown} {fence}"


def in_markdown(text: object) -> str:
    """``str(text)`` as one line of Markdown that shows it as it is: no markup, link or picture.

    Characters that steer a terminal are spelled out, line feeds among them, so that nothing can
    begin another line; see ``align.data.plain.plain``. It may stand alone, behind other text, or in
    the cell of a table, but not in a code span, where nothing needs to be escaped but the bar.

    Args:
        text: What came from outside.
    """
    shown = re.sub("[&<>]", lambda found: _TAGS[found[0]], plain(text))
    shown = _INSIDE.sub(lambda found: f"\\{found[0]}", shown)
    return _AT_START.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", shown)
