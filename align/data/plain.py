"""Text of others, fit to be shown: characters that steer a terminal are spelled out."""

from __future__ import annotations

import json
import re

# C0 but the tab, DEL, C1, line and paragraph separators, bidirectional embeddings, overrides and
# isolates (Unicode 16, chapter 23.2; CVE-2021-42574), and halves of surrogate pairs, which no file
# or stream can encode.
_STEERING = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(value: object) -> str:
    """``str(value)`` as one line in which every steering character is spelled as Python would.

    A terminal obeys escape sequences in a file name or a caption, a line feed forges a line, and a
    bidirectional override shows text in another order than it has. Anything else, brackets and
    colons and tabs included, stays as it is.

    Args:
        value: What came from outside: an item, an id, a path, the message of an error.
    """
    return _STEERING.sub(_spelled, str(value))


def plain_lines(value: object) -> str:
    """The same, but line feeds stay: for a text that may have several lines.

    Args:
        value: As in ``plain``.
    """
    return "\n".join(map(plain, str(value).split("\n")))


def plain_json(value: object) -> str:
    """``value`` as indented JSON, every steering character of it escaped; it reads back the same.

    Args:
        value: Anything that ``json.dumps`` takes.
    """
    # JSON has escaped the line feeds of strings; those that are left are its own.
    lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
    return "\n".join(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", x) for x in lines)


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
