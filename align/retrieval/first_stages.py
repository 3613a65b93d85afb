"""Cheap scores of all documents, from which a cascade takes its candidates."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from align.fde import FDE
from align.kernels.topk import Neighbours, nearest
from align.late_interaction import topk
from align.multivector import MultiVector

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
    """MaxSim of the first vectors of each item.

    Attributes:
        documents: Documents cut to their first vectors.
        query_budget: Vectors used of each query.
    """

    documents: MultiVector
    query_budget: int

    def __len__(self) -> int:
        return len(self.documents)

    def __call__(self, queries: MultiVector, n: int) -> Neighbours:
        asked = queries.prefix(self.query_budget)
        one_each = all(len(side.tokens) == len(side) for side in (asked, self.documents))
        if one_each and self.documents.tokens.dtype == torch.float32:
            # MaxSim of one vector with another is their inner product, which is found faster.
            return nearest(asked.to(dtype=torch.float32).tokens, self.documents.tokens, k=n)
        return topk(asked, self.documents, n)

    def flops(self, queries: MultiVector) -> int:
        """Floating-point operations that scoring all documents for these queries takes."""
        return maxsim_flops(queries.prefix(self.query_budget), self.documents)


@dataclass(frozen=True, slots=True, eq=False)
class EncodingStage:
    """Inner products of fixed dimensional encodings.

    Attributes:
        fde: Encodes the queries as it did the documents.
        vectors: One vector per document, ``(m, fde.width)`` float32.
    """

    fde: FDE
    vectors: Tensor

    def __len__(self) -> int:
        return len(self.vectors)

    def __call__(self, queries: MultiVector, n: int) -> Neighbours:
        return nearest(self.fde.queries(queries), self.vectors, k=n)

    def flops(self, queries: MultiVector) -> int:
        """Floating-point operations of encoding these queries and scoring all documents."""
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
    """
    if isinstance(first, FDE):
        return EncodingStage(first, first.documents(documents))
    query_budget, document_budget = first
    return PrefixStage(documents.prefix(document_budget), query_budget)


def maxsim_flops(
    queries: MultiVector, documents: MultiVector, *, budget: Budget | None = None
) -> int:
    """Floating-point operations of scoring every query against every document by MaxSim.

    ``2 * d`` for each query token with each document token; comparisons and sums are left out.
    """
    asked, found = queries.lengths, documents.lengths
    if budget is not None:
        asked, found = asked.clamp_max(budget[0]), found.clamp_max(budget[1])
    return 2 * documents.dim * int(asked.sum()) * int(found.sum())
