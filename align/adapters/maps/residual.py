"""Learned corrections of maps that are kept: at the start they change nothing, to the last bit."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align._checks import check_at_least
from align.adapters.adapter import Adapter
from align.adapters.maps.linear import (
    AffineMap,
    BlendMap,
    LinearMap,
    RelativeMap,
    WeightedMap,
    centred,
)
from align.adapters.maps.networks import LinearHead, ProjectionMap
from align.adapters.maps.parts import Parts

Kind = Literal["linear", "low_rank", "mlp"]
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


def residual(
    adapter: Adapter,
    *,
    kind: Kind = "linear",
    size: int | None = None,
    dropout: float = 0.0,
    sides: Literal["both", "source"] = "both",
    generator: torch.Generator | None = None,
    means: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Adapter:
    """The same adapter with a shift to learn on top; until ``align.train`` nothing changes.

    Args:
        adapter: Of any maps, which are shared with the new adapter. Its correction of galleries is
            kept.
        kind: ``"linear"``, ``"low_rank"`` or ``"mlp"``: one matrix, two thin ones, or one hidden
            layer with GELU.
        size: Rank or hidden width; ``"linear"`` has none.
        dropout: Share of the inputs of an ``"mlp"`` that training drops, in [0, 1).
        sides: ``"both"``, or ``"source"`` to leave the target side as it is.
        generator: Draws the first factor; ``"linear"`` draws nothing.
        means: Mean directions on which the shifts' inputs are centred, ``(d_source,)`` and
            ``(d_target,)``; ``mean_directions`` gives them. Where one is ``None``, the shift sees
            rows as the map that it is on top of prepares them: centred on its mean, of its roots
            and parts. The identity subtracts nothing.

    Raises:
        ValueError: ``kind`` or ``sides`` is unknown, or a setting is missing, out of range or not
            one of that kind.
    """
    _check(kind, size, dropout, sides, generator)

    def on_top(inner: Any, mean: Tensor | None) -> ResidualMap:
        centre, root, parts = _prepared_by(inner) if mean is None else (mean, False, None)
        delta = _delta(kind, inner.d_in, inner.dim, size or 0, dropout, generator)
        return ResidualMap(inner, delta.to(centre.device), centre, root=root, parts=parts)

    source = on_top(adapter.source_map, means[0])
    target = adapter.target_map if sides == "source" else on_top(adapter.target_map, means[1])
    settings = "" if size is None else f"({size})"
    card = replace(adapter.card, method=f"{adapter.card.method} + {kind}{settings} residual")
    return Adapter(
        source,
        target,
        card,
        reference=adapter.reference,
        preference=adapter.preference,
        training_items=adapter.training_items,
    )


def _delta(
    kind: Kind, d_in: int, dim: int, size: int, dropout: float, generator: torch.Generator | None
) -> Delta:
    if kind == "linear":
        return LinearDelta(torch.zeros(d_in, dim))
    first = torch.randn(d_in, size, generator=generator)
    if kind == "low_rank":
        return LowRankDelta(first / math.sqrt(size), torch.zeros(size, dim))
    # Inputs have unit norm, so that each hidden unit sees about unit variance.
    return MLPDelta(first, torch.zeros(size), torch.zeros(size, dim), dropout=dropout)


def _prepared_by(inner: Any) -> tuple[Tensor, bool, Parts | None]:
    """The mean, the root and the parts by which a map prepares its input."""
    match inner:
        case LinearMap() | ResidualMap():
            return inner.mean.clone(), inner.root, inner.parts
        case BlendMap():
            return _prepared_by(inner.maps[0])
        case WeightedMap():
            return _prepared_by(inner.inner)
        case AffineMap() | RelativeMap() | LinearHead() | ProjectionMap():
            return inner.mean.clone(), False, None
        case _:
            return torch.zeros(inner.d_in, device=device_of(inner)), False, None


def device_of(module: nn.Module) -> torch.device:
    """Where the tensors of a module are; the CPU if it has none, as the identity map."""
    known = next(itertools.chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if known is None else known.device


def _check(
    kind: str, size: int | None, dropout: float, sides: str, generator: torch.Generator | None
) -> None:
    if kind not in ("linear", "low_rank", "mlp"):
        raise ValueError(
            f'kind must be "linear", "low_rank" or "mlp"; got {kind!r}. Choose one of those.'
        )
    if sides not in ("both", "source"):
        raise ValueError(
            f'sides must be "both" or "source"; got {sides!r}. '
            'Use "source" to leave target vectors as they are.'
        )
    drawn = kind != "linear"
    if drawn != (size is not None) or (drawn and generator is None):
        raise ValueError(
            "a low_rank or mlp residual needs a size and a generator, and a linear one has no "
            f"size; got kind={kind!r}, size={size}, generator={generator}. "
            "Pass size=64 and generator=torch.Generator().manual_seed(0), or neither."
        )
    if size is not None:
        check_at_least("size", size, 1)
    if not 0 <= dropout < 1 or (dropout and kind != "mlp"):
        raise ValueError(
            f'dropout must lie in [0, 1), and is 0 but for kind="mlp"; got {dropout} with '
            f"kind={kind!r}. Choose another dropout or kind."
        )
