"""What an adapter remembers of its training pairs, to improve gallery vectors at indexing time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align._checks import check_at_least
from align.adapters.corrections.hubness import Hubness

MOST_PAIRS = 8192  # of a set: a bound on memory, not a tuned number
ROWS = 256  # a block of similarities to a whole reference set is 8 MiB


@dataclass(frozen=True, slots=True)
class GalleryExpansion:
    """Gallery expansion: how far an item moves to the partners of its nearest training items.

    ``z' = norm(z + weight * norm(softmax(sharpness * z @ own.T) @ other))``, where row ``i`` of
    ``own`` and ``other`` are the two projections of training pair ``i``: the Nadaraya-Watson
    estimate of where the item's partner lies. It costs nothing at query time.

    Reference:
        Nadaraya 1964, doi:10.1137/1109020; as a cache of training pairs beside a frozen model,
        Zhang et al. 2022, arXiv:2111.03930 (Tip-Adapter), eq. 6.
    """

    weight: float
    sharpness: float

    def __post_init__(self) -> None:
        check_at_least("weight", self.weight, 0)
        check_at_least("sharpness", self.sharpness, 0)

    def __call__(self, z: Tensor, own: Tensor, other: Tensor) -> Tensor:
        """Expanded unit-norm rows ``(m, d)`` of unit-norm ``z``; the others are ``(b, d)``."""
        return expanded(z, own, other, (self,))[0]


def expanded(
    z: Tensor, own: Tensor, other: Tensor, expansions: Sequence[GalleryExpansion]
) -> list[Tensor]:
    """Rows ``z`` ``(m, d)`` after each of several expansions, which share what they can."""
    near = z @ own.T
    partners = {
        sharpness: F.normalize(torch.softmax(sharpness * near, dim=1) @ other, dim=1)
        for sharpness in {each.sharpness for each in expansions}
    }
    return [F.normalize(z + e.weight * partners[e.sharpness], dim=1) for e in expansions]


class ReferenceSet(nn.Module):
    """Projected training pairs, with the expansion and the hubness correction they serve.

    The expansion is applied to gallery vectors first; the bias is against the queries of the set.
    """

    source_reference: Tensor  # unit-norm training sources in the shared space, (rows, d)
    target_reference: Tensor  # the same of the targets of these pairs

    def __init__(
        self,
        source_reference: Tensor,
        target_reference: Tensor,
        *,
        expansion: GalleryExpansion | None,
        hubness: Hubness | None,
    ) -> None:
        super().__init__()
        self.register_buffer("source_reference", source_reference)
        self.register_buffer("target_reference", target_reference)
        self.rows = len(source_reference)
        self.expansion = expansion
        self.hubness = hubness

    def gallery(self, z: Tensor, *, side: str) -> Tensor:
        """Gallery vectors of unit-norm items ``z`` ``(m, d)`` of a side in the shared space.

        ``(m, d)``, or ``(m, d + 1)`` with minus the bias in the last column.
        """
        own, other = self.source_reference, self.target_reference
        if side == "target":
            own, other = other, own
        return torch.cat([self._block(block, own, other) for block in torch.split(z, ROWS)])

    def _block(self, z: Tensor, own: Tensor, other: Tensor) -> Tensor:
        if self.expansion is not None:
            z = self.expansion(z, own, other)
        if self.hubness is None:
            return z
        return torch.cat([z, -self.hubness(z @ other.T)[:, None]], dim=1)
