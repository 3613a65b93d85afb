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

import numpy as np
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
    if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
        # NumPy sorts by vector instructions, PyTorch one number at a time.
        places = torch.from_numpy(np.argsort(scores.neg().numpy(), axis=-1))
    else:
        places = scores.argsort(dim=-1, descending=True)
    return _by_runs(scores.gather(-1, places), places, within)


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
    starts = _starts(falling, within)
    # Entries alone in their run stay where they are; the few others are sorted by run and place.
    last = torch.ones_like(starts[..., :1])
    shared = ~(starts & torch.cat([starts[..., 1:], last], dim=-1))
    run, place = starts.flatten().cumsum(0)[shared.flatten()], places[shared]
    order = (run * (places.amax() + 1) + place).argsort()
    return places.masked_scatter(shared, place[order])


def _starts(falling: Tensor, within: float | Tensor) -> Tensor:
    """Which of falling scores ``(..., n)`` begin a run of equals; bool."""
    starts = torch.ones_like(falling, dtype=torch.bool)
    starts[..., 1:] = falling[..., 1:] < falling[..., :-1] - within
    # Where each is equal to the one before, the run as a whole may still be too long for one.
    at = torch.arange(falling.shape[-1], device=falling.device)
    first = falling.gather(-1, torch.where(starts, at, 0).cummax(dim=-1).values)
    too_long = (falling < first - within).any(dim=-1)
    if bool(too_long.any()):
        tolerance = torch.as_tensor(within).expand_as(falling[..., :1])
        starts[too_long] = _starts_one_by_one(falling[too_long], tolerance[too_long])
    return starts


def _starts_one_by_one(falling: Tensor, within: Tensor) -> Tensor:
    first = falling[..., :1]
    starts = [torch.ones_like(first, dtype=torch.bool)]
    for score in torch.split(falling[..., 1:], 1, dim=-1):
        starts.append(score < first - within)
        first = torch.where(starts[-1], score, first)
    return torch.cat(starts, dim=-1)


def first_best(scores: Sequence[float], *, within: float = MEANS) -> int:
    """Place of the first of ``scores`` that is highest but for ``within``."""
    bar = max(scores) - within
    return next(place for place, score in enumerate(scores) if score >= bar)
