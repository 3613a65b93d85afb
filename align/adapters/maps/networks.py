"""Maps with weights to learn, from a random start: one hidden layer, or none."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.maps.linear import SideMap, directions


class ProjectionMap(SideMap):
    """Normalise, centre, one hidden layer with ReLU, normalise; its weights are learned.

    ``map(x) = norm(relu((norm(x) - mean) @ first + first_bias) @ second + second_bias)``.

    Reference:
        Yadav and McMillan 2024, arXiv:2410.23437 (Mind the Gap): a projection network with one
        hidden layer and ReLU between two frozen encoders.
    """

    mean: Tensor  # (d_in,)

    def __init__(
        self, mean: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.first = nn.Parameter(first.contiguous())  # (d_in, hidden)
        self.first_bias = nn.Parameter(first_bias)  # (hidden,)
        self.second = nn.Parameter(second.contiguous())  # (hidden, dim)
        self.second_bias = nn.Parameter(second_bias)  # (dim,)
        (self.d_in, self.hidden), self.dim = first.shape, second.shape[1]

    def project(self, x: Tensor) -> Tensor:
        """Finite non-zero rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        hidden = torch.relu((directions(x) - self.mean) @ self.first + self.first_bias)
        return hidden @ self.second + self.second_bias

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        return F.normalize(self.project(x), dim=1)


class LinearHead(SideMap):
    """Normalise, centre, one matrix, normalise: ``LinearMap`` with a matrix that is learned."""

    mean: Tensor  # (d_in,)

    def __init__(self, mean: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.weight = nn.Parameter(weight.contiguous())  # (d_in, dim)
        self.d_in, self.dim = weight.shape

    def project(self, x: Tensor) -> Tensor:
        """Finite non-zero rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        return (directions(x) - self.mean) @ self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        return F.normalize(self.project(x), dim=1)
