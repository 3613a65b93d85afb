"""Choices among equals that rounding cannot flip: what differs by less counts as equal.

Two numbers that are equal on paper come out of floating-point arithmetic a little apart, and which
is ahead depends on the processor, the number of threads and what else is in the batch. So a choice
first says how much apart is still equal, and then takes the lowest place. The rule moves the edge
from "equal" to "apart by just so much", where nothing that has a reason to be equal ever lies.

A search is different: there scores count to the last bit, equal rows score equally (see
``align.kernels.scores``), and the lower row comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

COSINES = 1e-4
"""How far apart equal cosines of float32 vectors may come out: some hundred times what rounding
takes them apart, and far less than what tells two tokens of an item from each other."""

MEANS = 1e-9
"""The same for means of scores in [0, 1] that are taken in float64."""


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


def falling_order(values: Tensor, *, within: float) -> Tensor:
    """Places of ``values``, ``(n,)``, from the largest to the smallest; equals keep their order.

    A run of equals holds all that lie no more than ``within`` below its largest.
    """
    left = [(-value, place) for place, value in enumerate(values.tolist())]
    order: list[int] = []
    while left:
        bar = min(left)[0] + within
        order += [place for value, place in left if value <= bar]
        left = [each for each in left if each[0] > bar]
    return torch.tensor(order, dtype=torch.int64, device=values.device)


def first_best(scores: Sequence[float], *, within: float = MEANS) -> int:
    """Place of the first of ``scores`` that is highest but for ``within``."""
    bar = max(scores) - within
    return next(place for place, score in enumerate(scores) if score >= bar)
