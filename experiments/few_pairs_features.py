"""Features that need no pairing, in place of an encoder's vectors or beside them."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.maps.linear import centred
from align.adapters.recipes.moments import prepare

Kernel = Literal["fourier", "arc-cosine 0", "arc-cosine 1"]
SAME = 1e-5  # cosine distance below which an item is taken to be one of the graph, and left out


class Spectral(nn.Module):
    """Coordinates of an item along the slow directions of a random walk between its neighbours.

    The walk lives on the graph of nearest neighbours of all items of one side, paired or not. An
    item is the mean of the eigenvectors over its neighbours, itself left out, so that items of the
    graph and new ones are treated alike. For items of the graph that is one step of the walk.

    Args:
        items: Every item of one side, raw, ``(m, d)``.
        k: Neighbours of an item.
        dim: Eigenvectors, the constant one not counted.

    Reference:
        Yacobi, Ben-Ari, Talmon and Shaham 2025, arXiv:2505.21524 (SUE), which learns the
        eigenvectors by a network; here they are exact, extended as Bengio et al. 2004 do.
    """

    def __init__(self, items: Tensor, *, k: int, dim: int) -> None:
        super().__init__()
        mean, rows = prepare(items.float())
        self.register_buffer("mean", mean)
        self.register_buffer("rows", rows)
        self.k = k
        self.register_buffer("vectors", self._eigenvectors(dim))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, d)`` to ``(n, dim)``."""
        near, weights = self._neighbours(centred(x.float(), self.get_buffer("mean")))
        return (weights[:, :, None] * self.get_buffer("vectors")[near]).sum(dim=1)

    def first(self, dim: int) -> Spectral:
        """The same with the ``dim`` slowest eigenvectors alone."""
        found = deepcopy(self)
        found.vectors = found.get_buffer("vectors")[:, :dim]
        return found

    def _neighbours(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest items of the graph and their shares of a step, ``(n, k)`` both."""
        cosines = x @ self.get_buffer("rows").T
        cosines[cosines > 1 - SAME] = -math.inf
        near = cosines.topk(self.k, dim=1)
        distances = (1 - near.values).clamp_min(0)
        return near.indices, torch.softmax(-distances / distances[:, -1:], dim=1)

    def _eigenvectors(self, dim: int) -> Tensor:
        from scipy.sparse import coo_matrix, diags
        from scipy.sparse.linalg import LinearOperator, eigsh

        near, weights = self._neighbours(self.get_buffer("rows"))
        m = len(near)
        own = torch.arange(m).repeat_interleave(self.k)
        entries = weights.double().flatten().numpy(), (own.numpy(), near.flatten().numpy())
        graph = coo_matrix(entries, shape=(m, m)).tocsr()
        graph = graph + graph.T
        degrees = graph.sum(axis=1).A1
        shrink = diags(degrees**-0.5)
        walk = shrink @ graph @ shrink
        # The constant one is known, and moved to the other end: in a graph of several components
        # its eigenvalue is that of others too, and rounding would say which of them came first.
        constant = np.sqrt(degrees / degrees.sum())
        moved = LinearOperator(
            (m, m), lambda v: walk @ v - 2 * constant * (constant @ v), dtype=float
        )
        start = np.random.default_rng(0).standard_normal(m)
        values, vectors = eigsh(moved, k=dim, which="LA", v0=start)
        found = torch.from_numpy((shrink @ vectors)[:, values.argsort()[::-1]].copy()).float()
        return found * math.sqrt(m)


class RandomFeatures(nn.Module):
    """Features whose inner products estimate a kernel of centred unit vectors.

    Args:
        rows: Training rows of one side, raw, ``(n, d)``; only for their mean and width.
        kernel: ``"fourier"``: cosines, for the Gaussian kernel; ``"arc-cosine 0"``: steps;
            ``"arc-cosine 1"``: rectified units.
        width: Features.
        bandwidth: Of the Gaussian kernel, in units of the vectors; the others have none.
        generator: Draws directions and phases.

    Reference:
        Rahimi and Recht 2007 (Fourier); Cho and Saul 2009 (arc-cosine kernels).
    """

    def __init__(
        self, rows: Tensor, *, kernel: Kernel, width: int, bandwidth: float,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", prepare(rows.float())[0])
        drawn = torch.randn(rows.shape[1], width, generator=generator)
        self.register_buffer("weight", drawn / bandwidth)
        self.register_buffer("phase", 2 * math.pi * torch.rand(width, generator=generator))
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """``(n, d)`` to ``(n, width)``."""
        found = centred(x.float(), self.get_buffer("mean")) @ self.get_buffer("weight")
        if self.kernel == "fourier":
            return torch.cos(found + self.get_buffer("phase"))
        return (found > 0).float() if self.kernel == "arc-cosine 0" else F.relu(found)


class Beside(nn.Module):
    """Features beside the vectors they were made of, with a share of the squared norm.

    Args:
        features: ``(n, d)`` to ``(n, r)``.
        rows: Raw rows, for the means of both parts, ``(n, d)``.
        share: Of the features, in (0, 1).
    """

    def __init__(self, features: nn.Module, rows: Tensor, *, share: float) -> None:
        super().__init__()
        self.features = features
        self.share = share
        self.register_buffer("mean", prepare(rows.float())[0])
        self.register_buffer("middle", features(rows).mean(dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, d)`` to ``(n, d + r)``."""
        plain = centred(x.float(), self.get_buffer("mean"))
        other = F.normalize(self.features(x) - self.get_buffer("middle"), dim=1)
        return torch.cat([plain * (1 - self.share) ** 0.5, other * self.share**0.5], dim=1)


class Through(nn.Module):
    """Features, then a map of an adapter: together again such a map."""

    def __init__(self, features: nn.Module, inner: nn.Module, *, d_in: int) -> None:
        super().__init__()
        self.features = features
        self.inner = inner
        self.d_in = d_in
        self.dim = inner.dim

    def forward(self, x: Tensor) -> Tensor:
        """Raw rows ``(n, d_in)`` to unit-norm ``(n, dim)``."""
        found: Tensor = self.inner(self.features(x))
        return found
