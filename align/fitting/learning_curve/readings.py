"""Ranks that were measured so far, in a file from which an interrupted curve goes on."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from align._files.codec import Schema
from align._files.tensors import digest_of, read_tensors, write_tensors
from align._version import __version__
from align.data.embeddings import PairedEmbeddings

SCHEMA = Schema("isthmus-learning-curve", 1)


class Readings:
    """Ranks by round and sample, kept in memory, and in a file where there is one.

    Raises:
        ValueError: The file is damaged, or of other pairs, folds, seeds or versions.
    """

    def __init__(self, path: str | Path | None, pairs: PairedEmbeddings, **words: int) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self.words = {"of": _digest(pairs, words)}
        self.ranks: dict[str, Tensor] = {}
        if self.path is None or not self.path.exists():
            return
        ranks, words_there, _ = read_tensors(
            self.path, schema=SCHEMA, again="Delete it, and start the curve anew."
        )
        if words_there != self.words:
            raise ValueError(
                f"{str(self.path)!r} must hold ranks of these pairs, folds, seed and version; it "
                "is of others. Name another file, or delete it."
            )
        self.ranks = ranks

    def add(self, name: str, ranks: Tensor) -> None:
        """Keep the ranks of one round and sample."""
        self.ranks[name] = ranks
        if self.path is not None:
            write_tensors(self.path, self.ranks, schema=SCHEMA, words=self.words)


def _digest(pairs: PairedEmbeddings, words: dict[str, int]) -> str:
    said = {name: str(word) for name, word in words.items()} | {"version": __version__}
    said |= {"groups": json.dumps(pairs.groups), "key": json.dumps(pairs.group_key)}
    return digest_of({"source": pairs.source, "target": pairs.target}, said)
