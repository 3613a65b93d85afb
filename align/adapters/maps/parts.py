"""Vectors made of several encoders' vectors side by side: each part on its own footing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the parts of a vector lie, and what share of its squared norm each gets.

    An item may lack parts: their coordinates are all zero and stay so, and the others take over
    their share. So one matrix can hold items of several encoders, each in its own columns.
    """

    widths: tuple[int, ...]  # they sum to the width of the vector
    shares: tuple[float, ...]  # positive, one per part; they sum to 1

    def __post_init__(self) -> None:
        fitting = len(self.widths) == len(self.shares) > 0
        if not fitting or min(self.shares) <= 0 or not math.isclose(sum(self.shares), 1):
            raise ValueError(
                "parts need a positive share each, summing to 1; "
                f"got widths {list(self.widths)} and shares {list(self.shares)}. "
                "Divide the shares by their sum."
            )

    @classmethod
    def even(cls, widths: Sequence[int]) -> Parts:
        """Parts of equal shares."""
        return cls(tuple(widths), (1 / len(widths),) * len(widths))

    def directions(self, x: Tensor, *, root: bool = False) -> Tensor:
        """Rows ``(n, d)`` whose parts have unit norm each, or are zero where they are lacking."""
        split = torch.split(x, list(self.widths), dim=1)
        return torch.cat([_directions(part, root=root) for part in split], dim=1)

    def mean(self, x: Tensor, *, root: bool = False) -> Tensor:
        """Mean direction of each part over the rows that have it, ``(d,)``."""
        split = torch.split(x, list(self.widths), dim=1)
        means = []
        for part in split:
            there = part[present(part)]
            mean = _directions(there, root=root).mean(dim=0)
            means.append(mean if len(there) else part.new_zeros(part.shape[1]))
        return torch.cat(means)

    def centred(self, x: Tensor, mean: Tensor, *, root: bool = False) -> Tensor:
        """Unit-norm rows ``(n, d)`` of centred parts, each at its share of those that are there."""
        each = zip(
            torch.split(x, list(self.widths), dim=1),
            torch.split(mean, list(self.widths)),
            self.shares,
            strict=True,
        )
        prepared, total = [], x.new_zeros(len(x), 1)
        for part, centre, share in each:
            there = present(part)[:, None]
            moved = torch.where(there, _directions(part, root=root) - centre, 0)
            prepared.append(torch.nn.functional.normalize(moved, dim=1) * math.sqrt(share))
            total = total + share * there
        return torch.cat(prepared, dim=1) / total.sqrt()


def present(part: Tensor) -> Tensor:
    """Which rows of one part ``(n, d)`` hold anything, bool ``(n,)``."""
    return (part != 0).any(dim=1)


def largest(x: Tensor) -> Tensor:
    """The largest magnitude of each row of ``x`` ``(n, d)``, ``(n, 1)``."""
    # The infinity norm is the same to the last bit, and takes twenty times as long.
    return x.abs().amax(dim=1, keepdim=True)


def _directions(part: Tensor, *, root: bool) -> Tensor:
    """Unit-norm rows, or their signed roots; zero rows stay zero."""
    scale = largest(part)
    part = part / torch.where(scale > 0, scale, 1)
    part = part.sign() * part.abs().sqrt() if root else part
    return torch.nn.functional.normalize(part, dim=1)
