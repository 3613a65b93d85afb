"""Rows less their mean, and the principal components of one side; neither takes pairing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from align.data.sides import Side
from probes.space import Space, once_per_space


def deviations(name: str, x: Tensor) -> Tensor:
    """Rows of ``x`` less their mean, ``(n, d)``; ``ValueError`` if they are one point."""
    apart = x - x.mean(dim=0)
    largest = float(torch.linalg.vector_norm(x, dim=1).max())
    # So many machine epsilons, next to the norms, are what rounding leaves.
    rounding = 8 * torch.finfo(x.dtype).eps * largest
    if float(torch.linalg.vector_norm(apart, dim=1).max()) <= rounding:
        raise ValueError(
            f"{name} must vary; all {len(x)} rows are one point up to rounding, of norm "
            f"{largest:.4g}. Check the encoder: it gave the same vector for every item."
        )
    return apart


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Principal components of one side, strongest first; none beyond ``n - 1`` and ``d``."""

    deviations: Tensor  # rows less their mean, (n, d)
    scores: Tensor  # of each row on each component, (n, r)
    variances: Tensor  # up to one factor, (r,)

    @classmethod
    def of(cls, name: str, x: Tensor) -> Components:
        """Those of rows ``(n, d)``; ``ValueError`` if they are one point."""
        x = deviations(name, x)
        n, d = x.shape
        # All of them by divide and conquer take less time than some by bisection.
        values, vectors = torch.linalg.eigh(x.T @ x if d <= n else x @ x.T)
        most = min(n - 1, d)
        leading, falling = vectors.flip(1)[:, :most], values.flip(0)[:most].clamp_min(0)
        return cls(x, x @ leading if d <= n else leading * falling.sqrt(), falling)

    def leading(self, k: int) -> Tensor:
        """Scores on the ``k`` leading components, ``(n, k)``; fewer if there are no more.

        A side of ``k`` dimensions or less is centred only: a rotation of it holds nothing new.
        """
        return self.deviations if self.deviations.shape[1] <= k else self.scores[:, :k]

    def holding(self, share: float) -> Tensor:
        """Scores on the fewest components that hold a share of the variance in (0, 1]."""
        cumulative = self.variances.double().cumsum(0)
        return self.scores[:, : int((cumulative < share * cumulative[-1]).sum()) + 1]


@once_per_space
def _components(space: Space, side: Side) -> Components:
    return Components.of(side, space.side(side))


def components_of(space: Space) -> tuple[Components, Components]:
    """Those of the source and of the target of a space, which several probes look at."""
    return _components(space, "source"), _components(space, "target")
