"""Choices among equals that rounding cannot flip: what differs by less counts as equal.

Two numbers that are equal on paper come out of floating-point arithmetic a little apart, and which
is ahead depends on the processor, the number of threads and what else is in the batch. So a choice
first says how much apart is still equal, and then takes the lowest place. The rule moves the edge
from "equal" to "apart by just so much", where nothing that has a reason to be equal ever lies.

A search is different: there scores count to the last bit, equal rows score equally (see
``align.scoring.inner_products``), and the lower row comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

COSINES = 1e-4  # equal cosines of float32 vectors differ by a hundredth of it, tokens by far more
PRODUCTS = 1e-6  # neighbours in a large gallery: ten times the rounding of unit vectors' products
MEANS = 1e-9  # means of scores in [0, 1] that are taken in float64


def first_largest(values: Tensor, *, within: float | Tensor) -> Tensor:
    """Place of the first entry in the last dimension that is largest but for ``within``; int64.

    Args:
        values: ``(..., n)`` with ``n >= 1``, not NaN.
        within: How much below the largest still counts as largest, >= 0; one number, or what
            broadcasts to ``(..., 1)``.
    """
    enough = values >= values.amax(dim=-1, keepdim=True) - within
    return enough.to(torch.uint8).argmax(dim=-1)


def first_smallest(values: Tensor, *, within: float | Tensor) -> Tensor:
    """Place of the first entry in the last dimension that is smallest but for ``within``."""
    return first_largest(-values, within=within)


def falling_order(scores: Tensor, *, within: float | Tensor) -> Tensor:
    """Places in the last dimension from the largest entry to the smallest; equals by their place.

    Entries of ``scores`` ``(..., n)``, not NaN, are equal that lie no more than ``within`` below
    the first of their run, the largest that is not equal to a larger one.
    """
    falling, places = scores.sort(dim=-1, descending=True, stable=True)
    return _by_runs(falling, places, within)


def largest_first(scores: Tensor, k: int, *, within: float | Tensor) -> Tensor:
    """The first ``k`` columns of ``scores`` ``(q, m)`` in ``falling_order``, ``(q, k)`` int64."""
    some = min(k + 64, scores.shape[1])  # usually enough
    falling, columns = scores.topk(some, dim=1)
    # Nothing further down is equal to the k-th; where something might be, all columns are sorted.
    cut = (falling[:, -1:] >= falling[:, k - 1 : k] - within).any()
    if some < scores.shape[1] and cut:
        return falling_order(scores, within=within)[:, :k]
    return _by_runs(falling, columns, within)[:, :k]


def _by_runs(falling: Tensor, places: Tensor, within: float | Tensor) -> Tensor:
    """``places`` of falling scores, those of each run of equals in rising order."""
    first = falling[..., :1]
    bars = []
    for score in torch.split(falling, 1, dim=-1):
        first = torch.where(score < first - within, score, first)
        bars.append(first)
    run = torch.cat(bars, dim=-1).diff(dim=-1, prepend=falling[..., :1]).ne(0).cumsum(dim=-1)
    return places.gather(-1, (run * (places.amax() + 1) + places).argsort(dim=-1))


def first_best(scores: Sequence[float], *, within: float = MEANS) -> int:
    """Place of the first of ``scores`` that is highest but for ``within``."""
    bar = max(scores) - within
    return next(place for place, score in enumerate(scores) if score >= bar)
