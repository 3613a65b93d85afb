"""Hubness corrections: what to subtract from every score of a gallery item that is near everything.

Each is called with the similarities of ``m`` gallery items to a set of reference queries,
``(m, reference)``, and gives a bias per gallery item, ``(m,)``. It folds into any inner-product
index as one more dimension.

The dynamic gate of QB-Norm (apply the correction only where the uncorrected top-1 was hit by the
reference) depends on the query and the gallery together, so it cannot fold and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from align._checks import check_at_least, check_positive

ROUNDS = 3  # of scaling: ten change the ranking little
SHARERS = 2048  # reference items that queries share: a bound on memory and time
FARTHEST = 60.0  # exponents below minus this count as this


@dataclass(frozen=True, slots=True)
class NNN:
    """``alpha`` times the mean of the ``k`` largest reference similarities of a gallery item.

    A reference set of fewer than ``k`` items gives the mean over all of them.

    Reference:
        Chowdhury et al. 2024, "Nearest Neighbor Normalization Improves Multimodal Retrieval",
        EMNLP, arXiv:2410.24114.
    """

    k: int
    alpha: float

    def __post_init__(self) -> None:
        check_at_least("k", self.k, 1)
        check_at_least("alpha", self.alpha, 0)

    def __call__(self, similarities: Tensor) -> Tensor:
        k = min(self.k, similarities.shape[1])
        return self.alpha * similarities.topk(k, dim=1).values.mean(dim=1)


@dataclass(frozen=True, slots=True)
class CSLS:
    """Half the mean of the ``k`` largest reference similarities: the gallery's term of CSLS.

    CSLS is ``2 s(q, g) - r(q) - r(g)``; for one query ``r(q)`` is constant, so this ranks alike.

    Reference:
        Conneau et al. 2018, arXiv:1710.04087, section 2.3.
    """

    k: int

    def __post_init__(self) -> None:
        check_at_least("k", self.k, 1)

    def __call__(self, similarities: Tensor) -> Tensor:
        return NNN(self.k, 0.5)(similarities)


@dataclass(frozen=True, slots=True)
class InvertedSoftmax:
    """Log-mean of ``exp(sharpness * similarity)`` over the reference set, over ``sharpness``.

    Subtracting it ranks like ``exp(b s(q, g)) / sum_reference exp(b s(reference, g))``.

    Reference:
        Smith et al. 2017, arXiv:1702.03859, eq. 7; Bogolin et al. 2022, arXiv:2112.12777 (QB-Norm).
    """

    sharpness: float

    def __post_init__(self) -> None:
        check_positive("sharpness", self.sharpness)

    def __call__(self, similarities: Tensor) -> Tensor:
        exponents = self.sharpness * similarities
        largest = exponents.amax(dim=1, keepdim=True)
        # In place: large temporaries cost more than the arithmetic.
        total = exponents.sub_(largest).exp_().sum(dim=1).log_() + largest[:, 0]
        return (total - math.log(similarities.shape[1])) / self.sharpness


@dataclass(frozen=True, slots=True)
class BalancedSoftmax:
    """``InvertedSoftmax`` over reference queries that first share the reference items fairly.

    A query that is near to everything speaks for too many items, and one that is far from
    everything for none. ``handicaps`` says by how much each is nearer than its share; what this is
    called with are similarities to the reference queries less their handicaps.

    Reference:
        Pan et al. 2025, "Hubness Reduction with Dual Bank Sinkhorn Normalization for Cross-Modal
        Retrieval", arXiv:2508.02538; of the two banks only queries bear on one query's ranking.
    """

    sharpness: float

    def __post_init__(self) -> None:
        check_positive("sharpness", self.sharpness)

    def __call__(self, similarities: Tensor) -> Tensor:
        return InvertedSoftmax(self.sharpness)(similarities)

    def handicaps(self, queries: Tensor, items: Tensor) -> Tensor:
        """How much nearer to items each query is than its share, ``(n,)``.

        ``ROUNDS`` of Sinkhorn and Knopp's scaling give weights, under which all queries weigh the
        same among the items and all items the same among the queries. A handicap is minus the
        logarithm of the weight, over the sharpness.

        Args:
            queries: Unit-norm reference queries, ``(n, d)``.
            items: Unit-norm reference items of the other side, ``(n, d)``; at most ``SHARERS`` are
                looked at, evenly spaced.
        """
        some = items[:: -(-len(items) // SHARERS)]
        # In the range of float32 for any sharpness: what is so far away does not count.
        kernel = (queries @ some.T).sub_(1).mul_(self.sharpness).clamp_(min=-FARTHEST).exp_()
        of_queries = kernel.new_ones(len(queries))
        for _ in range(ROUNDS):
            of_items = (of_queries @ kernel).reciprocal()
            of_queries = (kernel @ of_items).reciprocal()
            of_queries /= of_queries.mean()
        return of_queries.log().div(-self.sharpness)


Hubness = NNN | CSLS | InvertedSoftmax | BalancedSoftmax


def biases(similarities: Tensor, corrections: Sequence[Hubness]) -> list[Tensor]:
    """Bias ``(m,)`` of each of several corrections, which share one search for the nearest."""
    most = max((each.k for each in corrections if isinstance(each, NNN | CSLS)), default=0)
    nearest = similarities.topk(min(most, similarities.shape[1]), dim=1).values
    return [c(nearest if isinstance(c, NNN | CSLS) else similarities) for c in corrections]
