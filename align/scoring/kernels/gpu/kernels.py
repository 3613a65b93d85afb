# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"
# Triton has no types for mypy, and reads the annotations of a kernel as types of its own.
"""The GPU kernels of late interaction. What they compute: kernels/reference.py.

A program takes whole queries and whole documents, several where they are short, as the rows of
one matrix product. An item shorter than its rows leaves some empty; a longer one comes in parts.
Offsets stay on the device, memory holds no padding, and no sum has an order that can change.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LOWEST, HIGHEST = tl.constexpr(-(2**63)), tl.constexpr(2**63 - 1)
DTYPES = {
    torch.int8: tl.int8,
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
}


def device_of(tensor: Tensor) -> torch.cuda.device:
    """Launch where a tensor is; Triton launches on the current device otherwise."""
    return torch.cuda.device(tensor.get_device())


@triton.jit
def _span(ends, item, n, COUNT: tl.constexpr):
    # First token of an item, and where it and the next ones start and stop, relative to that.
    # Items past the last have no tokens.
    base = tl.load(ends + item)
    items = item + tl.arange(0, COUNT)
    start = tl.load(ends + items, mask=items < n, other=base) - base
    stop = tl.load(ends + items + 1, mask=items < n, other=base) - base
    return base, start.to(tl.int32), stop.to(tl.int32)


@triton.jit
def _rows(start, stop, T: tl.constexpr):
    # The next T rows of each item, flat, and which of them the item has.
    row = start[:, None] + tl.arange(0, T)[None, :]
    live = row < stop[:, None]
    return tl.reshape(row, (row.shape[0] * T,)), tl.reshape(live, (row.shape[0] * T,))


@triton.jit
def _load_tile(tokens, base, rows, live, first, d, D: tl.constexpr, DTYPE: tl.constexpr):
    # Only the base may lie beyond 2^31 numbers; rows of one tile are close together.
    column = first + tl.arange(0, D)
    mask = live[:, None] & (column < d)[None, :]
    at = tokens + base * d + (rows[:, None] * d + column[None, :])
    return tl.load(at, mask=mask, other=0).to(DTYPE)


@triton.jit
def _best_tokens(
    queries, q_base, q_row, q_live, kept, documents, base, start, stop, d,
    GD: tl.constexpr, T: tl.constexpr, D: tl.constexpr, DTYPE: tl.constexpr,
    KEPT: tl.constexpr, LONG: tl.constexpr, PICKS: tl.constexpr,
):  # fmt: skip
    # Of each query token its largest product with each of GD documents, and at which token.
    Q: tl.constexpr = q_row.shape[0]
    best = tl.full((Q, GD), float("-inf"), tl.float32)
    pick = tl.zeros((Q, GD), tl.int32)
    end = tl.max(stop - start, axis=0) if LONG else T
    for first in tl.range(0, end, T):
        row, live = _rows(start, stop - first, T)
        if KEPT:
            tile = _load_tile(documents, base + first, row, live, 0, d, D, DTYPE)
            product = tl.dot(kept, tl.trans(tile), input_precision="ieee")
        else:
            product = tl.zeros((Q, GD * T), tl.int32 if DTYPE == tl.int8 else tl.float32)
            for column in tl.range(0, d, D):
                query_tile = _load_tile(queries, q_base, q_row, q_live, column, d, D, DTYPE)
                tile = _load_tile(documents, base + first, row, live, column, d, D, DTYPE)
                # TF32, the default for float32, would break the error budget.
                product = tl.dot(query_tile, tl.trans(tile), product, input_precision="ieee")
        # Rows past the end must lose even when every real product is negative: -inf, never 0.
        product = tl.where(live[None, :], product.to(tl.float32), float("-inf"))
        product = tl.reshape(product, (Q, GD, T))
        if PICKS:
            value, place = tl.max(product, axis=2, return_indices=True)
            pick = tl.where(value > best, first + place, pick)
        else:
            value = tl.max(product, axis=2)
        best = tl.maximum(best, value)
    return best, pick


@triton.jit
def _totals(
    queries, q_base, q_start, q_stop, kept, documents, base, start, stop, d,
    picks, document, m, all_rows,
    S: tl.constexpr, GD: tl.constexpr, T: tl.constexpr, D: tl.constexpr, DTYPE: tl.constexpr,
    KEPT: tl.constexpr, LONG_Q: tl.constexpr, LONG_D: tl.constexpr, PICKS: tl.constexpr,
):  # fmt: skip
    # Sums over query tokens, (GQ, GD), unweighted.
    GQ: tl.constexpr = q_start.shape[0]
    total = tl.zeros((GQ, GD), tl.float32)
    end = tl.max(q_stop - q_start, axis=0) if LONG_Q else S
    for part in tl.range(0, end, S):
        row, live = _rows(q_start, q_stop - part, S)
        best, pick = _best_tokens(
            queries, q_base + part, row, live, kept, documents, base, start, stop, d,
            GD, T, D, DTYPE, KEPT, LONG_D, PICKS,
        )  # fmt: skip
        total += tl.sum(tl.reshape(tl.where(live[:, None], best, 0.0), (GQ, S, GD)), axis=1)
        if PICKS:
            at = picks + document[None, :].to(tl.int64) * all_rows + (q_base + part + row)[:, None]
            tl.store(at, pick, mask=live[:, None] & (document < m)[None, :])
    return total


@triton.jit
def _queries_of(
    query_groups, queries, ends, weights, q, d,
    GQ: tl.constexpr, S: tl.constexpr, D: tl.constexpr, DTYPE: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    # Query groups are neighbours in the grid, so that they share documents in the cache.
    first = (tl.program_id(0) % query_groups) * GQ
    base, start, stop = _span(ends, first, q, GQ)
    query = first + tl.arange(0, GQ)
    weight = tl.load(weights + query, mask=query < q, other=0.0)
    if KEPT:
        row, live = _rows(start, stop, S)
        kept = _load_tile(queries, base, row, live, 0, d, D, DTYPE)
    else:
        kept = 0
    return query, base, start, stop, weight, kept


@triton.jit(do_not_specialize=["q", "m", "query_groups", "run", "all_rows"])
def scores_kernel(
    queries, query_ends, query_weights, documents, document_ends, document_weights,
    scores, picks, q, m, units, query_groups, run, all_rows,
    GQ: tl.constexpr, S: tl.constexpr, GD: tl.constexpr, T: tl.constexpr, D: tl.constexpr,
    UNIT: tl.constexpr, DTYPE: tl.constexpr, KEPT: tl.constexpr,
    LONG_Q: tl.constexpr, LONG_D: tl.constexpr, PICKS: tl.constexpr,
):  # fmt: skip
    """Score one group of queries with the documents of one run; see the file's opening."""
    # One program scores GQ queries against a run of documents, GD at a time.
    d = units * UNIT  # so that the compiler knows how rows are aligned
    query, q_base, q_start, q_stop, q_weight, kept = _queries_of(
        query_groups, queries, query_ends, query_weights, q, d, GQ, S, D, DTYPE, KEPT
    )
    first = tl.program_id(0) // query_groups * run
    for group in tl.range(first, tl.minimum(first + run, m), GD):
        document = group + tl.arange(0, GD)
        base, start, stop = _span(document_ends, group, m, GD)
        total = _totals(
            queries, q_base, q_start, q_stop, kept, documents, base, start, stop, d,
            picks, document, m, all_rows,
            S, GD, T, D, DTYPE, KEPT, LONG_Q, LONG_D, PICKS,
        )  # fmt: skip
        weight = tl.load(document_weights + document, mask=document < m, other=1.0)
        at = scores + query[:, None].to(tl.int64) * m + document[None, :]
        mask = (query < q)[:, None] & (document < m)[None, :]
        tl.store(at, total * weight[None, :] * q_weight[:, None], mask=mask)


