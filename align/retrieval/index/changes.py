"""Items that join those of an index: behind them, in their place, or not at all if they are same.

An index is a list of segments: first those in its folder, then those that are not saved yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.retrieval.index.lookup import StoredItems, items_at, locate, without
from align.retrieval.storage.segments import LiveSegment, in_memory, merge_small, one_each


@dataclass(frozen=True, slots=True)
class Changes:
    """How many items ``Index.put`` added, replaced, and left as they were."""

    added: int
    updated: int
    unchanged: int


def split_saved(
    segments: Sequence[LiveSegment],
) -> tuple[list[LiveSegment], list[LiveSegment]]:
    """What is in the folder, and what is not there yet."""
    count = sum(each.entry is not None for each in segments)
    return list(segments[:count]), list(segments[count:])


def appended(segments: Sequence[LiveSegment], new: LiveSegment) -> list[LiveSegment]:
    """The segments and the new items behind them; small ones that are not saved are merged."""
    if not len(new):
        return list(segments)
    saved, unsaved = split_saved(segments)
    return [*saved, *map(in_memory, merge_small(one_each([*unsaved, new])))]


def put(
    segments: Sequence[LiveSegment], ids: Sequence[str], new: LiveSegment
) -> tuple[list[LiveSegment], Changes]:
    """The segments with the ``new`` items, of these ``ids``, and what that changes.

    Items whose ids are there are replaced if they differ, and count as added now.
    """
    known = [row for row, at in enumerate(locate(segments, ids)) if at is not None]
    if not known:
        return appended(segments, new), Changes(len(ids), 0, 0)
    names = [ids[row] for row in known]
    differ = differing(items_at(segments, names), items_at([new], names)).tolist()
    stale = [name for name, differs in zip(names, differ, strict=True) if differs]
    same = [row for row, differs in zip(known, differ, strict=True) if not differs]
    left = without(segments, stale) if stale else segments
    added = appended(left, new.without(np.array(same)) if same else new)
    return added, Changes(len(ids) - len(known), len(stale), len(same))


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
