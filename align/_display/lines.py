"""One line that says what an object is, for its ``__repr__``, and the numbers and words in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from align._display.escaping import plain

LONGEST = 150
"""Characters of a line that says what an object is."""

_UNITS = ("kB", "MB", "GB", "TB")


def one_line(name: str, *parts: str) -> str:
    """``Name(part, part)`` in at most ``LONGEST`` characters; parts that are empty are left out."""
    inside = ", ".join(filter(None, parts))
    return f"{name}({shortened(inside, LONGEST - len(name) - 2)})"


def shortened(text: object, longest: int) -> str:
    """``plain(text)`` in at most ``longest`` characters, with an ellipsis where it was cut."""
    whole = text if isinstance(text, str) else str(text)
    # Cut before it is made plain: a text may be a whole book.
    shown = plain(whole[: longest + 1])
    return shown if len(shown) <= longest else shown[: max(0, longest - 1)].rstrip() + "…"


def quoted(text: object, longest: int = 40) -> str:
    """A text from outside in quotation marks, as ``shortened``."""
    return f"'{shortened(text, longest)}'"


def count(n: int, noun: str, plural: str = "") -> str:
    """``"1 pair"`` or ``"5,000 pairs"``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """A share in [0, 1] with one decimal: ``"41.2 %"``."""
    return f"{100 * share:.1f} %"


def rounded(value: float) -> str:
    """A number with three decimals: ``"0.312"``."""
    return f"{value:.3f}"


def size(nbytes: int) -> str:
    """Bytes in the unit that suits: ``"12 bytes"``, ``"3.1 MB"``."""
    if nbytes < 1000:
        return count(nbytes, "byte")
    power = 1
    while nbytes >= 999.95 * 1000**power and power < len(_UNITS):
        power += 1
    return f"{nbytes / 1000**power:.1f} {_UNITS[power - 1]}"


def changed_fields(value: Any) -> list[str]:
    """``name=value`` of each field of a dataclass that is not its default, in order."""
    return [
        f"{each.name}={shortened(repr(getattr(value, each.name)), 60)}"
        for each in fields(value)
        if each.default is not MISSING and getattr(value, each.name) != each.default
    ]


def aligned(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows of texts as columns for a terminal: the first to the left, all others to the right."""
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in shown
    )
    return "\n".join(indent + line.rstrip() for line in lines)
