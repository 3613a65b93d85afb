"""MaxSim in blocks whose products stay in cache. Meaning: kernels/reference.py."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._threads import share_out
from align.data.multi_vector import MultiVector
from align.scoring.kernels.cpu_blocks import Block, Product, Tile, Workspace, multiplies_exactly
from align.scoring.kernels.cpu_reading import reading
from align.scoring.kernels.reference import Reduction, score_dtype

_TRIED_BYTES, _TRIED_CALLS = 2**26, 8  # of documents made up to try ways of reading

_WIDE = 32  # columns of which torch takes the maximum at full speed
_FOLD = 8  # rows beside each other that are not too many to be told apart again


def maxsim(queries: MultiVector, documents: MultiVector, *, reduction: Reduction = "sum") -> Tensor:
    """``reference.maxsim``, fast on a CPU; has first derivatives by all tokens but int8.

    Takes less than 64 MB beyond inputs and result, whatever the sizes; where a gradient is wanted,
    also 4 bytes per query token and document.
    """
    query_tokens, document_tokens = queries.tokens, documents.tokens
    if torch.is_grad_enabled() and (query_tokens.requires_grad or document_tokens.requires_grad):
        scores: Tensor = _MaxSim.apply(query_tokens, document_tokens, queries, documents)  # type: ignore[no-untyped-call]
    else:
        scores = _scores(queries, documents, None)
    return scores if reduction == "sum" else scores.div_(queries.lengths[:, None])


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_tokens: Tensor,
        document_tokens: Tensor,
        queries: MultiVector,
        documents: MultiVector,
    ) -> Tensor:
        winners = document_tokens.new_empty(len(documents), len(query_tokens), dtype=torch.int32)
        ctx.save_for_backward(query_tokens, document_tokens, winners)
        ctx.query_layout = queries.offsets, queries.scales
        ctx.document_layout = documents.offsets, documents.scales
        return _scores(queries, documents, winners)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        check_first_derivative()
        query_tokens, document_tokens, winners = ctx.saved_tensors
        queries, documents = (
            MultiVector(query_tokens, *ctx.query_layout),
            MultiVector(document_tokens, *ctx.document_layout),
        )
        wanted = ctx.needs_input_grad[:2]
        return *_gradients(queries, documents, winners, grad, wanted), None, None


def check_first_derivative() -> None:
    """Raise ``RuntimeError`` in a backward pass that is to be differentiated again."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "maxsim has first derivatives only; a graph of them was asked for. Leave out "
            "create_graph=True, or score with align.scoring.kernels.reference.maxsim."
        )


