"""Cells that a spreadsheet would take for formulas."""

from __future__ import annotations

import re

# What a spreadsheet program takes for the beginning of a formula (OWASP, CSV injection), also
# behind spaces, which some leave out.
_BEGINS = re.compile(r"[\s\ufeff]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


def escape_formula(cell: str) -> str:
    """``cell`` for a CSV file, with an apostrophe before what a spreadsheet would calculate.

    A cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return is a formula to a
    spreadsheet program, and a formula can send the table elsewhere or start a program. The
    apostrophe makes it text. Numbers, negative ones too, and everything else stay as they are.

    Args:
        cell: What is to be written.
    """
    if _NUMBER.fullmatch(cell) or not _BEGINS.match(cell):
        return cell
    return f"'{cell}"
