"""Cheap scores of all documents, from which a cascade takes its candidates."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.scoring.fde import FDE
from align.scoring.late_interaction import topk
from align.scoring.topk import Neighbours, nearest

Budget = tuple[int, int]
"""Vectors used of each query and of each document, the first ones."""


class FirstStage(Sized, Protocol):
    """Cheap scores of a fixed list of documents, for as many as its length says."""

    def __call__(self, queries: MultiVector, n: int) -> Neighbours:
        """The ``n`` documents that look best to each query, best first."""
        ...

    def flops(self, queries: MultiVector) -> int:
        """Floating-point operations that scoring all documents for these queries takes."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PrefixStage:
    """MaxSim of the first vectors of each item."""

    documents: MultiVector  # cut to their first vectors
    query_budget: int  # vectors used of each query

    def __len__(self) -> int:
        return len(self.documents)

    def __call__(self, queries: MultiVector, n: int) -> Neighbours:
        queries = queries.prefix(self.query_budget)
        one_each = all(len(side.tokens) == len(side) for side in (queries, self.documents))
        if one_each and self.documents.tokens.dtype == torch.float32:
            # MaxSim of one vector with another is their inner product, which is found faster.
            return nearest(queries.to(dtype=torch.float32).tokens, self.documents.tokens, k=n)
        return topk(queries, self.documents, n)

    def flops(self, queries: MultiVector) -> int:
        """Multiplications and additions of scoring ``queries``."""
        return maxsim_flops(queries.prefix(self.query_budget), self.documents)


@dataclass(frozen=True, slots=True, eq=False)
class EncodingStage:
    """Inner products of fixed dimensional encodings."""

    fde: FDE  # encodes the queries as it did the documents
    vectors: Tensor  # one vector per document, (m, fde.width) float32

    def __len__(self) -> int:
        return len(self.vectors)

    def __call__(self, queries: MultiVector, n: int) -> Neighbours:
        return nearest(self.fde.queries(queries), self.vectors, k=n)

    def flops(self, queries: MultiVector) -> int:
        """Multiplications and additions of scoring ``queries``."""
        products = 2 * len(queries) * len(self) * self.fde.width
        return products + self.fde.encoding_flops(len(queries.tokens))


def first_stage(documents: MultiVector, first: FDE | Budget = (1, 1)) -> FirstStage:
    """What a first stage keeps of the documents, made once and used for any number of searches.

    Args:
        documents: ``m`` packed documents.
        first: How many first vectors to use of each query and each document, which suits models
            that order them coarse to fine; or a fixed dimensional encoding.

    Raises:
        ValueError: A budget is below 1, or an encoding is for another width.

    Examples:
        >>> import torch, align
        >>> documents = align.MultiVector.pack([torch.eye(8)[:3], torch.eye(8)[3:]])
        >>> first = align.first_stage(documents, (1, 1))
        >>> align.cascade(documents, documents, k=1, candidates=2, first=first).indices.tolist()
        [[0], [1]]
    """
    if isinstance(first, FDE):
        return EncodingStage(first, first.documents(documents))
    query_budget, document_budget = first
    return PrefixStage(documents.prefix(document_budget), query_budget)


def propose(stage: FirstStage, queries: MultiVector, n: int) -> Neighbours:
    """The ``n`` documents that a first stage proposes for each query, checked: it may be anybody's.

    Scores may be infinite, with a minus for items that only fill up.
    """
    best = stage(queries, n)
    shape = (len(queries), n)
    fits = best.indices.shape == best.values.shape == shape
    fits = fits and best.indices.dtype == torch.int64 and best.values.is_floating_point()
    if not fits or bool(((best.indices < 0) | (best.indices >= len(stage))).any()):
        spread = f", from {int(best.indices.min())} to {int(best.indices.max())}" if fits else ""
        raise ValueError(
            f"a first stage must propose {n} of its {len(stage)} items for each query, rows of "
            f"shape {shape}, int64, with floating-point scores; got {best.indices.dtype} of "
            f"shape {tuple(best.indices.shape)} and {best.values.dtype} of shape "
            f"{tuple(best.values.shape)}{spread}. "
            "Have it look further, or fill up with items that it did not look at."
        )
    bad = best.values.isnan().sum()
    if bad:
        raise ValueError(
            f"a first stage must give scores that can be sorted; {bad} of {best.values.numel()} "
            "are NaN. Look for zero or damaged vectors in it, and give minus infinity to what it "
            "does not know."
        )
    twice = (best.indices.sort(dim=1).values.diff(dim=1) == 0).any(dim=1).nonzero().flatten()
    if len(twice):
        raise ValueError(
            "a first stage must propose each item once for a query; it repeats some for "
            f"{len(twice)} of {len(queries)} queries, the first {int(twice[0])}. Have it leave "
            "out what it gave already."
        )
    return best


def maxsim_flops(
    queries: MultiVector, documents: MultiVector, *, budget: Budget | None = None
) -> int:
    """Floating-point operations of scoring every query against every document by MaxSim.

    ``2 * d`` for each query token with each document token; comparisons and sums are left out.
    """
    lengths = queries.lengths, documents.lengths
    if budget is not None:
        lengths = lengths[0].clamp_max(budget[0]), lengths[1].clamp_max(budget[1])
    return 2 * documents.dim * int(lengths[0].sum()) * int(lengths[1].sum())
