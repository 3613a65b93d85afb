"""Late interaction: how well items of several vectors match, and the best of a collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from align._checks import check_k, check_one_of
from align.data.multi_vector import MultiVector
from align.scoring.inner_products import check_finite
from align.scoring.kernels.cpu_maxsim import maxsim as maxsim_on_cpu
from align.scoring.kernels.cpu_topk import topk as topk_on_cpu
from align.scoring.kernels.reference import Reduction, score_dtype
from align.scoring.topk import Neighbours, merge_neighbours

# On the CPU, what a call takes beyond its inputs and its result, at most; also where documents are
# memory-mapped, as MultiVector.open leaves them. A gradient takes 4 bytes per query token and
# document more.
EXTRA_BYTES = 64 * 2**20

_SLICE_BYTES = 2**23  # prefixes of documents that a budget has copied at a time


def maxsim(
    queries: MultiVector,
    documents: MultiVector,
    *,
    budget: tuple[int, int] | None = None,
    reduction: Reduction = "sum",
) -> Tensor:
    """Score of each query with each document: each query token's best match, summed over them.

    ``s(q, c) = sum_i max_j <q_i, c_j>``, as ``kernels.reference.maxsim`` has it. Nothing is padded
    with zeros and nothing of size ``(q, m, s, t)`` exists. Gradients reach all tokens but int8,
    once; that of a maximum goes to the first document token that attains it.

    Args:
        queries: ``q`` items of width ``d``.
        documents: ``m`` items of width ``d``, on the same device; on a GPU, Triton kernels score
            them. Int8 documents with int8 queries are multiplied in whole numbers.
        budget: ``(r_q, r_c)``: only the first ``r_q`` vectors of each query and the first ``r_c``
            of each document count. An item with fewer keeps all of its own.
        reduction: ``"sum"``, or ``"mean"`` over the tokens of each query.

    Returns:
        Scores, ``(q, m)`` float32; float64 if both sides are. Float16 and bfloat16 are multiplied
        as the numbers they are, and summed in float32.

    Raises:
        TypeError: A side is no MultiVector.
        ValueError: The sides do not fit together, the budget or the reduction is not one, or a
            score is NaN or infinite.
        ImportError: The tensors are on a GPU and triton is not installed.

    Reference:
        Khattab and Zaharia 2020, arXiv:2004.12832, eq. 3; prefixes as budgets: MetaEmbed,
        arXiv:2509.18095.

    Examples:
        >>> import torch, align
        >>> documents = align.MultiVector.pack([torch.eye(4)[:2], torch.eye(4)[1:]])
        >>> align.maxsim(documents, documents).tolist()
        [[2.0, 1.0], [1.0, 3.0]]
    """
    check_sides(queries, documents, budget, reduction)
    kernel = _kernel(documents.tokens.device)
    if budget is None:
        scores = kernel.maxsim(queries, documents, reduction=reduction)
    else:
        queries = queries.prefix(budget[0])
        scores = queries.tokens.new_empty(
            len(queries), len(documents), dtype=score_dtype(queries, documents)
        )
        for first, part in _prefixes(documents, budget[1]):
            columns = scores[:, first : first + len(part)]
            columns.copy_(kernel.maxsim(queries, part, reduction=reduction))
    check_finite(scores, "the tokens of queries and documents")
    return scores


def topk(
    queries: MultiVector,
    documents: MultiVector,
    k: int,
    *,
    budget: tuple[int, int] | None = None,
    reduction: Reduction = "sum",
) -> Neighbours:
    """The ``k`` documents with the largest ``maxsim`` with each query, exactly, best first.

    Of documents with equal scores the one with the lower index comes first and is kept first. The
    scores ``(q, m)`` are never held. On the CPU, queries that are not int8 meet int8 documents in
    whole numbers first, and so do many queries any documents where the processor multiplies int8
    several times as fast; only the documents that the rounding error leaves among the best are
    scored again: see ``kernels.cpu_topk.topk`` for the bound. There is no gradient.

    Args:
        queries: ``q`` items of width ``d``.
        documents: ``m`` items of width ``d``, on the same device.
        k: Documents per query, ``1 <= k <= m``.
        budget: As for ``maxsim``.
        reduction: As for ``maxsim``.

    Returns:
        ``values`` and ``indices``, both ``(q, k)``.

    Raises:
        TypeError: A side is no MultiVector.
        ValueError: As for ``maxsim``, or ``k`` is out of range.
        ImportError: The tensors are on a GPU and triton is not installed.

    Examples:
        >>> import torch, align
        >>> documents = align.MultiVector.pack([torch.eye(4)[:2], torch.eye(4)[2:]])
        >>> found = align.topk(documents, documents, k=1)
        >>> found.indices.tolist(), found.values.tolist()
        ([[0], [1]], [[2.0], [2.0]])
    """
    check_sides(queries, documents, budget, reduction)
    check_k(k, len(documents), of="the number of documents")
    kernel = _kernel(documents.tokens.device)
    if budget is None:
        best = kernel.topk(queries, documents, k, reduction=reduction)
    else:
        queries, parts = queries.prefix(budget[0]), list[Neighbours]()
        for first, part in _prefixes(documents, budget[1]):
            values, indices = kernel.topk(queries, part, min(k, len(part)), reduction=reduction)
            parts = [merge_neighbours([*parts, Neighbours(values, indices + first)], k=k)]
        best = parts[0]
    check_finite(best.values, "the tokens of queries and documents")
    return best


class _Kernel(NamedTuple):
    maxsim: Callable[..., Tensor]
    topk: Callable[..., Neighbours]


def _kernel(device: torch.device) -> _Kernel:
    if device.type != "cuda":
        return _Kernel(maxsim_on_cpu, topk_on_cpu)
    try:
        from align.scoring.kernels.gpu import maxsim as maxsim_triton
    except ImportError as error:
        raise ImportError(
            f"late interaction on {device} needs triton; importing it failed with: {error}. "
            "Install isthmus[gpu], or move both sides to the CPU."
        ) from error
    return _Kernel(maxsim_triton.maxsim, maxsim_triton.topk)


def _prefixes(documents: MultiVector, budget: int) -> Iterator[tuple[int, MultiVector]]:
    """Consecutive documents cut to ``budget`` tokens, with the number of the first of them."""
    width = max(documents.dim, 1) * documents.tokens.element_size()
    step = max(1, _SLICE_BYTES // (budget * width))
    for first in range(0, len(documents), step):
        yield first, documents[first : first + step].prefix(budget)


def check_sides(
    queries: MultiVector,
    documents: MultiVector,
    budget: tuple[int, int] | None,
    reduction: Reduction,
) -> None:
    """Raise unless both sides are multi-vectors that can meet under these options."""
    if not isinstance(queries, MultiVector) or not isinstance(documents, MultiVector):
        raise TypeError(
            "queries and documents must both be MultiVector; "
            f"got {type(queries).__name__} and {type(documents).__name__}. "
            "Use MultiVector.pack, from_padded or from_equal."
        )
    if queries.dim != documents.dim:
        raise ValueError(
            "queries and documents must have tokens of one width; "
            f"got {queries.dim} and {documents.dim}. Map both into one shared space first."
        )
    if queries.tokens.device != documents.tokens.device:
        raise ValueError(
            "queries and documents must be on one device; "
            f"got {queries.tokens.device} and {documents.tokens.device}. "
            "Move one with .to(device=...)."
        )
    advice = "Choose the mean to compare scores of queries that differ in length."
    check_one_of("reduction", reduction, get_args(Reduction), advice)
    if budget is not None:
        _check_budget(budget, queries, documents)


def _check_budget(budget: tuple[int, int], queries: MultiVector, documents: MultiVector) -> None:
    pair = isinstance(budget, tuple) and len(budget) == 2
    if not pair or not all(type(r) is int and r >= 1 for r in budget):
        raise ValueError(
            "budget must be a pair (r_q, r_c) of whole numbers, each at least 1; "
            f"got {budget!r}. Say how many vectors of each query and of each document to use."
        )
    longest = [_longest(side.offsets) for side in (queries, documents)]
    if any(0 < most < r for most, r in zip(longest, budget, strict=True)):
        raise ValueError(
            "budget must not exceed the longest item of its side, "
            f"({longest[0]}, {longest[1]}); got {budget}. "
            "Lower it, or leave budget out to use all vectors."
        )


def _longest(offsets: Tensor) -> int:
    """Tokens of the longest item; 0 where there is none."""
    step = 2**20
    parts = (offsets[first : first + step + 1].diff() for first in range(0, len(offsets) - 1, step))
    return max((int(part.max()) for part in parts), default=0)
