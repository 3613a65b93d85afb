"""Blocks of documents and tiles of queries, and the buffers in which MaxSim multiplies them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from align._threads import workers
from align.data.multi_vector import INT8_MAX, MultiVector
from align.scoring.kernels.cpu_reading import reading

# A block of document tokens and its product with query tokens, for each thread: about what a core's
# share of the caches holds until it is used. Measured as fast from half to twice of this; at four
# times it spills, and below a quarter the cost of calls shows.
_TOKEN_BYTES, _PRODUCT_BYTES = 2**21, 2**21

# Where there are fewer documents than fill such blocks for all threads: blocks that each thread
# has, and rows below which the cost of calls shows.
_BLOCKS_EACH, _FEWEST = 4, 1024

# Query tokens up to which a product takes no longer than reading its documents once: these are read
# where they lie, in longer blocks, and as they lie even where their lengths differ.
_FEW, _STREAMED_BYTES = 8, 2**23

_COLD = 2  # blocks of a thread that take longer because they are the first

# Products of so many entries and steps take less than it costs to hand them to other threads.
_SMALL = 2**24

# Query tokens in one product: enough for full matrix speed, few enough to leave it many rows. The
# best of a grid with 8,192 query tokens.
_COLUMNS = 512

# Entries of a product that may be computed for nothing so that documents of other lengths fit in
# one block: about what the calls for one more block cost.
_SPARE_ENTRIES = 2**14

# Rows of a product are a multiple of the one and take up a multiple of the other. Otherwise the
# rows left over, or those that start within a line of the cache, may be summed in another order; so
# equal tokens have equal products, and equal documents equal scores.
_TILE, _LINE_BYTES = 64, 64

# Documents, and bytes of them, that are put in order of length at a time: this bounds memory and
# keeps reads of a memory-mapped collection close together.
_SLICE_ITEMS, _SLICE_BYTES = 2**16, 2**26

RADIX = 2 * INT8_MAX
"""A query code of two digits is ``RADIX * high + low``, where high is the nearest whole number to
``code / RADIX``; up to ``RADIX * 127 + 126`` either way, both digits lie in [-127, 127]."""


class Tile(NamedTuple):
    """Query tokens ``first:last``, of the queries ``low:high``; a long query has several tiles.

    ``lengths`` are the tokens that each query has in it, ``(high - low,)``; ``each`` is their
    number where all have the same, else 0.
    """

    first: int
    last: int
    low: int
    high: int
    lengths: Tensor
    each: int

    def sums(self, best: Tensor) -> Tensor:
        """Sums over the tokens of each query, ``(n, k)`` to ``(n, high - low)``."""
        if self.each:
            return best.view(len(best), -1, self.each).sum(2)
        lengths = self.lengths.to(best.device).expand(len(best), -1).contiguous()
        sums: Tensor = torch.segment_reduce(best, "sum", lengths=lengths, axis=1)
        return sums


def tiles(offsets: Tensor) -> list[Tile]:
    """All query tokens, cut into tiles of at most ``_COLUMNS``; ``offsets`` of the queries."""
    ends = offsets.cpu()
    total = int(ends[-1])
    each = total // max(len(ends) - 1, 1)
    # Tiles of whole queries need no sum over parts of a query.
    whole = 0 < each <= _COLUMNS and bool((ends.diff() == each).all())
    size = _COLUMNS - _COLUMNS % each if whole else _COLUMNS
    cut = []
    for first in range(0, total, size):
        last = min(first + size, total)
        low = int(torch.searchsorted(ends, first, right=True)) - 1
        high = int(torch.searchsorted(ends, last))
        lengths = ends[low : high + 1].clamp(first, last).diff()
        same = bool((lengths == lengths[0]).all())
        cut.append(Tile(first, last, low, high, lengths, int(lengths[0]) if same else 0))
    return cut


class Block(NamedTuple):
    """Documents of ``t`` tokens or a few less; one alone may have more than a block holds.

    ``items`` are their numbers, ``(n,)``; ``starts`` and ``lasts`` their first and last rows,
    ``(n, 1)``; all int64. ``row`` is the first of all where they lie end to end, else -1. Where
    ``joined``, they lie end to end, have any lengths and ``t`` tokens together.
    """

    items: Tensor
    starts: Tensor
    lasts: Tensor
    t: int
    row: int
    joined: bool = False

    @property
    def n(self) -> int:
        """Sequences of ``t`` rows: the documents, or one."""
        return 1 if self.joined else len(self.items)

    def rows(self, places: Tensor) -> Tensor:
        """Rows at ``places``, ``(t,)``, of each document, ``(n, t)``; the last one repeats."""
        return torch.minimum(self.starts + places, self.lasts)


def blocks(offsets: Tensor, *, rows: int, spare: int, width: int) -> Iterator[Block]:
    """Every document once, in blocks of at most ``rows`` rows unless one document has more.

    At most ``spare`` rows of a block are repeats; a row has ``width`` bytes.
    """
    for first, last in runs(offsets, items=_SLICE_ITEMS, rows=_SLICE_BYTES // max(width, 1)):
        ends = offsets[first : last + 1].cpu()
        lengths = ends.diff()
        equal = bool((lengths == lengths[0]).all())
        order = torch.arange(len(lengths))
        if not equal:
            lengths, order = lengths.sort(descending=True, stable=True)
        falling, sums = lengths.tolist(), [0, *lengths.cumsum(0).tolist()]
        starts = ends[:-1][order][:, None]
        columns = (order + first, starts, starts + lengths[:, None] - 1)
        begins = columns[1].flatten().tolist()
        items, starts, lasts = (column.to(offsets.device) for column in columns)
        low = 0
        while low < len(falling):
            t = falling[low]
            high = min(low + max(1, rows // t), len(falling))
            if not equal:
                # Rows that are repeats, were the block to end after each of its documents.
                repeats = [(end - low) * t - sums[end] + sums[low] for end in range(low, high + 1)]
                high = low + bisect_right(repeats, spare) - 1
            row = begins[low] if equal or high - low == 1 else -1
            yield Block(items[low:high], starts[low:high], lasts[low:high], t, row)
            low = high


def joined_blocks(offsets: Tensor, *, rows: int) -> Iterator[Block]:
    """As ``blocks``, but as documents lie, without repeats."""
    ends = offsets.cpu()
    for first, last in runs(ends, items=len(ends), rows=rows):
        starts, lasts = ends[first:last, None], ends[first + 1 : last + 1, None] - 1
        row, t = int(ends[first]), int(ends[last] - ends[first])
        yield Block(torch.arange(first, last), starts, lasts, t, row, joined=last - first > 1)


def runs(offsets: Tensor, *, items: int, rows: int) -> Iterator[tuple[int, int]]:
    """Consecutive items ``first:last``, as many as keep to both limits, but at least one."""
    first = 0
    while first < len(offsets) - 1:
        ends = offsets[first : first + items + 1]
        fit = int(torch.searchsorted(ends, ends[:1] + rows, right=True)) - 1
        yield first, first + max(fit, 1)
        first += max(fit, 1)


class Packed(NamedTuple):
    """Documents whose tokens are unpacked where they are multiplied.

    ``unpack`` takes some rows of ``tokens``, in whatever form they are, and what to fill with the
    numbers that they stand for. ``offsets`` are as in ``MultiVector``.
    """

    tokens: Tensor
    offsets: Tensor
    unpack: Callable[[Tensor, Tensor], object]


class Product:
    """What is multiplied with what, cut into tiles of query tokens and blocks of documents.

    Args:
        query_tokens: ``(S, d)``; int8, or int16 codes of two digits, for whole numbers only.
        query_ends: Offsets of the queries.
        documents: What they are multiplied with; int8 where the queries are whole numbers.
        dtype: Of the product and of both sides in it; int32 for products of whole numbers.
    """

    def __init__(
        self,
        query_tokens: Tensor,
        query_ends: Tensor,
        documents: MultiVector | Packed,
        dtype: torch.dtype,
    ) -> None:
        self.query_tokens, self.document_tokens = query_tokens.detach(), documents.tokens.detach()
        self.offsets, self.dtype = documents.offsets, dtype
        self.unpack = documents.unpack if isinstance(documents, Packed) else _convert
        self.tiles = tiles(query_ends)
        self.digits = query_tokens.dtype == torch.int16
        self.whole = dtype == torch.int32
        self.stored_as = torch.int8 if self.whole else dtype
        self.d = query_tokens.shape[1]
        self.width = self.d + -self.d % (_LINE_BYTES // self.stored_as.itemsize)
        self.columns = max((tile.last - tile.first for tile in self.tiles), default=1)
        total = len(self.document_tokens)
        self.small = total * len(query_tokens) * self.width < _SMALL
        tokens = self.document_tokens
        self.in_place = (
            tokens.dtype == self.stored_as
            and self.width == self.d
            and tokens.is_contiguous()
            and tokens.data_ptr() % _LINE_BYTES == 0
        )
        self.few = self.columns <= _FEW
        streamed = self.few and self.in_place
        rows = min(
            (_STREAMED_BYTES if streamed else _TOKEN_BYTES)
            // max(self.width * self.stored_as.itemsize, 1),
            (_PRODUCT_BYTES // 2 if self.whole else _PRODUCT_BYTES) // (self.columns * 4),
            # Enough blocks that no thread is left with nothing long before the others end.
            max(total // (1 if self.small else _BLOCKS_EACH * workers()), _FEWEST) + _TILE,
        )
        self.rows = max(rows - rows % _TILE, _TILE)
        self.spare = min(_SPARE_ENTRIES // self.columns, self.rows // 8)
        self.reading = reading(self.stored_as, self.width, self.columns)

    def blocks(self, *, joined: bool = False) -> Iterator[Block]:
        """The documents, in an order that suits the buffers; as they lie where ``joined``."""
        if joined:
            return joined_blocks(self.offsets, rows=self.rows)
        width = self.document_tokens.shape[1] * self.document_tokens.element_size()
        return blocks(self.offsets, rows=self.rows, spare=self.spare, width=width)

    def pieces(self, block: Block) -> range:
        """Places at which to cut the documents of a block: several only for one that is long."""
        return range(0, block.t, self.rows)


class Workspace:
    """Buffers that one thread loads blocks into and multiplies in, again and again."""

    def __init__(self, of: Product) -> None:
        self.of = of
        new = of.document_tokens.new_empty
        self._tokens = new(of.rows, of.width, dtype=of.stored_as)
        self._tokens[:, of.d :] = 0  # is multiplied as well, and changes nothing
        self._stored = new(of.rows, of.document_tokens.shape[1])
        self._product = new(of.rows * of.columns, dtype=of.dtype)
        self._digits = new(of.rows * of.columns * 2 if of.digits else 0, dtype=of.dtype)
        self._places = torch.arange(of.rows, device=of.document_tokens.device)
        self._loaded: tuple[Block, int, Tensor] | None = None
        self._copies: bool | None = None  # None where there is no choice
        self._blocks = 0
        self._padded_queries: tuple[Tile, Tensor] | None = None

    def places(self, first: int, t: int) -> Tensor:
        """Places ``first`` to ``first + t`` in a document, ``(t,)`` int64."""
        return self._places[:t] + first if first else self._places[:t]

    def queries(self, tile: Tile) -> Tensor:
        """Query tokens of a tile as they are multiplied, ``(k, width)``, or ``(2 k, width)``."""
        if self._padded_queries is None or self._padded_queries[0] is not tile:
            tokens = self.of.query_tokens[tile.first : tile.last]
            if self.of.digits:
                high = (tokens / RADIX).round().to(torch.int16)
                tokens = torch.cat([high, tokens - RADIX * high])
            missing = self.of.width - self.of.d
            self._padded_queries = tile, F.pad(tokens.to(self.of.stored_as), (0, missing))
        return self._padded_queries[1]

    def load(self, block: Block, first: int) -> Tensor:
        """Tokens of a block's documents from place ``first`` on, ``(n, t, d)``.

        A shorter document repeats its last token, which leaves its maxima as they are.
        """
        n, t = block.n, self._tokens_each(block, first)
        return torch.unflatten(self._rows(block, first)[: n * t, : self.of.d], 0, (n, t))

    def _tokens_each(self, block: Block, first: int) -> int:
        return min(self.of.rows, block.t - first)

    def _rows(self, block: Block, first: int) -> Tensor:
        """As ``load``, ``(rows, width)``, with what fills the last tile up: read where it lies, or
        copied where it must be converted, gathered or padded, or where that is faster."""
        if self._loaded is None or self._loaded[0] is not block or self._loaded[1] != first:
            count = block.n * self._tokens_each(block, first)
            whole, row = count + -count % _TILE, block.row + first
            of = self.of
            choice = of.in_place and block.row >= 0 and row + whole <= len(of.document_tokens)
            self._copies = of.reading.now() if choice and not of.few else None
            if choice and not self._copies:
                rows = of.document_tokens[row : row + whole]
            else:
                self._copy(block, first, count)
                rows = self._tokens[:whole]
                if whole > count:
                    rows[count:] = 0  # what is multiplied for nothing is never slow
            self._loaded = block, first, rows
        return self._loaded[2]

    def _copy(self, block: Block, first: int, count: int) -> None:
        tokens, documents = self._tokens[:count, : self.of.d], self.of.document_tokens
        if block.row >= 0:
            self.of.unpack(documents[block.row + first : block.row + first + count], tokens)
        else:
            rows = block.rows(self.places(first, count // len(block.items))).flatten()
            same = tokens.dtype == documents.dtype and tokens.is_contiguous()
            stored = tokens if same else self._stored[:count]
            torch.index_select(documents, 0, rows, out=stored)
            if not same:
                self.of.unpack(stored, tokens)

    def product(self, block: Block, first: int, tile: Tile) -> Tensor:
        """Inner products of what ``load`` brings with a tile's query tokens, ``(n, t, k)``."""
        n, t, k = block.n, self._tokens_each(block, first), tile.last - tile.first
        tokens, queries = self._rows(block, first), self.queries(tile).T
        out = self._product[: len(tokens) * k].view(len(tokens), k)
        if self.of.digits:
            both = self._digits[: len(tokens) * 2 * k].view(-1, 2 * k)
            torch._int_mm(tokens, queries, out=both)
            torch.add(both[:, k:], both[:, :k], alpha=RADIX, out=out)
        elif self.of.whole:
            torch._int_mm(tokens, queries, out=out)
        elif k == 1 and tokens.device.type == "cpu":
            # Memory is the limit here, which a product with one column misses by half.
            with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses what overflows
                np.vecdot(tokens.numpy(), queries.numpy()[:, 0], out=out.numpy()[:, 0])
        else:
            torch.mm(tokens, queries, out=out)
        return out[: n * t].view(n, t, k)

    def took(self, block: Block, seconds: float) -> None:
        """Learn from the time that a block took whether the next is better copied."""
        self._blocks += 1
        rows = block.n * block.t
        warm = self._blocks > _COLD and self.of.rows // 2 <= rows <= self.of.rows
        if warm and self._copies is not None:
            self.of.reading.took(seconds / rows, copied=self._copies)

    def weights(self, places: Tensor, values: Tensor, t: int) -> Tensor:
        """Zeros, ``(n * t, k)``, but for one of ``values`` ``(n, k)`` per document and query token.

        It stands at its place ``(n, k)`` in the ``t`` rows of the document; none outside of them.
        """
        n, k = places.shape
        here = (places >= 0) & (places < t)
        out = self._product[: n * t * k].zero_().view(n, t, k)
        out.scatter_(1, places.where(here, 0)[:, None], values.where(here, 0)[:, None])
        return out.view(n * t, k)


def _convert(stored: Tensor, out: Tensor) -> None:
    out.copy_(stored)


@cache
def multiplies_exactly(d: int) -> bool:
    """Whether int8 products of width ``d`` come out exact on this processor.

    Those without dot-product instructions may saturate, and torch 2.13 errs at width 1.
    """
    signs = torch.ones(3, d, dtype=torch.int64)
    signs[1], signs[2, ::2] = -1, -1
    rows = (signs * INT8_MAX).repeat(_TILE, 1)
    codes = rows.to(torch.int8)
    return torch.equal(torch._int_mm(codes, codes[:3].T).long(), rows @ rows[:3].T)
