"""What putting items into an index changes: which are new, which differ, which are as they were."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.retrieval.index.lookup import StoredItems


@dataclass(frozen=True, slots=True)
class Changes:
    """How many items ``Index.put`` added, replaced, and left as they were."""

    added: int
    updated: int
    unchanged: int


def differing(held: StoredItems, new: StoredItems) -> Tensor:
    """Whether the items of two lists differ in anything that is stored of them, bool ``(n,)``."""
    records = zip(held.modality, new.modality, held.metadata, new.metadata, strict=True)
    described = [one != other or dict(a) != dict(b) for one, other, a, b in records]
    return torch.tensor(described) | _vectors_differ(held.vectors, new.vectors)


def _vectors_differ(held: MultiVector, new: MultiVector) -> Tensor:
    """Whether the vectors of each item differ in a bit; both are of one dtype."""
    differ = held.offsets.diff() != new.offsets.diff()
    if held.scales is not None and new.scales is not None:
        differ |= held.scales != new.scales
    alike = (~differ).nonzero().flatten()
    if len(alike):
        one, other = held.take(alike), new.take(alike)
        rows = (one.tokens != other.tokens).any(dim=1)
        owners = torch.repeat_interleave(alike, one.offsets.diff())
        differ[owners[rows]] = True
    return differ
