"""Pairs of a data set as a file that the command line reads."""

from align.data.examples.emoji import emoji_pairs
from align.data.pairs import Pairs
from experiments.pairs_file import write_pairs


def test_pairs_come_back_as_they_were_written(tmp_path):
    pairs = emoji_pairs("ja").take(range(30))
    write_pairs(pairs, tmp_path / "pairs.csv")
    again = Pairs.from_csv(
        tmp_path / "pairs.csv", source="source", target="target", id="id", group="group"
    )
    assert again == pairs
