"""What an adapter remembers of the items that it was fitted on: enough to recognise them."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from align._checks import check_matrix, check_no_zero_rows
from align.adapters.maps.linear import directions
from align.data.embeddings import PairedEmbeddings
from align.data.sides import Side

PER_ITEM = 8  # numbers stored of each item: 32 bytes

TOLERANCE = 0.005
"""Numbers of one item differ by less. They have unit variance over directions: what moves a vector
by a share of its length moves each by about that share, which is 0.0003 for float16. Two items of
cosine 0.999 fall together with a chance of 4e-9, and those of cosine 0.9999 with 4e-5."""

COMMON = 32  # training pairs of one item above which it says nothing of a pair: a class label

_SEED = b"isthmus training items 1"
_COMPARED = 2**22  # numbers compared at a time: bounds memory, changes no answer


class TrainingItems(nn.Module):
    """Eight numbers of each training item: fixed random projections of its direction.

    The same item that was encoded in a batch of another size, on another processor, or stored as
    float16 has slightly other bits and is still known; other items practically never are. An item
    cannot be read back from its numbers.

    ``widths`` are the columns of an item's raw vector, source and target side. Further columns,
    which hold the instruction of a source, are not looked at.

    Reference:
        Achlioptas 2003, doi:10.1016/S0022-0000(03)00025-4, for projections that are not Gaussian;
        these are uniform, so that sparse vectors differ too.
    """

    source: Tensor  # of the source item of each training pair, (n, 8) float32
    target: Tensor  # of the target item, likewise

    def __init__(self, source: Tensor, target: Tensor, widths: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("source", source)
        self.register_buffer("target", target)
        self.pairs = len(source)
        self.widths = self.d_source, self.d_target = widths

    @classmethod
    def of(cls, source: Tensor, target: Tensor) -> Self:
        """Of the raw vectors of training pairs, ``(n, d_source)`` and ``(n, d_target)``.

        They are floating point and finite, and no row is zero.
        """
        widths = source.shape[1], target.shape[1]
        return cls(_numbers(source, widths[0]), _numbers(target, widths[1]), widths)

    def numbers(self, side: Side, x: Tensor) -> Tensor:
        """What would be stored of raw vectors of a side, ``(n, d)`` as for ``of``; ``(n, 8)``."""
        width = self.d_source if side == "source" else self.d_target
        check_matrix(f"{side} embeddings", x, d=width if x.shape[1] < width else None)
        check_no_zero_rows(f"{side} embeddings", x)
        return _numbers(x, width)

    def independent(self, side: Side, generator: torch.Generator) -> Tensor:
        """What is stored of a side, one item for each of the other, in random order; ``(r, 8)``.

        The captions of one photo are no independent draws of captions. An item of the other side
        that more than ``COMMON`` pairs share, as a class label, says nothing of that.
        """
        own, other = self.source.cpu(), self.target.cpu()
        if side == "target":
            own, other = other, own
        order = torch.randperm(self.pairs, generator=generator)
        rounded = (other[order] / TOLERANCE).round().int().numpy()
        _, first, codes, sizes = np.unique(
            rounded, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        kept = torch.from_numpy((sizes > COMMON)[codes.ravel()])
        kept[first] = True
        return own[order[kept]]

    def with_pairs(self, source: Tensor, target: Tensor) -> TrainingItems:
        """These and the pairs of raw vectors that are not among them."""
        x = _numbers(source, self.widths[0]).to(self.source)
        y = _numbers(target, self.widths[1]).to(self.target)
        known = (_occurrences(x, self.source) > 0) & (_occurrences(y, self.target) > 0)
        if bool(known.all()):
            return self
        new = (~known).to(x.device)
        both = torch.cat([self.source, x[new]]), torch.cat([self.target, y[new]])
        return TrainingItems(*both, self.widths)

    def hold(self, source: Tensor, target: Tensor) -> Tensor:
        """Which pairs of raw vectors were themselves in training; bool ``(n,)``, CPU."""
        x, y = _numbers(source, self.widths[0]), _numbers(target, self.widths[1])
        known = torch.cat([self.source, self.target], dim=1)
        return _occurrences(torch.cat([x, y], dim=1), known) > 0

    def include(self, source: Tensor, target: Tensor) -> Tensor:
        """Which pairs of raw vectors, as for ``of``, hold an item of training; bool ``(n,)``, CPU.

        ``Adapter.trained_on`` says more.
        """
        x = _occurrences(_numbers(source, self.widths[0]), self.source)
        y = _occurrences(_numbers(target, self.widths[1]), self.target)
        rare = [(seen > 0) & (seen <= COMMON) for seen in (x, y)]
        return (x > 0) & (y > 0) | rare[0] | rare[1]


def remember_pairs(before: TrainingItems | None, pairs: PairedEmbeddings) -> TrainingItems:
    """The items of ``pairs``, beside those that an adapter remembered already."""
    if before is None:
        return TrainingItems.of(pairs.source, pairs.target)
    return before.with_pairs(pairs.source, pairs.target)


@lru_cache(maxsize=4)
def _projection(d: int) -> Tensor:
    """Uniform numbers of unit variance, ``(d, 8)`` float32: the same everywhere and for ever.

    The rows of a narrower projection are the first rows of a wider one.
    """
    drawn = hashlib.shake_256(_SEED).digest(4 * d * PER_ITEM)
    uniform = np.frombuffer(drawn, dtype="<u4").astype(np.float64) / 2**31 - 1
    return torch.from_numpy(uniform * math.sqrt(3)).float().reshape(d, PER_ITEM)


def _numbers(x: Tensor, width: int) -> Tensor:
    """What is stored of each row, its first ``width`` columns, ``(n, 8)`` float32."""
    rows = directions(x[:, :width].detach().float())
    return rows @ _projection(width).to(rows.device)


def _occurrences(items: Tensor, known: Tensor) -> Tensor:
    """How many rows of ``known`` are each row of ``items``, ``(q,)`` int64 on the CPU.

    Both are sorted by the number that varies most, so that few rows are compared with each.
    """
    items, known = items.detach().cpu(), known.detach().cpu()
    by = int(known.std(dim=0, correction=0).argmax())
    known = known[known[:, by].argsort()]
    column = known[:, by].contiguous()
    low = torch.searchsorted(column, (items[:, by] - TOLERANCE).contiguous())
    high = torch.searchsorted(column, (items[:, by] + TOLERANCE).contiguous(), right=True)
    widths = high - low
    counts = torch.zeros(len(items), dtype=torch.int64)
    for block in _blocks(widths):
        row = block.repeat_interleave(widths[block])
        start = widths[block].cumsum(0) - widths[block]
        at = low[row] + torch.arange(len(row)) - start.repeat_interleave(widths[block])
        same = (items[row] - known[at]).abs().amax(dim=1) <= TOLERANCE
        counts.index_add_(0, row, same.long())
    return counts


def _blocks(widths: Tensor) -> list[Tensor]:
    """Rows with something to compare, in order, in blocks of at most about 2**22 numbers."""
    rows = widths.nonzero().flatten()
    number = (widths[rows].cumsum(0) - 1) // (_COMPARED // PER_ITEM)
    return [rows[number == each] for each in range(int(number[-1]) + 1)] if len(rows) else []
