"""Which shard holds which item: the shards of one encoder, looked up by content key."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from align.multivector import MultiVector
from align.shards import Label, Shard, shard_paths

logger = logging.getLogger(__name__)


class Shelf:
    """The shards of one label, and where in them each key lies.

    A shard that cannot be read is left out with a logged warning, as if it were not there, so its
    items count as missing and are encoded again.
    """

    def __init__(self, root: Path, label: Label) -> None:
        """Look at nothing yet: ``refresh`` does, and may be called as often as one likes."""
        self.label = label
        self.folder = label.folder(root)
        self._shards: dict[Path, Shard] = {}
        self._damaged: set[Path] = set()
        self._where: dict[bytes, tuple[Shard, int]] = {}

    def refresh(self) -> None:
        """Take in the shards that appeared in the folder, and forget those that are gone."""
        listed = shard_paths(self.folder)
        if self._shards.keys() - set(listed):
            kept = [self._shards[path] for path in listed if path in self._shards]
            self._shards, self._where = {}, {}
            for shard in kept:
                self._admit(shard)
        for path in listed:
            if path in self._shards or path in self._damaged:
                continue
            try:
                shard = Shard(path)
                if shard.label != self.label:
                    raise ValueError("it belongs to another encoder")
            except FileNotFoundError:
                # Pruned since it was listed: a newer shard has what it held.
                return self.refresh()
            except (ValueError, OSError) as reason:
                self._damaged.add(path)
                logger.warning(
                    "%s is left out, and its items are encoded again, because %s. "
                    "`align store verify` lists such files, and prune removes them.",
                    path,
                    reason,
                )
            else:
                self._admit(shard)

    def _admit(self, shard: Shard) -> None:
        self._shards[shard.path] = shard
        for row, key in enumerate(shard.names):
            self._where.setdefault(key, (shard, row))

    def __contains__(self, key: bytes) -> bool:
        return key in self._where

    def write(self, keys: Sequence[bytes], vectors: Tensor, offsets: Tensor | None) -> None:
        """Write one batch, in the dtype of the label, as a new shard; ``refresh`` takes it in."""
        Shard.write(self.folder, self.label, keys, vectors, offsets)

    @property
    def width(self) -> int | None:
        """Columns of the vectors, or ``None`` if there are none yet."""
        return next((shard.vectors.shape[1] for shard in self._shards.values()), None)

    def pooled(self, keys: Sequence[bytes]) -> Tensor:
        """Vectors of ``n >= 1`` keys, all present, in that order; ``(n, d)`` float32, a copy."""
        wanted: dict[Shard, list[tuple[int, int]]] = defaultdict(list)
        for position, key in enumerate(keys):
            shard, row = self._where[key]
            wanted[shard].append((position, row))
        width = next(iter(wanted)).vectors.shape[1]
        found = torch.empty(len(keys), width, dtype=torch.float32)
        for shard, places in wanted.items():
            positions, rows = torch.tensor(places).unbind(1)
            found[positions] = shard.vectors[rows].float()
        return found

    def tokens(self, keys: Sequence[bytes]) -> MultiVector:
        """Tokens of ``n >= 1`` keys, all present, in that order; float32, a copy."""
        packed = MultiVector.pack([self._view(key) for key in keys])
        return MultiVector(packed.tokens.float(), packed.offsets)

    def _view(self, key: bytes) -> Tensor:
        shard, row = self._where[key]
        return shard.tokens(row)
