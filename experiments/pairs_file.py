"""Pairs of a data set as a CSV, so that the command line can be tried on real data.

    python -m experiments.pairs_file emoji pairs.csv
    python -m experiments.pairs_file flickr8k-dev dev.csv

Then, for example, with an adapter that ``make demo`` left in ``demo-output/adapter``:

    align gap demo-output/adapter pairs.csv --source source --target target --group group
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from align._files.atomic import atomic_file
from align.data.examples.emoji import emoji_pairs
from align.data.pairs import Pairs
from experiments.datasets import flickr8k

COLUMNS = ("id", "source", "target", "group")
SETS: Mapping[str, Callable[[], Pairs]] = {
    "emoji": emoji_pairs,
    "flickr8k-train": lambda: flickr8k("train"),
    "flickr8k-dev": lambda: flickr8k("dev"),
}


def write_pairs(pairs: Pairs, path: Path) -> None:
    """Write pairs of texts or image paths with the columns id, source, target and group.

    Args:
        pairs: Items are texts, or paths of images, which are written as absolute paths.
        path: The CSV; appears whole or not at all.
    """
    with atomic_file(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        rows = zip(pairs.ids, pairs.source, pairs.target, pairs.groups, strict=True)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> str:
    return str(value.resolve()) if isinstance(value, Path) else str(value)


def main() -> None:
    """Write one data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=SETS)
    parser.add_argument("path", type=Path)
    asked = parser.parse_args()
    pairs = SETS[asked.data]()
    write_pairs(pairs, asked.path)
    print(f"{len(pairs):,} pairs written to {asked.path}")


if __name__ == "__main__":
    main()
