"""What an adapter knows of its own hits: how far to trust them, and the items that it knows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from align.adapters.calibration.confidence import Confidence
from align.adapters.calibration.domain import Domain
from align.data.sides import Side


class Calibration(nn.Module):
    """What turns scores into probabilities, for queries of either side, and tells other items."""

    def __init__(
        self,
        source_domain: Domain,
        target_domain: Domain,
        source_confidence: Confidence,
        target_confidence: Confidence,
    ) -> None:
        super().__init__()
        self.source_domain = source_domain
        self.target_domain = target_domain
        self.source_confidence = source_confidence
        self.target_confidence = target_confidence

    def domain(self, side: Side) -> Domain:
        """What the items of a side look like."""
        return self.source_domain if side == "source" else self.target_domain

    def confidence(self, side: Side) -> Confidence:
        """How far the hits of queries of a side can be trusted."""
        return self.source_confidence if side == "source" else self.target_confidence


def calibrate(
    vectors: tuple[Tensor, Tensor],
    groups: Sequence[str],
    scores: tuple[Sequence[Tensor], Sequence[Tensor]],
    *,
    seed: int = 0,
) -> Calibration:
    """A calibration of both directions.

    Args:
        vectors: Raw vectors of 20 pairs or more, ``(n, d_source)`` and ``(n, d_target)``.
        groups: What folds keep on one side, of each pair.
        scores: As for ``Confidence.of``, of held-out sources asking targets, and the reverse.
        seed: Seeds the folds.
    """
    source, target = (Domain.of(side, groups, seed=seed) for side in vectors)
    return Calibration(source, target, *map(Confidence.of, scores))
