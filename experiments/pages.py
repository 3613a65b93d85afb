"""Tables of README, site and ``WHAT_WORKS.md``, written anew from the records they quote.

    python -m experiments.pages [--check]

A page marks what is made from records, and says by which function without arguments:

    <!-- made by experiments.league:recall -->

    | method | n = 300 |
    ...

    <!-- end -->

What is between is replaced by what the function returns; where both comments stand in one line,
by its text in that line. Pages that differed are named, and the exit status is then 1: with
``--check`` nothing is written.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from align._files.atomic import atomic_file

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(
    r"(?P<start><!-- made by (?P<module>experiments[\w.]*):(?P<function>\w+) -->)"
    r"(?P<text>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)
_MARK = re.compile(r"<!-- (?:made by .*?|end) -->")


def pages(root: Path = ROOT) -> Iterator[Path]:
    """Every page of the project that may quote a record."""
    yield root / "README.md"
    yield root / "experiments" / "WHAT_WORKS.md"
    yield from sorted((root / "docs").rglob("*.md"))


def renewed(page: str) -> str:
    """The text of a page with every marked block made anew.

    Raises:
        ValueError: A mark has no partner, or names no function of an experiment.
    """
    blocks = list(_BLOCK.finditer(page))
    marks = len(_MARK.findall(page))
    if marks != 2 * len(blocks) or any(_MARK.search(block["text"]) for block in blocks):
        raise ValueError(
            "every '<!-- made by experiments.NAME:function -->' must have its own '<!-- end -->'; "
            f"{marks} such comments make {len(blocks)} blocks; complete the pair that is broken"
        )
    return _BLOCK.sub(_made, page)


def _made(block: re.Match[str]) -> str:
    function = getattr(import_module(block["module"]), block["function"], None)
    if function is None:
        raise ValueError(
            "a block must be made by a function that exists; "
            f"{block['module']} has no {block['function']!r}; correct the comment of the page"
        )
    text = function()
    if "\n" in block["text"]:
        text = f"\n\n{text.strip()}\n\n"
    return f"{block['start']}{text}{block['end']}"


def percent(estimate: Mapping[str, float] | None, *, sign: str = "") -> str:
    """A cell such as ``46.3 [37.6, 56.3]``: value and interval in per cent; "" of nothing.

    With ``sign="+"`` every number has its sign, as differences should.
    """
    if estimate is None:
        return ""
    value, low, high = (100 * estimate[name] for name in ("value", "low", "high"))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """A table in Markdown: columns of words to the left, numbers to the right.

    Args:
        header: Names of columns.
        rows: Their cells, Markdown already.
        words: How many columns hold words, from the left.

    Raises:
        ValueError: A row has not as many cells as the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"a row must have the {len(header)} cells of its header; {row!r} has {len(row)}; "
                "give an empty text for a cell without a value"
            )
    rules = ["---"] * words + ["---:"] * (len(header) - words)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rules, *rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Renew every page; 1 where one differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check: bool = parser.parse_args(arguments).check
    differed = False
    for path in pages():
        text = path.read_text(encoding="utf-8")
        new = renewed(text)
        if new != text:
            differed = True
            print(f"{path.relative_to(ROOT)} differs from the records")
            if not check:
                with atomic_file(path) as scratch:
                    scratch.write_text(new, encoding="utf-8")
    return int(differed)


if __name__ == "__main__":
    raise SystemExit(main())
