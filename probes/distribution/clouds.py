"""Two clouds, each around its own mean, and the squared distances between their items."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from probes.inputs import Matrix, common_space
from probes.space import Space, once_per_space


def centred(source: Matrix, target: Matrix) -> tuple[Tensor, Tensor]:
    """Both clouds minus their own means, ``(n, d)`` each: what is left when no centroid differs.

    Pass the result to any distance for its centred part, as in ``mmd(*centred(source, target))``.

    Norms: as they are, and so are those of what comes back.

    Args:
        source: Source embeddings, ``(n, d)``.
        target: Target embeddings of the same pairs, ``(n, d)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width.

    Examples:
        >>> import torch, probes
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> probes.centred(x, x)[0].sum(dim=0).tolist()
        [0.0, 0.0]
    """
    x, y = common_space(source, target)
    return x - x.mean(dim=0), y - y.mean(dim=0)


def exactly_centred(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both clouds centred and the vector between their centroids ``(d,)``, all in float64."""
    x, y = source.double(), target.double()
    middle_x, middle_y = x.mean(dim=0), y.mean(dim=0)
    return x - middle_x, y - middle_y, middle_x - middle_y


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance of each row of ``x`` to each row of ``y``, ``(n, m)``.

    Rows should be close to the origin: by the usual expansion, rounding grows with the norms.
    """
    products = x @ y.T
    # In exact arithmetic nothing is below zero; what rounding leaves there would give NaN roots.
    return (
        products.mul_(-2)
        .add_(x.square().sum(dim=1)[:, None])
        .add_(y.square().sum(dim=1))
        .clamp_(min=0)
    )


class _Looked(NamedTuple):
    """Where the items of two clouds are among those of a table, ``(n,)`` int64 each."""

    items: Items
    source: Tensor
    target: Tensor


@dataclass(frozen=True, eq=False)
class Clouds:
    """Two clouds around their own means, and the squared distances between their items.

    Attributes:
        source: Items of the source less their mean, ``(n, d)`` float64.
        target: Items of the target less theirs, ``(n, d)`` float64.
        gap: Mean of the source less mean of the target, ``(d,)`` float64.
        dtype: Of the squared distances.
    """

    source: Tensor
    target: Tensor
    gap: Tensor
    dtype: torch.dtype = torch.float32
    _looked: _Looked | None = None

    @classmethod
    def of(cls, source: Tensor, target: Tensor, dtype: torch.dtype = torch.float32) -> Clouds:
        """Those of two matrices, ``(n, d)`` each."""
        return cls(*exactly_centred(source, target), dtype)

    @cached_property
    def within_source(self) -> Tensor:
        """Squared distances of the source items from each other, ``(n, n)``; do not write."""
        if self._looked is not None:
            return self._looked.items.between(self._looked.source, self._looked.source)
        x = self.source.to(self.dtype)
        return squared_distances(x, x)

    @cached_property
    def within_target(self) -> Tensor:
        """Squared distances of the target items from each other, ``(n, n)``; do not write."""
        if self._looked is not None:
            return self._looked.items.between(self._looked.target, self._looked.target)
        y = self.target.to(self.dtype)
        return squared_distances(y, y)

    @cached_property
    def across(self) -> Tensor:
        """Squared distance of each source item to each target item, ``(n, n)``; do not write."""
        if self._looked is None:
            return squared_distances(self.source.to(self.dtype), self.target.to(self.dtype))
        apart = self._looked.items.between(self._looked.source, self._looked.target)
        # Centring moves the clouds towards each other by the gap, which changes the square of a
        # distance by what is of one item only.
        along = (2 * self.source @ self.gap + self.gap.square().sum()).to(apart)
        apart.sub_(along[:, None]).add_((2 * self.target @ self.gap).to(apart))
        return apart.clamp_(min=0)


@dataclass(frozen=True, eq=False)
class Items:
    """Items of both sides, of which clouds are put together, ``(2 n, d)`` float64."""

    rows: Tensor

    @classmethod
    def of(cls, source: Tensor, target: Tensor) -> Items:
        """Those of two matrices, ``(n, d)`` each, the source first, around their common middle."""
        both = torch.cat([source, target]).double()
        return cls(both - both.mean(dim=0))

    def along(self, axes: Tensor) -> Items:
        """Their coordinates along axes ``(d, k)``."""
        return Items(self.rows @ axes)

    @cached_property
    def distances(self) -> Tensor:
        """Squared distance of each item to each, ``(2 n, 2 n)`` float32."""
        rows = self.rows.float()
        return squared_distances(rows, rows)

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """Squared distances of some items to some, a matrix of its own, float32."""
        # Two calls of take need a third of the time of one index of both.
        taken = self.distances.numpy().take(first.numpy(), axis=0).take(second.numpy(), axis=1)
        return torch.from_numpy(taken)

    def swapped(self, signs: Tensor) -> Clouds:
        """The clouds where pairs with a sign of -1, ``(n,)``, have their sides exchanged."""
        n = len(signs)
        as_seen = torch.arange(n)
        first = torch.where(signs > 0, as_seen, as_seen + n)
        second = torch.where(signs > 0, as_seen + n, as_seen)
        source, target, gap = exactly_centred(self.rows[first], self.rows[second])
        return Clouds(source, target, gap, _looked=_Looked(self, first, second))


@once_per_space
def clouds_of(space: Space) -> Clouds:
    """The clouds of a space, whose squared distances several probes look at."""
    return Clouds.of(space.source, space.target)
