"""MaxSim on a GPU without the similarities of all token pairs. Meaning: kernels/reference.py.

Sizes, and the times to expect of them: docs/gpu_roofline.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from align.data.multi_vector import MultiVector
from align.scoring.kernels.gpu.gradients import document_gradient, query_gradient
from align.scoring.kernels.gpu.kernels import DTYPES, device_of, scores_kernel, topk_kernel
from align.scoring.kernels.gpu.tiles import MOST_SLOTS, Tiles, choose_tiles
from align.scoring.kernels.reference import Reduction
from align.scoring.topk import Neighbours, merge_neighbours

PROGRAMS = 4096  # of a launch, roughly; each takes a run of documents. Many times what a GPU holds
_BLOCK = 8192  # documents scored at a time where k is too large for the top-k kernel


class _Side(NamedTuple):
    """What kernels read of packed items."""

    tokens: Tensor  # (total_tokens, d), contiguous
    ends: Tensor  # item i owns rows ends[i]:ends[i + 1]; (n + 1,) int64
    weights: Tensor  # factor of each item's scores, (n,) float32
    longest: int  # most tokens of an item


def maxsim(queries: MultiVector, documents: MultiVector, *, reduction: Reduction = "sum") -> Tensor:
    """As ``reference.maxsim``, but float64 on both sides is refused."""
    query, document = _sides(queries, documents, reduction)
    if torch.is_grad_enabled() and (query.tokens.requires_grad or document.tokens.requires_grad):
        scores: Tensor = _MaxSim.apply(  # type: ignore[no-untyped-call]
            query.tokens, document.tokens, query, document
        )
        return scores
    return _scores(query, document, None)


@torch.no_grad()
def topk(
    queries: MultiVector, documents: MultiVector, k: int, *, reduction: Reduction = "sum"
) -> Neighbours:
    """The ``k`` documents with the largest ``maxsim``, without the ``(q, m)`` scores.

    Up to ``k = 256`` one kernel scores and selects; beyond, blocks of documents are merged.
    """
    assert 1 <= k <= len(documents)
    if k > MOST_SLOTS:
        return _topk_by_blocks(queries, documents, k, reduction)
    query, document = _sides(queries, documents, reduction)
    q, m = len(queries), len(documents)
    tiles = _tiles(query, document, k=k)
    groups, run = _split(q, m, tiles, least=4 * tiles.slots)
    runs = -(-m // run)
    keys = query.ends.new_empty(q, runs, tiles.slots)
    if q:
        with device_of(keys):
            topk_kernel[(groups * runs,)](
                *query[:3], *document[:3], keys, q, m, queries.dim // tiles.unit, groups, run, runs,
                *_constants(tiles, query, document), tiles.slots,
                **_options(tiles),
            )  # fmt: skip
    # No two keys of a query are equal, so there is one order of them.
    best = keys.flatten(1).topk(k).values
    bits = (best >> 32).int()
    values = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return Neighbours(values, 0x7FFFFFFF - (best & 0xFFFFFFFF))


class _MaxSim(torch.autograd.Function):
    """Scores that remember the best token of each document for each query token."""

    @staticmethod
    def forward(
        ctx: Any,
        query_tokens: Tensor,
        document_tokens: Tensor,
        query: _Side,
        document: _Side,
    ) -> Tensor:
        picks = query.ends.new_empty(len(document.weights), len(query_tokens), dtype=torch.int32)
        ctx.save_for_backward(query_tokens, document_tokens, picks, *query[1:3], *document[1:3])
        return _scores(query, document, picks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (
            query,
            document,
            picks,
            query_ends,
            query_weights,
            document_ends,
            document_weights,
        ) = ctx.saved_tensors
        # Token i of query a meets document c with this factor, whichever token it picked.
        factors = gradient.float() * query_weights[:, None] * document_weights
        owners = torch.repeat_interleave(query_ends.diff())
        needs_query, needs_document, *_ = ctx.needs_input_grad
        return (
            query_gradient(query, document, document_ends, picks, factors, owners)
            if needs_query
            else None,
            document_gradient(query, document, document_ends, picks, factors, owners)
            if needs_document
            else None,
            None,
            None,
        )


def _scores(query: _Side, document: _Side, picks: Tensor | None) -> Tensor:
    """Scores ``(q, m)``; fills ``picks``, ``(m, total query tokens)``, with the best tokens."""
    q, m = len(query.weights), len(document.weights)
    scores = query.weights.new_zeros(q, m)
    if scores.numel():
        tiles = _tiles(query, document)
        groups, run = _split(q, m, tiles, least=1)
        with device_of(scores):
            scores_kernel[(groups * -(-m // run),)](
                *query[:3], *document[:3], scores, scores if picks is None else picks,
                q, m, query.tokens.shape[1] // tiles.unit, groups, run, len(query.tokens),
                *_constants(tiles, query, document), picks is not None,
                **_options(tiles),
            )  # fmt: skip
    return scores


def _sides(
    queries: MultiVector, documents: MultiVector, reduction: Reduction
) -> tuple[_Side, _Side]:
    assert queries.dim == documents.dim
    wide = queries.tokens.dtype == torch.float64, documents.tokens.dtype == torch.float64
    if all(wide):
        raise ValueError(
            "scores on a GPU must be float32; queries and documents are both float64. "
            "Convert one side with .to(dtype=torch.float32), or score them on the CPU."
        )
    if any(wide):
        queries, documents = (
            side.to(dtype=torch.float32) if is_wide else side
            for side, is_wide in zip((queries, documents), wide, strict=True)
        )
    query, document = _side(queries), _side(documents)
    if reduction == "mean":
        query = query._replace(weights=query.weights / queries.lengths)
    return query, document


def _side(items: MultiVector) -> _Side:
    lengths = items.lengths
    weights = items.scales
    if weights is None:
        weights = torch.ones(len(items), device=items.tokens.device)
    longest = int(lengths.max()) if len(items) else 1
    return _Side(items.tokens.contiguous(), items.offsets.contiguous(), weights, longest)


def _multiplied(query: _Side, document: _Side) -> torch.dtype:
    """The dtype in which all numbers of both sides are exact."""
    one, other = query.tokens.dtype, document.tokens.dtype
    if one == other or other == torch.int8:
        return one
    return other if one == torch.int8 else torch.float32


def _tiles(query: _Side, document: _Side, *, k: int = 0) -> Tiles:
    return choose_tiles(
        len(query.weights), len(document.weights), query.tokens.shape[1],
        longest_query=query.longest, longest_document=document.longest,
        itemsize=_multiplied(query, document).itemsize, k=k, amd=torch.version.hip is not None,
    )  # fmt: skip


def _constants(tiles: Tiles, query: _Side, document: _Side) -> tuple[Any, ...]:
    return (
        tiles.queries, tiles.query_tokens, tiles.documents, tiles.document_tokens, tiles.columns,
        tiles.unit, DTYPES[_multiplied(query, document)],
        tiles.kept, tiles.long_queries, tiles.long_documents,
    )  # fmt: skip


def _options(tiles: Tiles) -> dict[str, Any]:
    # Fusing a product and a sum into one instruction rounds once instead of twice.
    return {"num_warps": tiles.warps, "num_stages": tiles.stages, "enable_fp_fusion": True}


def _split(q: int, m: int, tiles: Tiles, *, least: int) -> tuple[int, int]:
    """Groups of queries, and documents per program: whole tiles, at least ``least``."""
    groups = -(-q // tiles.queries)
    share = -(-m * groups // PROGRAMS)
    whole = max(tiles.documents, least)
    return groups, -(-max(share, whole) // whole) * whole


def _topk_by_blocks(
    queries: MultiVector, documents: MultiVector, k: int, reduction: Reduction
) -> Neighbours:
    best: list[Neighbours] = []
    for start in range(0, len(documents), _BLOCK):
        block = maxsim(queries, documents[start : start + _BLOCK], reduction=reduction)
        values, indices = block.sort(dim=1, descending=True, stable=True)
        part = Neighbours(values[:, :k], indices[:, :k] + start)
        best = [merge_neighbours([*best, part], k=k)]
    return best[0]
