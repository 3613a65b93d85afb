"""MaxSim of given pairs, in blocks of documents that each meet their own query alone.

Meaning: kernels/reference.py. Runs on any device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.scoring.kernels.cpu_maxsim import check_first_derivative, first_places, largest
from align.scoring.kernels.reference import score_dtype

# Of a block: bytes of its documents' tokens and of their products; of gradients: entries at a time.
_TOKEN_BYTES, _PRODUCT_BYTES, _ENTRIES = 2**21, 2**21, 2**19

_COLUMNS = 512  # query tokens in one product

# Rows of a product are a multiple of the one and take up a multiple of the other, so that equal
# tokens have equal products: see kernels/cpu_blocks.py.
_TILE, _LINE_BYTES = 64, 64


class PairRows(NamedTuple):
    """Which tokens of both sides meet in each of ``p`` pairs.

    Attributes:
        query_rows: First row of the query, ``(p,)`` int64.
        asked: How many rows of it count, ``(p,)`` int64, >= 1.
        document_rows: First row of the document, likewise.
        found: How many rows of it count, likewise.
        factors: What scales make of each product, ``(p,)`` float32, > 0; ``None`` for no scales.
    """

    query_rows: Tensor
    asked: Tensor
    document_rows: Tensor
    found: Tensor
    factors: Tensor | None

    @classmethod
    def of(
        cls,
        queries: MultiVector,
        documents: MultiVector,
        pairs: Tensor,
        budget: tuple[int, int] | None,
    ) -> Self:
        """The pairs ``(p, 2)`` int64, or prefixes of them."""
        sides = tuple(zip((queries, documents), pairs.unbind(1), strict=True))
        rows = [side.offsets[items] for side, items in sides]
        counts = [side.offsets[items + 1] - side.offsets[items] for side, items in sides]
        if budget is not None:
            counts = [count.clamp_max(most) for count, most in zip(counts, budget, strict=True)]
        scales = [side.scales[items] for side, items in sides if side.scales is not None]
        factors = torch.stack(scales).prod(0) if scales else None
        return cls(rows[0], counts[0], rows[1], counts[1], factors)

    def offsets(self) -> Tensor:
        """Where the query tokens of each pair lie if packed, pair after pair; ``(p + 1,)``."""
        return torch.cat([self.asked.new_zeros(1), self.asked.cumsum(0)])


def scores(queries: MultiVector, documents: MultiVector, pairs: PairRows) -> Tensor:
    """MaxSim of each pair, ``(p,)``; has first derivatives by all tokens but int8."""
    query_tokens, document_tokens = queries.tokens, documents.tokens
    if torch.is_grad_enabled() and (query_tokens.requires_grad or document_tokens.requires_grad):
        differentiable: Tensor = _Scores.apply(  # type: ignore[no-untyped-call]
            query_tokens, document_tokens, queries, documents, pairs
        )
        return differentiable
    return _sums(queries, documents, pairs, None)


def best_tokens(
    queries: MultiVector, documents: MultiVector, pairs: PairRows
) -> tuple[Tensor, Tensor, Tensor]:
    """Values and places of the best token of each query token, packed, and the pairs' offsets."""
    offsets = pairs.offsets()
    values = offsets.new_empty(int(offsets[-1]), dtype=score_dtype(queries, documents))
    places = offsets.new_empty(len(values), dtype=torch.int32)
    for met in _met(queries, documents, pairs, places):
        values[met.entries(offsets)] = met.best[met.real]
    if pairs.factors is not None:
        values *= pairs.factors.repeat_interleave(pairs.asked)
    return values, places.long(), offsets


class _Met(NamedTuple):
    """What ``k`` successive tokens of the queries of ``n`` pairs meet at best, before scales.

    Attributes:
        numbers: The pairs, ``(n,)``.
        column: Place in its query of the first of the tokens.
        best: Largest product of each query token, ``(n, k)``.
        real: Whether the query has this token, ``(n, k)``; ``best`` is anything where not.
    """

    numbers: Tensor
    column: int
    best: Tensor
    real: Tensor

    def entries(self, offsets: Tensor) -> Tensor:
        """Where the real ones lie among the packed query tokens of all pairs."""
        columns = torch.arange(self.best.shape[1], device=offsets.device) + self.column
        at: Tensor = (offsets[self.numbers][:, None] + columns)[self.real]
        return at


