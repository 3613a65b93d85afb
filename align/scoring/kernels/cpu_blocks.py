"""Blocks of documents and tiles of queries, and the buffers in which MaxSim multiplies them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from align.data.multi_vector import INT8_MAX, MultiVector

# A block of document tokens and its product with query tokens, for each thread: about what a core's
# share of the caches holds until it is used. Measured as fast from half to twice of this; at four
# times it spills, and below a quarter the cost of calls shows.
_TOKEN_BYTES, _PRODUCT_BYTES = 2**21, 2**21
_MOST_THREADS = 4  # that a block is made larger for: this bounds memory

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
    ``(n, 1)``; all int64. ``row`` is the first of all where they lie end to end, else -1.
    """

    items: Tensor
    starts: Tensor
    lasts: Tensor
    t: int
    row: int

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
        items, starts, lasts = (column.to(offsets.device) for column in columns)
        low = 0
        while low < len(falling):
            t = falling[low]
            most = min(low + max(1, rows // t), len(falling))
            # Rows that are repeats, were the block to end after document ``high``.
            repeats = [(high - low) * t - sums[high] + sums[low] for high in range(low, most + 1)]
            high = low + bisect_right(repeats, spare) - 1
            run = equal or high - low == 1
            row = int(columns[1][low]) if run else -1
            yield Block(items[low:high], starts[low:high], lasts[low:high], t, row)
            low = high


def runs(offsets: Tensor, *, items: int, rows: int) -> Iterator[tuple[int, int]]:
    """Consecutive items ``first:last``, as many as keep to both limits, but at least one."""
    first = 0
    while first < len(offsets) - 1:
        ends = offsets[first : first + items + 1]
        fit = int(torch.searchsorted(ends, ends[:1] + rows, right=True)) - 1
        yield first, first + max(fit, 1)
        first += max(fit, 1)


class Workspace:
    """Buffers that blocks are loaded into and multiplied in, again and again.

    Args:
        query_tokens: ``(S, d)``; int8, or int16 codes of two digits, for whole numbers only.
        query_ends: Offsets of the queries.
        documents: What they are multiplied with; int8 where the queries are whole numbers.
        dtype: Of the product and of both sides in it; int32 for products of whole numbers.
    """

    def __init__(
        self, query_tokens: Tensor, query_ends: Tensor, documents: MultiVector, dtype: torch.dtype
    ) -> None:
        self.query_tokens, self.document_tokens = query_tokens.detach(), documents.tokens.detach()
        self.offsets = documents.offsets
        self.tiles = tiles(query_ends)
        self.digits = query_tokens.dtype == torch.int16
        self.whole = dtype == torch.int32
        stored_as = torch.int8 if self.whole else dtype
        self.d = query_tokens.shape[1]
        width = self.d + -self.d % (_LINE_BYTES // stored_as.itemsize)
        columns = max((tile.last - tile.first for tile in self.tiles), default=1)
        threads = min(torch.get_num_threads(), _MOST_THREADS)
        rows = min(
            threads * _TOKEN_BYTES // max(width * stored_as.itemsize, 1),
            threads * _PRODUCT_BYTES // (columns * dtype.itemsize),
            len(self.document_tokens) + _TILE,
        )
        self.rows = max(rows - rows % _TILE, _TILE)
        self.spare = min(_SPARE_ENTRIES // columns, self.rows // 8)
        # What no token fills is multiplied as well: zeros change nothing and are never slow.
        self._tokens = self.document_tokens.new_zeros(self.rows, width, dtype=stored_as)
        self._stored = self.document_tokens.new_empty(self.rows, self.d)
        self._product = self.document_tokens.new_empty(self.rows * columns, dtype=dtype)
        self._digits = self.document_tokens.new_empty(
            self.rows * columns * 2 if self.digits else 0, dtype=dtype
        )
        self._places = torch.arange(self.rows, device=self.document_tokens.device)
        self._loaded: tuple[Block, int] | None = None
        self._padded_queries: tuple[Tile, Tensor] | None = None

    def blocks(self) -> Iterator[Block]:
        """The documents, in an order that suits the buffers."""
        width = self.document_tokens.shape[1] * self.document_tokens.element_size()
        return blocks(self.offsets, rows=self.rows, spare=self.spare, width=width)

    def pieces(self, block: Block) -> range:
        """Places at which to cut the documents of a block: several only for one that is long."""
        return range(0, block.t, self.rows)

    def places(self, first: int, t: int) -> Tensor:
        """Places ``first`` to ``first + t`` in a document, ``(t,)`` int64."""
        return self._places[:t] + first if first else self._places[:t]

    def queries(self, tile: Tile) -> Tensor:
        """Query tokens of a tile as they are multiplied, ``(k, width)``, or ``(2 k, width)``."""
        if self._padded_queries is None or self._padded_queries[0] is not tile:
            tokens = self.query_tokens[tile.first : tile.last]
            if self.digits:
                high = (tokens / RADIX).round().to(torch.int16)
                tokens = torch.cat([high, tokens - RADIX * high])
            missing = self._tokens.shape[1] - self.d
            self._padded_queries = tile, F.pad(tokens.to(self._tokens.dtype), (0, missing))
        return self._padded_queries[1]

    def load(self, block: Block, first: int) -> Tensor:
        """Tokens of a block's documents from place ``first`` on, ``(n, t, d)``, in a buffer.

        A shorter document repeats its last token, which leaves its maxima as they are. A copy is
        worth it even where nothing is converted: it reads memory as one stream.
        """
        t = min(self.rows, block.t - first)
        count = len(block.items) * t
        tokens = self._tokens[:count, : self.d]
        if self._loaded is None or self._loaded[0] is not block or self._loaded[1] != first:
            if block.row >= 0:
                tokens.copy_(self.document_tokens[block.row + first : block.row + first + count])
            else:
                rows = block.rows(self.places(first, t)).flatten()
                same = tokens.dtype == self.document_tokens.dtype and tokens.is_contiguous()
                stored = tokens if same else self._stored[:count]
                torch.index_select(self.document_tokens, 0, rows, out=stored)
                if not same:
                    tokens.copy_(stored)
            self._loaded = block, first
        return tokens.view(len(block.items), t, self.d)

    def product(self, block: Block, first: int, tile: Tile) -> Tensor:
        """Inner products of what ``load`` brings with a tile's query tokens, ``(n, t, k)``."""
        n, t, _ = self.load(block, first).shape
        k, whole = tile.last - tile.first, n * t + -(n * t) % _TILE
        out = self._product[: whole * k].view(whole, k)
        tokens, queries = self._tokens[:whole], self.queries(tile).T
        if self.digits:
            both = self._digits[: whole * 2 * k].view(whole, 2 * k)
            torch._int_mm(tokens, queries, out=both)
            torch.add(both[:, k:], both[:, :k], alpha=RADIX, out=out)
        elif self.whole:
            torch._int_mm(tokens, queries, out=out)
        else:
            torch.mm(tokens, queries, out=out)
        return out[: n * t].view(n, t, k)

    def weights(self, places: Tensor, values: Tensor, t: int) -> Tensor:
        """Zeros, ``(n * t, k)``, but for one of ``values`` ``(n, k)`` per document and query token.

        It stands at its place ``(n, k)`` in the ``t`` rows of the document; none outside of them.
        """
        n, k = places.shape
        here = (places >= 0) & (places < t)
        out = self._product[: n * t * k].zero_().view(n, t, k)
        out.scatter_(1, places.where(here, 0)[:, None], values.where(here, 0)[:, None])
        return out.view(n * t, k)


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
