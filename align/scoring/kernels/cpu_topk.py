"""The best documents of each query by MaxSim, without the (q, m) score matrix."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from align.data.multi_vector import INT8_MAX, MultiVector
from align.scoring.inner_products import check_finite
from align.scoring.kernels.cpu_blocks import RADIX, Product, multiplies_exactly, runs
from align.scoring.kernels.cpu_maxsim import add_sums, maxsim
from align.scoring.kernels.reference import Reduction, score_dtype
from align.scoring.topk import Neighbours, best_columns, merge_neighbours

# Worked on at a time: queries, entries of their tokens, scores, and entries of int8 documents that
# are copied to be scored exactly.
_QUERIES, _QUERY_ENTRIES, _SCORES, _COPIED_ENTRIES = 1024, 2**20, 2**20, 2**22


@torch.no_grad()
def topk(
    queries: MultiVector, documents: MultiVector, k: int, *, reduction: Reduction = "sum"
) -> Neighbours:
    """The ``k`` documents with the largest ``maxsim`` with each query; on ties the lower index.

    Where documents are int8 and queries are not, all documents are first scored in whole numbers,
    with each query ``q_i`` rounded to codes of two int8 digits. With ``e_i`` its rounding error, a
    score is then off by at most ``sum_i ||e_i|| * max_j ||c_j||``, and ``||c_j||`` is at most
    ``127 sqrt(d)`` times the scale of its document. Each document that this leaves among the best
    ``k`` is scored again without rounding the query: the answer is the exact one for the documents
    as they are stored.

    Returns:
        ``values`` and ``indices``, both ``(q, k)``; ``1 <= k <= m`` is not checked.
    """
    int8 = documents.scales is not None and queries.scales is None
    on_cpu = documents.tokens.device.type == "cpu"
    whole = int8 and on_cpu and multiplies_exactly(queries.dim)
    rows = max(_QUERY_ENTRIES // max(queries.dim, 1), 1)
    empty = documents.tokens.new_empty(0, k, dtype=score_dtype(queries, documents))
    best = [Neighbours(empty, empty.long())]
    for low, high in runs(queries.offsets, items=_QUERIES, rows=rows):
        some = queries[low:high]
        rounded = _rounded(some) if whole else None
        best.append(_search(some, rounded, documents, k, reduction))
    return Neighbours(
        torch.cat([part.values for part in best]), torch.cat([part.indices for part in best])
    )


class _Rounded(NamedTuple):
    """Queries as whole numbers of two int8 digits: ``codes`` ``(S, d)`` times ``steps`` ``(q,)``.

    A score with a document of scale 1 is off by at most ``errors``, ``(q,)``.
    """

    codes: Tensor
    steps: Tensor
    errors: Tensor


def _rounded(queries: MultiVector) -> _Rounded:
    tokens, lengths, d = queries.tokens.float(), queries.lengths, queries.dim
    # As many codes as two digits write, or as keep an inner product within int32.
    most = min(RADIX * INT8_MAX + INT8_MAX - 1, (2**31 - 1) // (INT8_MAX * max(d, 1)))
    widest = tokens.abs().amax(1) if d else tokens.new_zeros(len(tokens))
    largest = torch.segment_reduce(widest, "max", lengths=lengths, axis=0)
    steps = largest / most
    steps = torch.where(steps > 0, steps, 1.0)
    each = steps.repeat_interleave(lengths)[:, None]
    codes = (tokens / each).round().clamp(-most, most)
    lost = (tokens - codes * each).norm(dim=1)
    # Sums of n float32 products are off by less than n times this part of the norms multiplied;
    # the sum over tokens and a few single steps are counted with them.
    roundings = d + int(lengths.max()) + 8
    lost += roundings * torch.finfo(torch.float32).eps * tokens.norm(dim=1)
    errors = torch.segment_reduce(lost, "sum", lengths=lengths, axis=0)
    errors *= INT8_MAX * math.sqrt(d)
    return _Rounded(codes.to(torch.int16), steps, errors)


def _search(
    queries: MultiVector,
    rounded: _Rounded | None,
    documents: MultiVector,
    k: int,
    reduction: Reduction,
) -> Neighbours:
    """``topk`` for some queries, a part of the documents at a time."""
    best: Neighbours | None = None
    step = _SCORES // len(queries)
    for first in range(0, len(documents), step):
        part = documents[first : first + step]
        part_k = min(k, len(part))
        if rounded is None:
            scores = maxsim(queries, part, reduction=reduction)
            check_finite(scores, "the tokens of queries and documents")
            part_best = best_columns(scores, part_k)
        else:
            full = best is not None and best.values.shape[1] == k
            floor = best.values[:, -1] if best is not None and full else None
            part_best = _rescored(queries, rounded, part, part_k, floor, reduction)
        part_best = Neighbours(part_best.values, part_best.indices + first)
        best = part_best if best is None else merge_neighbours([best, part_best], k=k)
    assert best is not None, "k is at least 1, and no more than the documents"
    return best


def _rescored(
    queries: MultiVector,
    rounded: _Rounded,
    documents: MultiVector,
    k: int,
    floor: Tensor | None,
    reduction: Reduction,
) -> Neighbours:
    """The best ``k``, or those of them that reach ``floor`` ``(q,)``; -inf fills the others up."""
    scales = documents.scales
    assert scales is not None, "documents are int8"
    scores = scales.new_zeros(len(queries), len(documents))
    add_sums(scores, Product(rounded.codes, queries.offsets, documents, torch.int32))
    shares = 1 / queries.lengths if reduction == "mean" else scales.new_ones(len(queries))
    scores *= (rounded.steps * shares)[:, None]
    scores *= scales
    check_finite(scores, "the tokens of queries and documents")
    errors = (rounded.errors * shares)[:, None] * scales
    least = (scores - errors).topk(k, dim=1).values[:, -1]
    least = least if floor is None else torch.maximum(least, floor)
    near = scores.add_(errors) >= least[:, None]
    values = scores.new_full((len(queries), k), -torch.inf)
    indices = torch.zeros_like(values, dtype=torch.int64)
    for row in range(len(queries)):
        chosen = near[row].nonzero().flatten()
        size = max(1, _COPIED_ENTRIES // max(documents.dim * int(documents.lengths.max()), 1))
        query = queries[row : row + 1]
        exact = [
            maxsim(query, documents.take(some), reduction=reduction)
            for some in torch.split(chosen, size)
            if len(some)
        ]
        if exact:
            best = best_columns(torch.cat(exact, dim=1), min(k, len(chosen)))
            values[row, : best.values.shape[1]] = best.values
            indices[row, : best.values.shape[1]] = chosen[best.indices]
    return Neighbours(values, indices)
