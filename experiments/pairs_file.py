"""Pairs of a data set as a CSV, so that the command line can be tried on real data.

    python -m experiments.pairs_file emoji pairs.csv
    python -m experiments.pairs_file flickr8k-dev dev.csv

Then, for example, with an adapter that ``make demo`` left in ``demo-output/adapter``:

    align gap demo-output/adapter pairs.csv --source caption --target image --group group
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from align.data.examples.emoji import emoji_pairs
from align.data.pairs import Pairs
from experiments.datasets import flickr8k

SETS: Mapping[str, Callable[[], Pairs]] = {
    "emoji": emoji_pairs,
    "flickr8k-train": lambda: flickr8k("train"),
    "flickr8k-dev": lambda: flickr8k("dev"),
}


def main() -> None:
    """Write one data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=SETS)
    parser.add_argument("path", type=Path)
    asked = parser.parse_args()
    pairs = SETS[asked.data]()
    pairs.to_csv(asked.path)
    print(f"{len(pairs):,} pairs written to {asked.path}")


if __name__ == "__main__":
    main()
