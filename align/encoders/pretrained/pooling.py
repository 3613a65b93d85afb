"""From token states to one vector per text. Padding stands on the right."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

TextPooling = Literal["mean", "cls", "last"]
TEXT_POOLINGS = ("mean", "cls", "last")


def pool_text(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per text, ``(n, d)``.

    Args:
        states: Token states, ``(n, t, d)``, padded on the right.
        mask: True where a token is real, ``(n, t)`` bool, at least one per row.
        pooling: ``"mean"`` of the real tokens, ``"cls"`` for the first, ``"last"`` for the last.
    """
    lengths = mask.sum(1)
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1]
    return states.masked_fill(~mask[:, :, None], 0).sum(1) / lengths[:, None]
