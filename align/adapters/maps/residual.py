"""Learned corrections of frozen maps: at the start they change nothing, to the last bit."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.maps.linear import SideMap, centred
from align.adapters.maps.parts import Parts


class LinearDelta(nn.Module):
    """``x @ weight``, ``(n, d_in)`` to ``(n, dim)``, zero at the start."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())  # (d_in, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Shift of each row ``x`` ``(n, d_in)``, ``(n, dim)``."""
        return x @ self.weight


class LowRankDelta(nn.Module):
    """``x @ down @ up`` of a low ``rank``, zero at the start as ``up`` is."""

    def __init__(self, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(down.contiguous())  # (d_in, rank)
        self.up = nn.Parameter(up.contiguous())  # (rank, dim)
        self.rank = len(up)

    def forward(self, x: Tensor) -> Tensor:
        """Shift of each row ``x`` ``(n, d_in)``, ``(n, dim)``."""
        return x @ self.down @ self.up


class MLPDelta(nn.Module):
    """``gelu(dropout(x) @ first + bias) @ second``, zero at the start as ``second`` is.

    There is no gate: a sigmoid gate that starts at zero has no gradient and never opens.
    """

    def __init__(self, first: Tensor, bias: Tensor, second: Tensor, *, dropout: float) -> None:
        super().__init__()
        self.first = nn.Parameter(first.contiguous())  # (d_in, hidden)
        self.bias = nn.Parameter(bias)  # (hidden,)
        self.second = nn.Parameter(second.contiguous())  # (hidden, dim)
        self.dropout = dropout
        self.hidden = len(bias)
        self.eval()  # modules start in training mode, where a loaded adapter would drop inputs

    def forward(self, x: Tensor) -> Tensor:
        """Shift of each row ``x`` ``(n, d_in)``, ``(n, dim)``."""
        x = F.dropout(x, self.dropout, training=self.training)
        return F.gelu(x @ self.first + self.bias) @ self.second


Delta = LinearDelta | LowRankDelta | MLPDelta


class ResidualMap(SideMap):
    """A frozen map and a learned shift of what it gives, at unit norm.

    ``map(x) = norm(inner(x) + delta(c))`` with ``c = norm(norm(g(x)) - mean)``, where ``g`` is the
    signed square root if ``root`` is set and nothing otherwise, and part by part if there are
    several. While ``delta`` is zero this is ``inner(x)`` to the last bit.
    """

    mean: Tensor  # (d_in,)

    def __init__(
        self,
        inner: SideMap,
        delta: Delta,
        mean: Tensor,
        *,
        root: bool = False,
        parts: Parts | None = None,
    ) -> None:
        super().__init__()
        self.root, self.parts = root, parts
        self.inner = inner
        self.delta = delta
        self.register_buffer("mean", mean)
        self.d_in, self.dim = inner.d_in, inner.dim

    def project(self, x: Tensor) -> Tensor:
        """Finite non-zero rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        return self._both(x)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        return at_length_of(*self._both(x))

    def shifted(self, mapped: Tensor, seen: Tensor) -> Tensor:
        """What ``forward`` gives, from what the inner map gave and the centred rows."""
        return at_length_of(mapped, mapped + self.delta(seen))

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mapped: Tensor = self.inner(x)
        return mapped, mapped + self.delta(centred(x, self.mean, root=self.root, parts=self.parts))


def at_length_of(mapped: Tensor, moved: Tensor) -> Tensor:
    """``moved`` at the lengths of ``mapped``, row by row ``(n, dim)``; the same bits where equal.

    Normalising a row of unit norm once more may change its last bit. A ratio of equal lengths is
    exactly 1. A moved row shorter than 1e-12 has no direction, and comes out below unit norm.
    """
    lengths = torch.linalg.vector_norm(mapped, dim=1, keepdim=True)
    moved_lengths = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    ratio: Tensor = lengths / moved_lengths.clamp_min(1e-12)
    return moved * ratio


def device_of(module: nn.Module) -> torch.device:
    """Where the tensors of a module are; the CPU if it has none, as the identity map."""
    known = next(itertools.chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if known is None else known.device
