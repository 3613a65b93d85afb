"""A sorted sample thinned to few values that stand for equal shares of it."""

from __future__ import annotations

import torch
from torch import Tensor

KEPT = 999  # so that a share is known to 0.001


def thinned(values: Tensor) -> Tensor:
    """At most ``KEPT`` of rising values ``(n,)``: the order statistics that cut equal shares."""
    if len(values) <= KEPT:
        return values
    shares = torch.arange(1, KEPT + 1, dtype=torch.float64) / (KEPT + 1)
    return values[(shares * len(values)).long().to(values.device)]
