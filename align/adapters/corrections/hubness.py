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


Hubness = NNN | CSLS | InvertedSoftmax


def biases(similarities: Tensor, corrections: Sequence[Hubness]) -> list[Tensor]:
    """Bias ``(m,)`` of each of several corrections, which share one search for the nearest."""
    most = max((each.k for each in corrections if isinstance(each, NNN | CSLS)), default=0)
    nearest = similarities.topk(min(most, similarities.shape[1]), dim=1).values
    return [c(nearest if isinstance(c, NNN | CSLS) else similarities) for c in corrections]
