"""Sentences and their translations (Tanaka corpus), read below ISTHMUS_DATA."""

from __future__ import annotations

from typing import Literal

from align.data.pairs import Pairs
from experiments.datasets.folders import check_choice, data_folder, read_rows


def tanaka_enja(split: Literal["train", "dev"]) -> Pairs:
    """English sentences, lower-case, and their Japanese translations; equal English is a group.

    Args:
        split: ``"train"``, 20,000 pairs, or ``"dev"``, 500.

    Raises:
        FileNotFoundError: The data are not there.
        ValueError: There is no such split.
    """
    check_choice("split", split, ("train", "dev"))
    rows = read_rows(data_folder("tanaka_enja") / f"{split}.jsonl.gz")
    english = [row["en"] for row in rows]
    return Pairs.from_lists(english, [row["ja"] for row in rows], groups=english)
