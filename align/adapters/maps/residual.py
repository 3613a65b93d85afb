"""Learned corrections of maps that are kept: at the start they change nothing, to the last bit."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.maps.linear import centred
from align.adapters.maps.parts import Parts

SHORTEST = 1e-12
"""Length below which a moved vector has no direction; it comes out shorter than unit norm."""


class LinearDelta(nn.Module):
    """``x @ weight``, zero at the start."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())  # (d_in, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Shift of each row, ``(n, d_in)`` to ``(n, dim)``."""
        return x @ self.weight


class LowRankDelta(nn.Module):
    """``x @ down @ up`` of rank ``r``, zero at the start as ``up`` is."""

    def __init__(self, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(down.contiguous())  # (d_in, r)
        self.up = nn.Parameter(up.contiguous())  # (r, dim)

    @property
    def rank(self) -> int:
        """Width between the two factors."""
        return self.down.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Shift of each row, ``(n, d_in)`` to ``(n, dim)``."""
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
        self.eval()  # modules start in training mode, where a loaded adapter would drop inputs

    @property
    def hidden(self) -> int:
        """Width of the hidden layer."""
        return len(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shift of each row, ``(n, d_in)`` to ``(n, dim)``."""
        kept = F.dropout(x, self.dropout, training=self.training)
        return F.gelu(kept @ self.first + self.bias) @ self.second


Delta = LinearDelta | LowRankDelta | MLPDelta


class ResidualMap(nn.Module):
    """A map that is kept and a learned shift of what it gives, at unit norm.

    ``map(x) = norm(inner(x) + delta(c))`` with ``c = norm(norm(g(x)) - mean)``, where ``g`` is the
    signed square root if ``root`` is set and nothing otherwise, and part by part if there are
    several. While ``delta`` is zero this is ``inner(x)`` to the last bit.
    """

    mean: Tensor  # (d_in,)

    def __init__(
        self,
        inner: nn.Module,
        delta: Delta,
        mean: Tensor,
        *,
        root: bool = False,
        parts: Parts | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.parts = parts
        self.inner = inner
        self.delta = delta
        self.register_buffer("mean", mean)

    @property
    def d_in(self) -> int:
        """Width of the encoder's vectors."""
        return int(self.inner.d_in)  # type: ignore[arg-type]  # nn.Module hides attributes

    @property
    def dim(self) -> int:
        """Width of the shared space: that of the inner map."""
        return int(self.inner.dim)  # type: ignore[arg-type]  # nn.Module hides attributes

    def project(self, x: Tensor) -> Tensor:
        """Finite non-zero rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        return self._both(x)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Map finite non-zero rows ``(n, d_in)`` to unit-norm ``(n, dim)``."""
        return at_length_of(*self._both(x))

    def shifted(self, kept: Tensor, seen: Tensor) -> Tensor:
        """What ``forward`` gives, from what the inner map gave and the centred rows."""
        return at_length_of(kept, kept + self.delta(seen))

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept: Tensor = self.inner(x)
        return kept, kept + self.delta(centred(x, self.mean, root=self.root, parts=self.parts))


def at_length_of(kept: Tensor, moved: Tensor) -> Tensor:
    """``moved`` at the lengths of ``kept``, row by row ``(n, dim)``; the same bits where equal.

    Normalising a row of unit norm once more may change its last bit. A ratio of equal lengths is
    exactly 1.
    """
    lengths = torch.linalg.vector_norm(kept, dim=1, keepdim=True)
    moved_lengths = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    ratio: Tensor = lengths / moved_lengths.clamp_min(SHORTEST)
    return moved * ratio


def device_of(module: nn.Module) -> torch.device:
    """Where the tensors of a module are; the CPU if it has none, as the identity map."""
    known = next(itertools.chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if known is None else known.device