@triton.jit
def _key(score, document):
    # An int64 that orders as scores do and, among equal scores, puts the lower document first.
    # No score is -0.0, whose bits differ from those of 0.0: sums start at 0.0.
    bits = score.to(tl.int32, bitcast=True)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - document).to(tl.int64)


@triton.jit
def _insert(top, least, keys):
    # Keys that beat the least of a query's top ones take the place of those. Comparing with single
    # numbers leaves the compiler free to spread the top ones over all threads.
    row = tl.arange(0, least.shape[0])
    beats = tl.max(keys, axis=1) > least
    if tl.max(beats.to(tl.int32), axis=0) > 0:
        for query in tl.range(0, least.shape[0]):
            here = (row == query)[:, None]
            mine = tl.where(here, keys, LOWEST)
            best, low = _highest(mine), _lowest(tl.where(here, top, HIGHEST))
            while best > low:
                top = tl.where(here & (top == low), best, top)
                mine = tl.where(mine == best, LOWEST, mine)
                best, low = _highest(mine), _lowest(tl.where(here, top, HIGHEST))
            least = tl.where(row == query, low, least)
    return top, least


@triton.jit
def _highest(keys):
    return tl.max(tl.max(keys, axis=1), axis=0)


@triton.jit
def _lowest(keys):
    return tl.min(tl.min(keys, axis=1), axis=0)