class _Scores(torch.autograd.Function):
    """Scores that remember the best token of each query token."""

    @staticmethod
    def forward(
        ctx: Any,
        query_tokens: Tensor,
        document_tokens: Tensor,
        queries: MultiVector,
        documents: MultiVector,
        pairs: PairRows,
    ) -> Tensor:
        places = pairs.asked.new_empty(int(pairs.asked.sum()), dtype=torch.int32)
        sums = _sums(queries, documents, pairs, places)
        ctx.save_for_backward(query_tokens, document_tokens, places)
        ctx.pairs = pairs
        return sums

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        check_first_derivative()
        query_tokens, document_tokens, places = ctx.saved_tensors
        pairs: PairRows = ctx.pairs
        grad = grad if pairs.factors is None else grad * pairs.factors
        sides, wanted = (query_tokens, document_tokens), ctx.needs_input_grad[:2]
        sums = [
            torch.zeros_like(side, dtype=grad.dtype) if wants else None
            for side, wants in zip(sides, wanted, strict=True)
        ]
        offsets = pairs.offsets()
        step = max(1, _ENTRIES // max(query_tokens.shape[1], 1))
        for low in range(0, len(places), step):
            entries = torch.arange(low, min(low + step, len(places)), device=places.device)
            pair = torch.searchsorted(offsets, entries, right=True) - 1
            rows = (
                pairs.query_rows[pair] + entries - offsets[pair],
                pairs.document_rows[pair] + places[entries],
            )
            for total, own, other, partner in zip(sums, rows, sides[::-1], rows[::-1], strict=True):
                if total is not None:
                    total.index_add_(0, own, other[partner] * grad[pair, None])
        return *(
            None if total is None else total.to(side.dtype)
            for total, side in zip(sums, sides, strict=True)
        ), None, None, None  # fmt: skip


def _sums(
    queries: MultiVector, documents: MultiVector, pairs: PairRows, places: Tensor | None
) -> Tensor:
    """Scores ``(p,)``; ``places`` as for ``_met``."""
    sums = pairs.asked.new_zeros(len(pairs.asked), dtype=score_dtype(queries, documents))
    for met in _met(queries, documents, pairs, places):
        sums[met.numbers] += met.best.masked_fill(~met.real, 0).sum(1)
    return sums if pairs.factors is None else sums.mul_(pairs.factors)


@torch.no_grad()
def _met(
    queries: MultiVector, documents: MultiVector, pairs: PairRows, places: Tensor | None
) -> Iterator[_Met]:
    """All query tokens of all pairs once, at most ``_COLUMNS`` tokens of a query at a time.

    ``places`` int32, as long as all query tokens of all pairs, gets the place in its document of
    the first token that attains each maximum.
    """
    if not len(pairs.asked):
        return
    dtype, d = score_dtype(queries, documents), documents.dim
    columns = min(_COLUMNS, int(pairs.asked.max()))
    width = d + -d % (_LINE_BYTES // dtype.itemsize)
    rows = min(_TOKEN_BYTES // max(width, 1), _PRODUCT_BYTES // columns) // dtype.itemsize
    rows = max(rows // _TILE, 1) * _TILE
    # A product that ends within a tile goes on into rows that the next one writes over.
    tokens = documents.tokens.new_zeros(rows + _TILE, width, dtype=dtype)
    products = tokens.new_empty(rows + _TILE, columns)
    offsets = None if places is None else pairs.offsets()
    for numbers in _blocks(pairs, rows):
        t, asked = int(pairs.found[numbers].max()), pairs.asked[numbers]
        longest, runs = int(asked.max()), _runs(pairs, numbers)
        for column in range(0, longest, columns):
            k = min(columns, longest - column)
            real = torch.arange(column, column + k, device=asked.device) < asked[:, None]
            best: Tensor | None = None
            at: Tensor | None = None
            for first in range(0, t, rows):
                length = min(rows, t - first)
                if column == 0 or t > rows:
                    _load(tokens[:, :d], documents, pairs, numbers, range(first, first + length))
                begin = 0
                for row, count, n in runs:
                    end = begin + count * length
                    query = queries.tokens[row + column : row + min(n, column + k)].to(dtype)
                    if len(query):
                        whole = slice(begin, end + -(end - begin) % _TILE)
                        out = products[whole, : len(query)]
                        torch.mm(tokens[whole, :d], query.T, out=out)
                    begin = end
                product = products[:begin, :k].view(len(numbers), length, k)
                values = largest(product)
                if offsets is not None:
                    here = first_places(product, values) + first
                    at = here if at is None or best is None else here.where(values > best, at)
                best = values if best is None else torch.maximum(best, values)
            assert best is not None, "a document has a token"
            met = _Met(numbers, column, best, real)
            if places is not None and offsets is not None and at is not None:
                places[met.entries(offsets)] = at[real]
            yield met


def _blocks(pairs: PairRows, rows: int) -> Iterator[Tensor]:
    """Numbers of the pairs, each once: documents of about one length, by query.

    A block has at most ``rows`` rows of documents, unless it is a single longer one.
    """
    # An eighth of the power of two below: so much longer may the longest of a block be.
    steps = 2 ** (pairs.found.double().log2().long() - 3).clamp_min(0)
    most = -(-pairs.found // steps) * steps
    order = pairs.query_rows.argsort(stable=True)
    order = order[most[order].argsort(stable=True)]
    lengths, counts = torch.unique_consecutive(most[order], return_counts=True)
    first = 0
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        yield from torch.split(order[first : first + count], max(1, rows // length))
        first += count


def _runs(pairs: PairRows, numbers: Tensor) -> list[tuple[int, int, int]]:
    """Of successive pairs of one query: its first row, how many they are, and its tokens."""
    rows, counts = torch.unique_consecutive(pairs.query_rows[numbers], return_counts=True)
    asked = pairs.asked[numbers][counts.cumsum(0) - 1]
    return list(zip(rows.tolist(), counts.tolist(), asked.tolist(), strict=True))


def _load(
    tokens: Tensor, documents: MultiVector, pairs: PairRows, numbers: Tensor, places: range
) -> None:
    """Bring tokens at ``places`` of the pairs' documents; a shorter one repeats its last token."""
    starts, lasts = pairs.document_rows[numbers], pairs.found[numbers] - 1
    here = torch.arange(places.start, places.stop, device=starts.device)
    rows = (torch.minimum(here, lasts[:, None]) + starts[:, None]).flatten()
    to = tokens[: len(rows)]
    if to.dtype == documents.tokens.dtype and to.is_contiguous():
        torch.index_select(documents.tokens, 0, rows, out=to)
    else:
        to.copy_(documents.tokens.index_select(0, rows))
