"""Text from outside, made fit for a terminal, for Markdown and for a spreadsheet."""

from __future__ import annotations

import json
import re

# C0 but the tab, DEL, C1, line and paragraph separators, bidirectional embeddings, overrides and
# isolates (Unicode 16, chapter 23.2; CVE-2021-42574), and halves of surrogate pairs, which no file
# or stream can encode.
_CONTROL = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

# What begins markup inside a line of GitHub-flavoured Markdown (0.29), tables and bare links
# included, and what begins a heading, a list or a rule at the start of one.
_MARKUP = re.compile(r"[\\`*_\[\]|~$]|(?<=\bwww)\.|:(?=//)", re.IGNORECASE)
_BLOCK_START = re.compile(r"^\s*(?:[#+=-]|\d+[.)](?=\s|$))")
_TAGS = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

# What a spreadsheet program takes for the start of a formula (OWASP, CSV injection), also behind
# spaces, which some leave out.
_FORMULA_START = re.compile(r"[\s\ufeff]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


def plain(value: object) -> str:
    """``str(value)`` as one line in which control characters are spelled as Python spells them.

    A terminal obeys escape sequences in a file name or a caption, a line feed forges a line, and a
    bidirectional override reorders text. Tabs, brackets and anything else stay.
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(value))


def plain_lines(value: object) -> str:
    """``plain``, but line feeds stay."""
    return "\n".join(map(plain, str(value).split("\n")))


def plain_json(value: object) -> str:
    """``value`` as indented JSON with control characters escaped; it reads back the same."""
    # JSON has escaped the line feeds of strings; those that are left are its own.
    lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
    return "\n".join(_CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", x) for x in lines)


def in_code(text: object) -> str:
    """``str(text)`` as a code span of Markdown, for a table too; nothing in it can end the span."""
    shown = plain(text).replace("|", "\\|")
    longest = max(map(len, re.findall("`+", shown)), default=0)
    if not longest and shown == shown.strip():
        return f"`{shown}`"
    fence = "`" * (longest + 1)
    return f"{fence} {shown} {fence}"


def in_markdown(text: object) -> str:
    """``str(text)`` as one line of Markdown that shows it as it is: no markup, link or picture.

    It may stand alone, behind other text or in a cell of a table, but not in a code span.
    """
    shown = re.sub("[&<>]", lambda match: _TAGS[match[0]], plain(text))
    shown = _MARKUP.sub(lambda match: f"\\{match[0]}", shown)
    return _BLOCK_START.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", shown)


def escape_formula(cell: str) -> str:
    """``cell`` for a CSV file, with an apostrophe before what a spreadsheet would calculate.

    A formula can send the table elsewhere or start a program; the apostrophe makes it text.
    Numbers, negative ones too, stay as they are.
    """
    if _NUMBER.fullmatch(cell) or not _FORMULA_START.match(cell):
        return cell
    return f"'{cell}"
