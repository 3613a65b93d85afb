"""What a loss sees: one batch of pairs, as the encoders gave them and as the maps send them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch of row-matched pairs on their way through an adapter.

    Attributes:
        source_input: Sources as the encoder gave them, or blends of two with mixup, at unit norm;
            ``(n, d_source)``.
        target_input: Targets likewise, ``(n, d_target)``.
        source_projected: Sources in the shared space before the last normalisation, ``(n, dim)``.
            Maps without one give unit norm.
        target_projected: Targets likewise, ``(n, dim)``.
        temperature: Divides cosines; a scalar, learned or not.
        groups: Group codes, int64 ``(n,)``; with mixup each row is its own group.
        source_modality: Bit masks, int64 ``(n,)``, or ``None`` where the pairs have none. A blend
            is of the modalities of both its items.
        target_modality: Likewise.
        step: Steps done before this one.
    """

    source_input: Tensor
    target_input: Tensor
    source_projected: Tensor
    target_projected: Tensor
    temperature: Tensor
    groups: Tensor
    source_modality: Tensor | None
    target_modality: Tensor | None
    step: int

    @property
    def source(self) -> Tensor:
        """Sources in the shared space, unit-norm ``(n, dim)``."""
        return F.normalize(self.source_projected, dim=1)

    @property
    def target(self) -> Tensor:
        """Targets in the shared space, unit-norm ``(n, dim)``."""
        return F.normalize(self.target_projected, dim=1)


Loss = Callable[[Batch], Tensor]
"""A batch in, a scalar out."""