def copies_blocks() -> bool:
    """Whether blocks that can be read in place are copied first, for one float32 query here.

    Where nobody asked MaxSim for enough yet, it is tried on documents larger than a cache.
    """
    tried = reading(torch.float32, 128, 32)
    query, documents = (
        MultiVector.from_equal(torch.ones(n, 32, 128)) for n in (1, _TRIED_BYTES // (32 * 128 * 4))
    )
    for _ in range(_TRIED_CALLS):
        if tried.copies is None:
            maxsim(query, documents)
    return tried.copies is not False


def _scores(queries: MultiVector, documents: MultiVector, winners: Tensor | None) -> Tensor:
    """Scores ``(q, m)``; the places of best tokens go into ``winners``, as ``add_sums`` says."""
    wide = score_dtype(queries, documents)
    scores = documents.tokens.new_zeros(len(queries), len(documents), dtype=wide)
    both_int8 = {queries.tokens.dtype, documents.tokens.dtype} == {torch.int8}
    exact = both_int8 and documents.tokens.device.type == "cpu" and multiplies_exactly(queries.dim)
    product = Product(queries.tokens, queries.offsets, documents, torch.int32 if exact else wide)
    add_sums(scores, product, winners)
    # Scales are above zero, so they may wait until after the maximum and the sum.
    for scales, shape in ((queries.scales, (-1, 1)), (documents.scales, (1, -1))):
        if scales is not None:
            scores *= scales.view(shape)
    return scores


@torch.no_grad()
def add_sums(scores: Tensor, product: Product, winners: Tensor | None = None) -> None:
    """Add to ``scores``, ``(q, m)`` floating point, the sums of best products, unscaled.

    ``winners``, ``(m, S)`` int32, gets for each document and query token the place in the document
    of the first token that attains the maximum.
    """

    def add(blocks: Iterator[Block]) -> None:
        work = Workspace(product)
        for block in blocks:
            start = perf_counter()
            for tile in product.tiles:
                best = _best(work, block, tile, winners).to(scores.dtype)
                scores[tile.low : tile.high].index_add_(1, block.items, tile.sums(best).T)
            work.took(block, perf_counter() - start)

    alone = product.small or scores.device.type != "cpu"
    lengths = product.offsets.diff()
    joined = (
        winners is None
        and scores.device.type == "cpu"
        and product.few
        and bool((lengths != lengths[:1]).any())
    )
    share_out(product.blocks(joined=joined), add, alone=alone)


def _best(work: Workspace, block: Block, tile: Tile, winners: Tensor | None) -> Tensor:
    """Best product of each document of a block with each query token of a tile, ``(n, k)``."""
    best: Tensor | None = None
    for first in work.of.pieces(block):
        product = work.product(block, first, tile)
        values = _largest_of_each(product[0], block) if block.joined else largest(product)
        if winners is not None:
            places = first_places(product, values) + first
            if best is not None:
                before = winners[block.items, tile.first : tile.last]
                places = torch.where(values > best, places, before)
            winners[block.items, tile.first : tile.last] = places
        best = values if best is None else torch.maximum(best, values)
    assert best is not None, "a document has a token"
    return best


def _largest_of_each(product: Tensor, block: Block) -> Tensor:
    """Largest of each column in the rows of each document, ``(t, k)`` to ``(n, k)``."""
    starts = (block.starts[:, 0] - block.row).numpy()
    return torch.from_numpy(np.maximum.reduceat(product.numpy(), starts, axis=0))


def largest(product: Tensor) -> Tensor:
    """``product.amax(1)``, ``(n, t, k)`` to ``(n, k)``; of few columns, several rows at a time.

    Torch takes maxima of 32 columns at a time, and of what is left over thirty times as slowly.
    """
    n, t, k = product.shape
    if k == 1:
        return product[:, :, 0].amax(1, keepdim=True)
    fold = _WIDE // gcd(k, _WIDE)
    fold = min(fold if k <= _FOLD else min(fold, _FOLD), t)
    if fold == 1:
        return product.amax(1)
    whole = t - t % fold
    folded = torch.unflatten(product[:, :whole], 1, (-1, fold)).flatten(2).amax(1)
    best = folded.view(n, fold, k).amax(1)
    return best if whole == t else torch.maximum(best, product[:, whole:].amax(1))


def first_places(product: Tensor, best: Tensor) -> Tensor:
    """First ``j`` with ``product[:, j] == best``, ``(n, k)`` int32; eight times as fast as max."""
    t = product.shape[1]
    left = torch.arange(t, 0, -1, dtype=torch.int32, device=product.device)
    return t - torch.where(product == best[:, None], left[:, None], 0).amax(1)


def _gradients(
    queries: MultiVector,
    documents: MultiVector,
    winners: Tensor,
    grad: Tensor,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of query and document tokens in their dtypes, summed in that of the scores.

    The gradient of a score stands at the best token of each query token, in a block of weights that
    is zero elsewhere; two products with it serve both sides, and sums have one order.
    """
    product = Product(queries.tokens, queries.offsets, documents, grad.dtype)
    work = Workspace(product)
    for scales, shape in ((queries.scales, (-1, 1)), (documents.scales, (1, -1))):
        grad = grad if scales is None else grad * scales.view(shape)
    query_grad = grad.new_zeros(queries.tokens.shape) if wanted[0] else None
    document_grad = torch.zeros_like(documents.tokens) if wanted[1] else None
    for block in product.blocks():
        for first in product.pieces(block):
            tokens = work.load(block, first)
            _, t, d = tokens.shape
            tokens = tokens.flatten(0, 1)
            sums = tokens.new_zeros(tokens.shape)
            for tile in product.tiles:
                lengths = tile.lengths.to(grad.device)
                each = grad[tile.low : tile.high, block.items].repeat_interleave(lengths, dim=0)
                places = winners[block.items, tile.first : tile.last].long() - first
                weights = work.weights(places, each.T, t)
                if query_grad is not None:
                    query_grad[tile.first : tile.last].addmm_(weights.T, tokens)
                if document_grad is not None:
                    sums.addmm_(weights, work.queries(tile)[:, :d])
            if document_grad is not None:
                # Rows that repeat a document's last token contribute nothing: the first one counts.
                rows = block.rows(work.places(first, t))
                real = rows.diff(dim=1, prepend=rows[:, :1] - 1) > 0
                document_grad[rows[real]] = sums[real.flatten()].to(document_grad.dtype)
    return None if query_grad is None else query_grad.to(queries.tokens.dtype), document_grad
