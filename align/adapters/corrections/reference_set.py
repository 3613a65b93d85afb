"""What an adapter remembers of its training pairs, to improve what is searched and what asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align._checks import check_at_least
from align.adapters.corrections.hubness import BalancedSoftmax, Hubness
from align.adapters.maps.one_row import expand_one_row
from align.data.sides import Side, other_side

MOST_PAIRS = 8192  # of a set: a bound on memory, not a tuned number
ROWS = 256  # a block of similarities to a whole reference set is 8 MiB


@dataclass(frozen=True, slots=True)
class Expansion:
    """How far a vector moves to the partners of the training items that are nearest to it.

    ``z' = norm(z + weight * norm(softmax(sharpness * z @ own.T) @ other))``, where row ``i`` of
    ``own`` and ``other`` are the two projections of training pair ``i``: the Nadaraya-Watson
    estimate of where the partner lies. Applied to gallery vectors it costs nothing at query time;
    applied to queries it costs each two products with the whole reference set.

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
    z: Tensor, own: Tensor, other: Tensor, expansions: Sequence[Expansion]
) -> list[Tensor]:
    """Rows ``z`` ``(m, d)`` after each of several expansions, which share what they can."""
    near = z @ own.T
    partners = {
        sharpness: F.normalize(torch.softmax(sharpness * near, dim=1) @ other, dim=1)
        for sharpness in {each.sharpness for each in expansions}
    }
    return [F.normalize(z + e.weight * partners[e.sharpness], dim=1) for e in expansions]


class ReferenceSet(nn.Module):
    """Projected training pairs, with the expansions and the hubness correction they serve.

    The expansion is applied to gallery vectors first; the bias is against the queries of the set.

    Args:
        source_reference: Unit-norm training sources in the shared space, ``(rows, d)``.
        target_reference: The same of the targets of these pairs.
        expansion: Of gallery vectors, or ``None``.
        hubness: Correction of gallery vectors, or ``None``.
        query_expansion: Of queries, or ``None``; the only part that costs time at each query.
        handicaps: Of the sources and the targets as reference queries of a ``BalancedSoftmax``,
            ``(rows,)`` each; worked out where they are not given.
    """

    source_reference: Tensor
    target_reference: Tensor
    source_handicaps: Tensor | None
    target_handicaps: Tensor | None

    def __init__(
        self,
        source_reference: Tensor,
        target_reference: Tensor,
        *,
        expansion: Expansion | None,
        hubness: Hubness | None,
        query_expansion: Expansion | None = None,
        handicaps: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if handicaps is None and isinstance(hubness, BalancedSoftmax):
            handicaps = both_handicaps(hubness, (source_reference, target_reference))
        self.register_buffer("source_reference", source_reference)
        self.register_buffer("target_reference", target_reference)
        self.register_buffer("source_handicaps", None if handicaps is None else handicaps[0])
        self.register_buffer("target_handicaps", None if handicaps is None else handicaps[1])
        self.rows = len(source_reference)
        self.expansion = expansion
        self.hubness = hubness
        self.query_expansion = query_expansion

    def of_other_pairs(self, source: Tensor, target: Tensor) -> ReferenceSet:
        """One with the same settings and other projected pairs, ``(rows, d)`` each."""
        return ReferenceSet(
            source,
            target,
            expansion=self.expansion,
            hubness=self.hubness,
            query_expansion=self.query_expansion,
        )

    def pairs_of(self, side: Side) -> tuple[Tensor, Tensor]:
        """The pairs of the set, ``(rows, d)`` each, the items of a side first."""
        both = self.source_reference, self.target_reference
        return both if side == "source" else both[::-1]

    def queries(self, z: Tensor, *, side: Side) -> Tensor:
        """Query vectors of unit-norm items ``z`` ``(n, d)`` of a side in the shared space.

        ``(n, d)``, or ``(n, d + 1)`` with a one for the bias in the last column.
        """
        z = self.expanded_queries(z, side=side)
        return z if self.hubness is None else torch.cat([z, z.new_ones(len(z), 1)], dim=1)

    def expanded_queries(self, z: Tensor, *, side: Side) -> Tensor:
        """The same without the last column, ``(n, d)``."""
        expansion = self.query_expansion
        if expansion is None:
            return z
        own, other = self.pairs_of(side)
        alone = expand_one_row(
            z, own, other, weight=expansion.weight, sharpness=expansion.sharpness
        )
        if alone is not None:
            return alone
        return torch.cat([expansion(block, own, other) for block in torch.split(z, ROWS)])

    def gallery(self, z: Tensor, *, side: Side) -> Tensor:
        """Gallery vectors of unit-norm items ``z`` ``(m, d)`` of a side in the shared space.

        ``(m, d)``, or ``(m, d + 1)`` with minus the bias in the last column.
        """
        return torch.cat([self._block(block, side) for block in torch.split(z, ROWS)])

    def _block(self, z: Tensor, side: Side) -> Tensor:
        if self.expansion is not None:
            z = self.expansion(z, *self.pairs_of(side))
        if self.hubness is None:
            return z
        return torch.cat([z, -self.bias(z, side=side)[:, None]], dim=1)

    def bias(self, z: Tensor, *, side: Side) -> Tensor:
        """What is subtracted of every score of items ``z`` ``(m, d)`` of a side, ``(m,)``."""
        assert self.hubness is not None
        asking = other_side(side)
        similarities = z @ self.pairs_of(asking)[0].T
        handicaps = self.source_handicaps if asking == "source" else self.target_handicaps
        return self.hubness(similarities if handicaps is None else similarities - handicaps)


def both_handicaps(hubness: BalancedSoftmax, pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Handicaps of the sources and the targets of reference pairs, each side asking the other."""
    source, target = pairs
    return hubness.handicaps(source, target), hubness.handicaps(target, source)
