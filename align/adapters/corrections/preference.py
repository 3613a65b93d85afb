"""How much an instruction prefers each kind of gallery item: a few more dimensions of the index."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.maps.parts import present


class Preference(nn.Module):
    """A bonus for the score of each kind of gallery item, decided by the instruction of a query.

    A gallery item is of the kinds whose parts its vector holds: with a ``MixedEncoder`` that is
    its modality. The bonus of kind ``j`` is ``norm(p) @ weight[:, j]``, or 0 where the instruction
    ``p`` is zero. As each modality is centred by itself in the shared space, no shift of a query
    could prefer one: this is what can. In an index it takes one dimension per kind.
    """

    weight: Tensor  # (d_instruction, kinds)

    def __init__(self, weight: Tensor, widths: Sequence[int]) -> None:
        super().__init__()
        if weight.ndim != 2 or weight.shape[1] != len(widths):
            raise ValueError(
                "a preference needs one column for each part of a gallery item; got a weight of "
                f"shape {tuple(weight.shape)} for parts of widths {list(widths)}. "
                "Take the widths from target_parts of the pairs."
            )
        self.register_buffer("weight", weight.contiguous())
        self.widths = tuple(widths)  # of each part of a gallery item; they sum to d_target
        self.d_instruction, self.dim = weight.shape

    def queries(self, x: Tensor) -> Tensor:
        """Bonus of each kind ``(n, kinds)`` for rows ``(n, d)`` that end in an instruction."""
        return F.normalize(x[:, -self.d_instruction :], dim=1) @ self.weight

    def gallery(self, y: Tensor) -> Tensor:
        """1 where an item ``(m, d_target)`` is of a kind and 0 elsewhere, ``(m, kinds)``."""
        return kinds_of(y, self.widths)


def kinds_of(y: Tensor, widths: Sequence[int]) -> Tensor:
    """1 where a row of ``y`` ``(m, d)`` holds a part and 0 elsewhere, ``(m, parts)`` float32."""
    rows = [present(part) for part in torch.split(y, list(widths), dim=1)]
    return torch.stack(rows, dim=1).float()
