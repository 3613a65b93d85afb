"""Lines that say what an object is: one line, short, whatever is in it."""

from __future__ import annotations

import pytest

from align._display.lines import LONGEST, aligned, count, one_line, quoted, shortened, size


def test_a_line_is_short_and_one_whatever_is_in_it() -> None:
    line = one_line("Pairs", "a\nb\x1b[2J\u202e", "", "x" * 10**6)
    assert len(line) == LONGEST and line.startswith("Pairs(a\\nb\\x1b") and line.endswith("…)")
    assert "\n" not in line and "\x1b" not in line and "\u202e" not in line


def test_parts_that_are_empty_leave_no_comma() -> None:
    assert one_line("Index", "", "3 items", "") == "Index(3 items)"


def test_a_text_that_grows_when_it_is_made_plain_is_cut_all_the_same() -> None:
    assert shortened("\x1b" * 50, 10) == "\\x1b\\x1b\\…"
    assert shortened("short", 5) == "short" and quoted("a" * 9, 4) == "'aaa…'"


def test_numbers_are_named_in_the_singular_and_in_the_plural() -> None:
    assert (count(1, "pair"), count(5000, "pair")) == ("1 pair", "5,000 pairs")
    assert count(2, "query", "queries") == "2 queries"


@pytest.mark.parametrize(
    "nbytes, words",
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"),
        (999_949, "999.9 kB"), (999_950, "1.0 MB"), (3_100_000, "3.1 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)  # fmt: skip
def test_bytes_are_named_in_the_unit_that_suits(nbytes: int, words: str) -> None:
    assert size(nbytes) == words


def test_columns_for_a_terminal_are_aligned_and_plain() -> None:
    assert aligned([["metric", "n"], ["R@1", "12,000"], ["a\nb", "1"]]) == (
        "metric       n\nR@1     12,000\na\\nb         1"
    )
