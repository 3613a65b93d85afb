"""Maps with weights to learn, from a random start: one hidden layer, or none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align._checks import check_at_least
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap, directions


class ProjectionMap(nn.Module):
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
        # Products round differently for other strides: a saved map must give the same bits.
        self.first = nn.Parameter(first.contiguous())  # (d_in, hidden)
        self.first_bias = nn.Parameter(first_bias)  # (hidden,)
        self.second = nn.Parameter(second.contiguous())  # (hidden, dim)
        self.second_bias = nn.Parameter(second_bias)  # (dim,)

    @property
    def d_in(self) -> int:
        """Width of the encoder's vectors."""
        return self.first.shape[0]

    @property
    def hidden(self) -> int:
        """Width of the hidden layer."""
        return self.first.shape[1]

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.second.shape[1]

    def project(self, x: Tensor) -> Tensor:
        """Finite non-zero rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        hidden = torch.relu((directions(x) - self.mean) @ self.first + self.first_bias)
        return hidden @ self.second + self.second_bias

    def forward(self, x: Tensor) -> Tensor:
        """Map finite non-zero rows ``(n, d_in)`` to unit-norm ``(n, dim)``."""
        return F.normalize(self.project(x), dim=1)


class LinearHead(nn.Module):
    """Normalise, centre, one matrix, normalise: ``LinearMap`` with a matrix that is learned."""

    mean: Tensor  # (d_in,)

    def __init__(self, mean: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        # Products round differently for other strides: a saved map must give the same bits.
        self.weight = nn.Parameter(weight.contiguous())  # (d_in, dim)

    @property
    def d_in(self) -> int:
        """Width of the encoder's vectors."""
        return self.weight.shape[0]

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.weight.shape[1]

    def project(self, x: Tensor) -> Tensor:
        """Finite non-zero rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        return (directions(x) - self.mean) @ self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map finite non-zero rows ``(n, d_in)`` to unit-norm ``(n, dim)``."""
        return F.normalize(self.project(x), dim=1)


def projection_network(
    d_source: int,
    d_target: int,
    *,
    hidden: int,
    dim: int | None = None,
    side: Literal["both", "source"] = "both",
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
    """
    check_at_least("hidden", hidden, 1)

    def drawn(mean: Tensor, width: int) -> ProjectionMap:
        # The hidden layer halves what it gets; the second makes up for that and for the widths.
        d = len(mean)
        first = _normal(d, hidden, scale=math.sqrt(2 / d), generator=generator)
        second = _normal(hidden, width, scale=math.sqrt(d / (hidden * width)), generator=generator)
        return ProjectionMap(mean, first, torch.zeros(hidden), second, torch.zeros(width))

    widths = d_source, d_target
    return _started(f"projection network(hidden={hidden})", drawn, widths, dim, side, means)


def linear_heads(
    d_source: int,
    d_target: int,
    *,
    dim: int | None = None,
    side: Literal["both", "source"] = "both",
    generator: torch.Generator,
    means: tuple[Tensor, Tensor] | None = None,
) -> Adapter:
    """Random linear heads for ``align.train``: matrices with orthonormal rows or columns.

    Args:
        d_source: Width of the source encoder's vectors.
        d_target: Width of the target encoder's vectors.
        dim: As for ``projection_network``.
        side: As for ``projection_network``.
        generator: Draws the weights.
        means: As for ``projection_network``.

    Raises:
        ValueError: As for ``projection_network``.
    """

    def drawn(mean: Tensor, width: int) -> LinearHead:
        weight = torch.empty(len(mean), width)
        nn.init.orthogonal_(weight, generator=generator)
        return LinearHead(mean, weight)

    return _started("linear heads", drawn, (d_source, d_target), dim, side, means)


def mean_directions(x: Tensor) -> Tensor:
    """Mean of the unit-norm rows of ``x`` ``(n, d)``, summed in float64; ``(d,)`` float32."""
    return directions(x.float()).double().mean(dim=0).float()


def _normal(*shape: int, scale: float, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) * scale


def _started(
    method: str,
    drawn: Callable[[Tensor, int], nn.Module],
    widths: tuple[int, int],
    dim: int | None,
    side: str,
    means: tuple[Tensor, Tensor] | None,
) -> Adapter:
    """Both sides drawn, each from its mean and the width to map into, or the source alone."""
    for name, width in (("d_source", widths[0]), ("d_target", widths[1]), ("dim", dim)):
        if width is not None:
            check_at_least(name, width, 1)
    if side not in ("both", "source"):
        raise ValueError(
            f'side must be "both" or "source"; got {side!r}. '
            'Use "source" to leave target vectors as they are.'
        )
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
