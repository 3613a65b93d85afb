"""The best documents of each query by MaxSim, without the (q, m) score matrix."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor

from align.data.multi_vector import INT8_MAX, MultiVector
from align.scoring.inner_products import check_finite
from align.scoring.kernels.cpu_blocks import RADIX, Product, multiplies_exactly, runs
from align.scoring.kernels.cpu_maxsim import add_sums, maxsim
from align.scoring.kernels.pairs import PairRows
from align.scoring.kernels.pairs import scores as pair_scores
from align.scoring.kernels.reference import Reduction, score_dtype
from align.scoring.topk import Neighbours, best_columns, merge_neighbours

# Worked on at a time: queries, entries of their tokens, scores, and entries of documents that are
# rounded.
_QUERIES, _QUERY_ENTRIES, _SCORES, _ROUNDED_ENTRIES = 1024, 2**20, 2**20, 2**22

# Query tokens from which on whole numbers save more than rounding the documents costs: measured.
_MANY = 512

# Documents for each one asked for, below which too many of them would be candidates.
_RARE = 64

# Share of the documents of a part from which on all are scored without rounding: a candidate alone
# costs several times as much as among all others.
_MOST_CANDIDATES = 1 / 8


@torch.no_grad()
def topk(
    queries: MultiVector, documents: MultiVector, k: int, *, reduction: Reduction = "sum"
) -> Neighbours:
    """The ``k`` documents with the largest ``maxsim`` with each query; on ties the lower index.

    Where documents are int8 and queries are not, and where there are many queries and the processor
    multiplies int8 several times as fast, all documents are first scored in whole numbers. With
    ``e_i`` the rounding error of ``q_i`` and ``f_j`` that of ``c_j``, a score is then off by at
    most ``sum_i ||e_i|| max_j ||c_j + f_j|| + sum_i ||q_i|| max_j ||f_j||``. Each document that
    this leaves among the best ``k`` is scored again without rounding: the answer is the exact one
    for queries and documents as they are given.

    Returns:
        ``values`` and ``indices``, both ``(q, k)``; ``1 <= k <= m`` is not checked.
    """
    digits = _digits(queries, documents, k)
    rows = max(_QUERY_ENTRIES // max(queries.dim, 1), 1)
    empty = documents.tokens.new_empty(0, k, dtype=score_dtype(queries, documents))
    best = [Neighbours(empty, empty.long())]
    for low, high in runs(queries.offsets, items=_QUERIES, rows=rows):
        some = queries[low:high]
        rounded = _rounded(some, digits) if digits else None
        best.append(_search(some, rounded, documents, k, reduction))
    return Neighbours(
        torch.cat([part.values for part in best]), torch.cat([part.indices for part in best])
    )


def _digits(queries: MultiVector, documents: MultiVector, k: int) -> int:
    """Int8 digits of a query's codes if whole numbers are to find the candidates, else 0."""
    if documents.tokens.device.type != "cpu" or not multiplies_exactly(queries.dim):
        return 0
    if documents.scales is not None:
        return 2 if queries.scales is None else 0
    narrow = score_dtype(queries, documents) == torch.float32 and queries.scales is None
    many = len(queries.tokens) >= _MANY and queries.dim > 1 and len(documents) >= _RARE * k
    # A second digit would halve the bound and double the work.
    return 1 if narrow and many and torch.cpu._is_vnni_supported() else 0


class _Rounded(NamedTuple):
    """Queries as whole numbers: ``codes`` ``(S, d)`` times ``steps`` ``(q,)``.

    A score is off by at most ``errors`` ``(q,)`` times the norm of a document's longest token as it
    is rounded, and by ``norms`` ``(q,)`` times its largest rounding error.
    """

    codes: Tensor
    steps: Tensor
    errors: Tensor
    norms: Tensor


