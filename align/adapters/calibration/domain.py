"""What the items of one side look like, so that those unlike them can be told."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from align.adapters.calibration.thinned import thinned
from align.adapters.maps.linear import directions
from align.data.splits import deal

AXES = 16  # directions of most variance that are told apart; the rest counts as one
FOLDS = 5  # each item is measured by what the others are like
ITEMS = 4096  # items looked at, at most: their law is known well enough
FLOOR = 1e-3  # least variance of a direction, in shares of the mean: below it lies rounding

_OVERSAMPLED = 8  # directions more than are wanted while these are sought
_ROUNDS = 4


class Domain(nn.Module):
    """How far an item lies from those that an adapter learned from, beside how far they lie.

    The distance is Mahalanobis' under probabilistic principal components of unit-norm raw vectors:
    the ``a`` directions of most variance each count by their own, all others by their mean. It
    stands beside the distances of held-out training items, each from the components of the others,
    which makes it a conformal p-value. Of single items nothing is kept but these distances.

    Reference:
        Tipping and Bishop 1999, doi:10.1111/1467-9868.00196, for the components; Lee et al. 2018,
        arXiv:1807.03888, for the distance; Bates et al. 2023, arXiv:2104.08279, for the p-value.
    """

    mean: Tensor  # of unit-norm items, (d,)
    axes: Tensor  # directions of most variance, orthonormal rows, (a, d)
    precisions: Tensor  # one over the variance along each, and over the mean of the rest, (a + 1,)
    distances: Tensor  # of held-out training items, rising, (kept,)

    def __init__(self, mean: Tensor, axes: Tensor, precisions: Tensor, distances: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("axes", axes)
        self.register_buffer("precisions", precisions)
        self.register_buffer("distances", distances)
        self.a, self.d_in = axes.shape
        self.kept = len(distances)

    @classmethod
    def of(cls, x: Tensor, groups: Sequence[str], *, seed: int = 0) -> Domain:
        """Of finite raw vectors without zero rows, ``(n, d)``; folds keep their groups whole.

        ``n`` is 20 or more, and there are two groups or more.
        """
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(x), generator=generator)[:ITEMS].sort().values
        rows = directions(x.detach()[chosen.to(x.device)].float())
        inside = [groups[row] for row in chosen.tolist()]
        folds = min(FOLDS, len(set(inside)))
        distances = torch.cat(
            [
                _distances(rows[own], *_components(rows[rest], generator))
                for rest, own in deal(inside, folds, seed=seed)
            ]
        )
        return cls(*_components(rows, generator), thinned(distances.sort().values))

    def p_values(self, x: Tensor) -> Tensor:
        """Share of items of this kind that lie at least as far out as each row of raw ``x``.

        In ``(0, 1]``, ``(n,)`` float32; rows ``(n, d)`` are finite and not zero.
        """
        found = _distances(directions(x.float()), self.mean, self.axes, self.precisions)
        nearer = torch.searchsorted(self.distances, found)
        return (self.kept - nearer + 1).float() / (self.kept + 1)


def _components(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, axes and precisions of unit-norm rows ``(n, d)``."""
    n, d = rows.shape
    mean = rows.mean(dim=0)
    apart = rows - mean
    a = max(1, min(AXES, d, n // 4))
    drawn = torch.randn(d, min(d, a + _OVERSAMPLED), generator=generator).to(rows.device)
    for _ in range(_ROUNDS):  # subspace iteration: Halko et al. 2011, arXiv:0909.4061
        drawn = torch.linalg.qr(apart.T @ (apart @ drawn)).Q
    _, spread, turned = torch.linalg.svd(apart @ drawn, full_matrices=False)
    axes = (turned[:a] @ drawn.T).contiguous()
    along = spread[:a].square() / n
    total = apart.square().sum() / n
    rest = (total - along.sum()) / max(1, d - a)
    variances = torch.cat([along, rest[None]])
    least = (FLOOR * total / d).clamp_min(torch.finfo(rows.dtype).tiny)
    return mean, axes, variances.clamp_min(least).reciprocal()


def _distances(rows: Tensor, mean: Tensor, axes: Tensor, precisions: Tensor) -> Tensor:
    """Squared Mahalanobis distance of unit-norm rows, ``(n,)``."""
    apart = rows - mean
    along = (apart @ axes.T).square()
    rest = (apart.square().sum(dim=1) - along.sum(dim=1)).clamp_min(0)
    return along @ precisions[:-1] + rest * precisions[-1]
