"""Adapters with weights to learn, for ``align.train``: on top of a fitted one, or from scratch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from align._checks import check_at_least, check_one_of
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.instructed import InstructedMap
from align.adapters.maps.linear import BlendMap, IdentityMap, SideMap, WeightedMap
from align.adapters.maps.networks import LinearHead, ProjectionMap
from align.adapters.maps.parts import Parts
from align.adapters.maps.residual import (
    Delta,
    LinearDelta,
    LowRankDelta,
    MLPDelta,
    ResidualMap,
    device_of,
)

Kind = Literal["linear", "low_rank", "mlp"]
Sides = Literal["both", "source"]
_SIDES_ADVICE = 'Use "source" to leave target vectors as they are.'


def residual(
    adapter: Adapter,
    *,
    kind: Kind = "linear",
    size: int | None = None,
    dropout: float = 0.0,
    sides: Sides = "both",
    generator: torch.Generator | None = None,
    means: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Adapter:
    """The same adapter with a shift to learn on top; until ``align.train`` nothing changes.

    Args:
        adapter: Of any maps, shared with the new adapter, as is its correction of galleries.
        kind: ``"linear"``, ``"low_rank"`` or ``"mlp"``: one matrix, two thin ones, or one hidden
            layer with GELU.
        size: Rank or hidden width; ``"linear"`` has none.
        dropout: Share of the inputs of an ``"mlp"`` that training drops, in [0, 1).
        sides: ``"both"``, or ``"source"`` to leave the target side as it is.
        generator: Draws the first factor; ``"linear"`` draws nothing.
        means: Mean directions on which the shifts' inputs are centred, ``(d_source,)`` and
            ``(d_target,)``; ``mean_directions`` gives them. Where one is ``None``, the shift sees
            rows as the map below prepares them: centred on its mean, of its roots and parts. The
            identity subtracts nothing.

    Raises:
        ValueError: ``kind`` or ``sides`` is unknown, or a setting is missing, out of range or not
            one of that kind.

    Examples:
        >>> import numpy as np, torch, align
        >>> x = np.random.default_rng(0).standard_normal((60, 4))
        >>> adapter = align.fit(x, x, effort="fast")
        >>> torch.equal(align.residual(adapter).source(x), adapter.source(x))
        True
    """
    _check_residual(kind, size, dropout, generator)
    check_one_of("sides", sides, get_args(Sides), _SIDES_ADVICE)

    def on_top(inner: Any, mean: Tensor | None) -> ResidualMap:
        centre, root, parts = _preparation(inner) if mean is None else (mean, False, None)
        delta = _delta(kind, inner.d_in, inner.dim, size or 0, dropout, generator)
        return ResidualMap(inner, delta.to(centre.device), centre, root=root, parts=parts)

    source = on_top(adapter.source_map, means[0])
    target = adapter.target_map if sides == "source" else on_top(adapter.target_map, means[1])
    settings = "" if size is None else f"({size})"
    card = replace(adapter.card, method=f"{adapter.card.method} + {kind}{settings} residual")
    return adapter.replaced(source_map=source, target_map=target, card=card)


def instructed(adapter: Adapter, d_instruction: int, *, scaled: bool = False) -> Adapter:
    """The same adapter with sources that bring an instruction; it does nothing until trained.

    The new adapter takes sources ``with_instructions``. Its card names no source fingerprint,
    since those vectors come from two encoders. The correction of galleries stays; a preference is
    left out.

    Args:
        adapter: Of any maps, shared with the new adapter. Maps without weights to learn stay as
            they are while the instruction is learned: wrap a ``residual`` to train both.
        d_instruction: Width of an instruction's embedding.
        scaled: Whether an instruction also scales each coordinate.

    Raises:
        ValueError: ``d_instruction`` is below 1.
    """
    check_at_least("d_instruction", d_instruction, 1)
    inner: Any = adapter.source_map
    zeros = torch.zeros(d_instruction, inner.dim, device=device_of(inner))
    source = InstructedMap(inner, zeros, zeros.clone() if scaled else None)
    card = replace(
        adapter.card,
        method=f"{adapter.card.method} + instructions",
        d_source=source.d_in,
        source_fingerprint=None,
    )
    return adapter.replaced(source_map=source, card=card, preference=None)


def projection_network(
    d_source: int,
    d_target: int,
    *,
    hidden: int,
    dim: int | None = None,
    side: Sides = "both",
    generator: torch.Generator,
    means: tuple[Tensor, Tensor] | None = None,
) -> Adapter:
    """Random one-hidden-layer networks for ``align.train``, in the manner of Mind the Gap.

    Args:
        d_source: Width of the source encoder's vectors.
        d_target: Width of the target encoder's vectors.
        hidden: Width of the hidden layer.
        dim: Width of the shared space; the smaller of the two widths if left out.
        side: ``"both"`` maps both sides into a shared space; ``"source"`` maps the source into the
            target's space and leaves targets as they are, so that an index of them stays valid.
        generator: Draws the weights: normal, so that outputs start at about unit norm; biases
            start at 0.
        means: Mean directions that the sides subtract first, ``(d_source,)`` and ``(d_target,)``;
            ``mean_directions`` gives them. Zero if left out.

    Raises:
        ValueError: ``side`` is unknown, a width is below 1, a mean does not fit, or ``dim`` is
            given with ``side="source"``, where the target's width decides.

    Reference:
        Yadav and McMillan 2024, arXiv:2410.23437; weights of the hidden layer as in He et al. 2015,
        arXiv:1502.01852. The start is ours: the paper's was not found.

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> network = align.projection_network(8, 12, hidden=16, dim=4, generator=rng)
        >>> network.source(torch.eye(8)).shape, network.target(torch.eye(12)).shape
        (torch.Size([8, 4]), torch.Size([12, 4]))
    """
    check_at_least("hidden", hidden, 1)

    def drawn(mean: Tensor, width: int) -> ProjectionMap:
        # The hidden layer halves what it gets; the second makes up for that and for the widths.
        d = len(mean)
        first = torch.randn(d, hidden, generator=generator) * math.sqrt(2 / d)
        scale = math.sqrt(d / (hidden * width))
        second = torch.randn(hidden, width, generator=generator) * scale
        return ProjectionMap(mean, first, torch.zeros(hidden), second, torch.zeros(width))

    method = f"projection network(hidden={hidden})"
    return _untrained(method, drawn, (d_source, d_target), dim, side, means)


def linear_heads(
    d_source: int,
    d_target: int,
    *,
    dim: int | None = None,
    side: Sides = "both",
    generator: torch.Generator,
    means: tuple[Tensor, Tensor] | None = None,
) -> Adapter:
    """Random linear heads for ``align.train``: matrices with orthonormal rows or columns.

    The arguments and what is raised are those of ``projection_network``.
    """

    def drawn(mean: Tensor, width: int) -> LinearHead:
        weight = torch.empty(len(mean), width)
        nn.init.orthogonal_(weight, generator=generator)
        return LinearHead(mean, weight)

    return _untrained("linear heads", drawn, (d_source, d_target), dim, side, means)


def _untrained(
    method: str,
    drawn: Callable[[Tensor, int], SideMap],
    widths: tuple[int, int],
    dim: int | None,
    side: str,
    means: tuple[Tensor, Tensor] | None,
) -> Adapter:
    """Both sides drawn, each from its mean and the width to map into, or the source alone."""
    for name, width in (("d_source", widths[0]), ("d_target", widths[1]), ("dim", dim)):
        if width is not None:
            check_at_least(name, width, 1)
    check_one_of("side", side, get_args(Sides), _SIDES_ADVICE)
    if side == "source" and dim not in (None, widths[1]):
        raise ValueError(
            f'with side="source" the space is the target\'s, of width {widths[1]}; got '
            f"dim={dim}. Leave dim out."
        )
    source, target = means or (torch.zeros(widths[0]), torch.zeros(widths[1]))
    if (len(source), len(target)) != widths or source.ndim != 1 or target.ndim != 1:
        raise ValueError(
            f"means must be of shapes ({widths[0]},) and ({widths[1]},); got "
            f"{tuple(source.shape)} and {tuple(target.shape)}. Take mean_directions of each side."
        )
    card = Card(method, 0, *widths)
    if side == "source":
        return Adapter(drawn(source, widths[1]), IdentityMap(widths[1]), card)
    shared = min(widths) if dim is None else dim
    return Adapter(drawn(source, shared), drawn(target, shared), card)


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


def _preparation(inner: Any) -> tuple[Tensor, bool, Parts | None]:
    """The mean, the root and the parts by which a map prepares its input."""
    if isinstance(inner, BlendMap):
        return _preparation(inner.maps[0])
    if isinstance(inner, WeightedMap):
        return _preparation(inner.inner)
    mean = getattr(inner, "mean", None)
    if mean is None:
        return torch.zeros(inner.d_in, device=device_of(inner)), False, None
    return mean.clone(), getattr(inner, "root", False), getattr(inner, "parts", None)


def _check_residual(
    kind: str, size: int | None, dropout: float, generator: torch.Generator | None
) -> None:
    check_one_of("kind", kind, get_args(Kind), "Choose one of those.")
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