@triton.jit(do_not_specialize=["q", "m", "query_groups", "run", "runs"])
def topk_kernel(
    queries, query_ends, query_weights, documents, document_ends, document_weights,
    keys, q, m, units, query_groups, run, runs,
    GQ: tl.constexpr, S: tl.constexpr, GD: tl.constexpr, T: tl.constexpr, D: tl.constexpr,
    UNIT: tl.constexpr, DTYPE: tl.constexpr, KEPT: tl.constexpr,
    LONG_Q: tl.constexpr, LONG_D: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Keep the best documents of one run for each query of a group, and write only those."""
    # One program finds the best K of a run of documents for each of GQ queries, in any order.
    d = units * UNIT
    query, q_base, q_start, q_stop, q_weight, kept = _queries_of(
        query_groups, queries, query_ends, query_weights, q, d, GQ, S, D, DTYPE, KEPT
    )
    nth = tl.program_id(0) // query_groups
    # All differ and lie below the key of any document.
    top = LOWEST + tl.zeros((GQ, K), tl.int64) + tl.arange(0, K)[None, :]
    least = tl.full((GQ,), LOWEST, tl.int64)
    for group in tl.range(nth * run, tl.minimum((nth + 1) * run, m), GD):
        document = group + tl.arange(0, GD)
        base, start, stop = _span(document_ends, group, m, GD)
        total = _totals(
            queries, q_base, q_start, q_stop, kept, documents, base, start, stop, d,
            keys, document, m, 0,
            S, GD, T, D, DTYPE, KEPT, LONG_Q, LONG_D, False,
        )  # fmt: skip
        weight = tl.load(document_weights + document, mask=document < m, other=1.0)
        # Documents past the last score -inf, and lose to all that are there.
        key = _key(total * weight[None, :] * q_weight[:, None], document[None, :])
        top, least = _insert(top, least, key)
    at = keys + (query[:, None].to(tl.int64) * runs + nth) * K + tl.arange(0, K)[None, :]
    tl.store(at, top, mask=(query < q)[:, None])


@triton.jit
def weighted_sums_kernel(
    tokens, rows, weights, ends, sums, units, chunks,
    E: tl.constexpr, D: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """Sum weighted rows of one side for each row of the other, in one order."""
    # sums[i] = sum of weights[e] * tokens[rows[e]] over e from ends[i] to ends[i + 1], in order.
    d = units * UNIT
    row = (tl.program_id(0) // chunks).to(tl.int64)
    first_column = tl.program_id(0) % chunks * D
    stop = tl.load(ends + row + 1)
    total = tl.zeros((D,), tl.float32)
    for first in tl.range(tl.load(ends + row), stop, E):
        entry = first + tl.arange(0, E)
        live = entry < stop
        weight = tl.load(weights + entry, mask=live, other=0.0)
        source = tl.load(rows + entry, mask=live, other=0)
        tile = _load_tile(tokens, 0, source, live, first_column, d, D, tl.float32)
        total += tl.sum(weight[:, None] * tile, axis=0)
    column = first_column + tl.arange(0, D)
    tl.store(sums + row * d + column, total.to(sums.dtype.element_ty), mask=column < d)