def _rounded(queries: MultiVector, digits: int) -> _Rounded:
    tokens, lengths, d = queries.tokens.float(), queries.lengths, queries.dim
    # As many codes as the digits write, or as keep an inner product within int32.
    written = INT8_MAX if digits == 1 else RADIX * INT8_MAX + INT8_MAX - 1
    most = min(written, (2**31 - 1) // (INT8_MAX * max(d, 1)))
    widest = tokens.abs().amax(1) if d else tokens.new_zeros(len(tokens))
    largest = torch.segment_reduce(widest, "max", lengths=lengths, axis=0)
    steps = largest / most
    steps = torch.where(steps > 0, steps, 1.0)
    each = steps.repeat_interleave(lengths)[:, None]
    codes = (tokens / each).round().clamp(-most, most)
    lost, norms = (tokens - codes * each).norm(dim=1), tokens.norm(dim=1)
    # Sums of n float32 products are off by less than n times this part of the norms multiplied;
    # the sum over tokens and a few single steps are counted with them.
    roundings = d + int(lengths.max()) + 8
    lost += roundings * torch.finfo(torch.float32).eps * norms
    errors, norms = (
        torch.segment_reduce(each, "sum", lengths=lengths, axis=0) for each in (lost, norms)
    )
    return _Rounded(codes.to(torch.int8 if digits == 1 else torch.int16), steps, errors, norms)


class _RoundedDocuments(NamedTuple):
    """Documents as whole numbers, and by how much their tokens are off.

    Attributes:
        codes: Int8.
        longest: No less than the norm of any token of a document as rounded, ``(m,)``.
        lost: No less than the norm of what rounding took from any of them, ``(m,)``.
    """

    codes: MultiVector
    longest: Tensor
    lost: Tensor

    @classmethod
    def of(cls, documents: MultiVector) -> Self:
        if documents.scales is not None:
            longest = documents.scales * (INT8_MAX * math.sqrt(documents.dim))
            return cls(documents, longest, torch.zeros_like(longest))
        codes, tokens = documents.quantized(), documents.tokens.float()
        norms = torch.stack(
            [tokens.norm(dim=1), (codes.to(dtype=torch.float32).tokens - tokens).norm(dim=1)]
        )
        longest, lost = (
            torch.segment_reduce(each, "max", lengths=documents.lengths, axis=0) for each in norms
        )
        # Norms are summed in float32 themselves.
        lost *= 1 + documents.dim * torch.finfo(torch.float32).eps
        return cls(codes, longest + lost, lost)


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
        else:
            full = best is not None and best.values.shape[1] == k
            floor = best.values[:, -1] if best is not None and full else None
            candidates = _candidates(queries, rounded, part, part_k, floor, reduction)
            if candidates is None:
                # From the start: equal documents tie only where all are scored in one way.
                return _search(queries, None, documents, k, reduction)
            scores = candidates
        part_best = best_columns(scores, part_k)
        part_best = Neighbours(part_best.values, part_best.indices + first)
        best = part_best if best is None else merge_neighbours([best, part_best], k=k)
    assert best is not None, "k is at least 1, and no more than the documents"
    return best


def _coarse(
    queries: MultiVector, rounded: _Rounded, documents: MultiVector
) -> tuple[Tensor, Tensor]:
    """Sums ``(q, m)`` in whole numbers, and what they are off at most; NaN where tokens are not
    finite."""
    scores = rounded.steps.new_zeros(len(queries), len(documents))
    errors = torch.empty_like(scores)
    int8 = documents.scales is not None
    rows = len(documents.tokens) if int8 else _ROUNDED_ENTRIES // max(queries.dim, 1)
    for first, last in runs(documents.offsets, items=len(documents), rows=rows):
        part, columns = documents[first:last], slice(first, last)
        if not int8 and not bool(part.tokens.isfinite().all()):
            scores[:, columns] = torch.nan
            continue
        off = _RoundedDocuments.of(part)
        assert off.codes.scales is not None, "codes are int8"
        add_sums(
            scores[:, columns], Product(rounded.codes, queries.offsets, off.codes, torch.int32)
        )
        scores[:, columns] *= off.codes.scales
        torch.outer(rounded.errors, off.longest, out=errors[:, columns])
        errors[:, columns].addr_(rounded.norms, off.lost)
    return scores.mul_(rounded.steps[:, None]), errors


def _candidates(
    queries: MultiVector,
    rounded: _Rounded,
    documents: MultiVector,
    k: int,
    floor: Tensor | None,
    reduction: Reduction,
) -> Tensor | None:
    """Scores ``(q, m)``, of which all but those that may be among the best ``k`` are -inf.

    ``floor`` ``(q,)`` is a score that ``k`` other documents reach. ``None`` where too many may be,
    or tokens are not finite.
    """
    scores, errors = _coarse(queries, rounded, documents)
    if not bool(scores.isfinite().all()):
        return None
    if reduction == "mean":
        scores /= queries.lengths[:, None]
        errors /= queries.lengths[:, None]
    least = (scores - errors).topk(k, dim=1).values[:, -1]
    least = least if floor is None else torch.maximum(least, floor)
    pairs = (scores.add_(errors) >= least[:, None]).nonzero()
    if len(pairs) > _MOST_CANDIDATES * scores.numel():
        return None
    exact = pair_scores(queries, documents, PairRows.of(queries, documents, pairs, None))
    check_finite(exact, "the tokens of queries and documents")
    exact = exact / queries.lengths[pairs[:, 0]] if reduction == "mean" else exact
    return scores.fill_(-torch.inf).index_put_(tuple(pairs.unbind(1)), exact)
