"""What an adapter knows of its own hits: how far to trust them, and the items that it knows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from align.adapters.calibration.domain import Domain
from align.data.sides import Side


class Calibration(nn.Module):
    """What is told of items and hits beside their scores; ``Adapter.calibrated`` says how."""

    def __init__(self, source_domain: Domain, target_domain: Domain) -> None:
        super().__init__()
        self.source_domain = source_domain
        self.target_domain = target_domain

    def domain(self, side: Side) -> Domain:
        """What the items of a side look like."""
        return self.source_domain if side == "source" else self.target_domain


def calibrate(source: Tensor, target: Tensor, groups: Sequence[str], *, seed: int) -> Calibration:
    """From raw vectors of pairs, ``(n, d_source)`` and ``(n, d_target)``, in groups."""
    return Calibration(Domain.of(source, groups, seed=seed), Domain.of(target, groups, seed=seed))
