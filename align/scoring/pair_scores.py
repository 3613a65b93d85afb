"""Late interaction of given pairs of queries and documents, and which tokens of them meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from align.data.arrays import dense_tensor
from align.data.multi_vector import MultiVector, Tokens
from align.scoring.inner_products import check_finite
from align.scoring.kernels import pairs as kernel
from align.scoring.kernels.reference import Reduction
from align.scoring.late_interaction import check_sides

PairList = Tokens | Sequence[tuple[int, int]]
"""Numbers of a query and of a document, pair after pair; ``(p, 2)`` integers."""


def maxsim_pairs(
    queries: MultiVector,
    documents: MultiVector,
    pairs: PairList,
    *,
    budget: tuple[int, int] | None = None,
    reduction: Reduction = "sum",
) -> Tensor:
    """Score of each given query with its document: ``maxsim(queries, documents)`` at the pairs.

    Only those are scored, in matrix products of a query with all of its documents of about one
    length; so candidate lists and lists of matching pairs need no ``(q, m)`` scores. Beyond inputs
    and result it takes less than 16 MB and a few numbers per pair. Gradients are those of
    ``maxsim``; for them, 4 bytes per pair and query token are kept.

    Args:
        queries: ``q`` items of width ``d``.
        documents: ``m`` items of width ``d``, on the same device; may be memory-mapped.
        pairs: Row of a query and row of a document, ``(p, 2)`` integers from 0; NumPy, torch or
            lists, in any order, and more than once if need be.
        budget: ``(r_q, r_c)``: only the first ``r_q`` vectors of each query and the first ``r_c``
            of each document count. An item with fewer keeps all of its own.
        reduction: ``"sum"``, or ``"mean"`` over the tokens of each query.

    Returns:
        Scores, ``(p,)`` float32; float64 if both sides are.

    Raises:
        TypeError: A side is no MultiVector.
        ValueError: As for ``maxsim``, or a pair is none of ``q`` queries and ``m`` documents.

    Examples:
        >>> import torch, align
        >>> documents = align.MultiVector.pack([torch.eye(4)[:2], torch.eye(4)[1:]])
        >>> align.maxsim_pairs(documents, documents, [(1, 1), (0, 1)]).tolist()
        [3.0, 1.0]
    """
    check_sides(queries, documents, budget, reduction)
    rows = _rows(queries, documents, pairs, budget)
    scores = kernel.scores(queries, documents, rows)
    scores = scores if reduction == "sum" else scores / rows.asked
    check_finite(scores, "the tokens of queries and documents")
    return scores


class BestTokens(NamedTuple):
    """Which document token each query token meets in a pair; pair ``i`` owns some of the entries.

    Attributes:
        values: Inner product of each query token with its best document token, packed pair after
            pair; float32, or float64 if both sides are. Those of a pair sum to its score.
        places: Place of that token in its document, counted from 0; of equal ones the first.
            int64, packed likewise.
        offsets: Pair ``i`` owns entries ``offsets[i]:offsets[i + 1]``, one per query token;
            ``(p + 1,)`` int64.
    """

    values: Tensor
    places: Tensor
    offsets: Tensor


@torch.no_grad()
def best_tokens(
    queries: MultiVector,
    documents: MultiVector,
    pairs: PairList,
    *,
    budget: tuple[int, int] | None = None,
) -> BestTokens:
    """What ``maxsim`` found: for each token of a query, the document token it matches best.

    This is what to show where a score is to be explained: which patch of the picture answers which
    word of the caption. There is no gradient.

    Args:
        queries: As for ``maxsim_pairs``.
        documents: Likewise.
        pairs: Likewise.
        budget: Likewise.

    Returns:
        ``values`` and ``places`` of the best tokens, packed pair after pair, and the ``offsets`` of
        the pairs, as ``BestTokens`` says.

    Raises:
        TypeError: A side is no MultiVector.
        ValueError: As for ``maxsim_pairs``.

    Examples:
        >>> import torch, align
        >>> words = align.MultiVector.pack([torch.eye(3)[[2, 0]]])
        >>> picture = align.MultiVector.pack([torch.eye(3)])
        >>> best = align.best_tokens(words, picture, [(0, 0)])
        >>> best.places.tolist(), best.values.tolist(), best.offsets.tolist()
        ([2, 0], [1.0, 1.0], [0, 2])
    """
    check_sides(queries, documents, budget, "sum")
    found = kernel.best_tokens(queries, documents, _rows(queries, documents, pairs, budget))
    check_finite(found[0], "the tokens of queries and documents")
    return BestTokens(*found)


def _rows(
    queries: MultiVector,
    documents: MultiVector,
    pairs: PairList,
    budget: tuple[int, int] | None,
) -> kernel.PairRows:
    given = dense_tensor(pairs, name="pairs")
    if len(given) == 0 and not isinstance(pairs, Tensor | np.ndarray):
        given = torch.empty(0, 2, dtype=torch.int64)
    whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    if given.ndim != 2 or given.shape[1] != 2 or not whole:
        raise ValueError(
            "pairs must be integers (p, 2), a row of queries and a row of documents each; "
            f"got shape {tuple(given.shape)} and dtype {given.dtype}. "
            "Stack them with torch.stack([query_rows, document_rows], dim=1)."
        )
    given = given.to(device=queries.tokens.device, dtype=torch.int64)
    limits = given.new_tensor([len(queries), len(documents)])
    bad = ((given < 0) | (given >= limits)).any(1).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"pairs must name rows below {len(queries)} and {len(documents)}, the numbers of "
            f"queries and documents; {len(bad)} of {len(given)} do not, the first is pair "
            f"{int(bad[0])}, {tuple(given[bad[0]].tolist())}. Rows count from 0."
        )
    return kernel.PairRows.of(queries, documents, given, budget)
