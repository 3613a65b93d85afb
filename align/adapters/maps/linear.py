"""The maps an adapter is made of: from one encoder's vectors to unit vectors in a shared space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from align._checks import check_k, check_positive
from align.adapters.maps.parts import Parts, largest
from align.scoring.inner_products import inner_products
from align.scoring.topk import best_columns

SHORTEST = 1e-12
"""Norm below which a row counts as having no direction, and is not brought to unit norm."""


class SideMap(nn.Module):
    """A map of one side; ``forward`` takes finite non-zero rows ``(n, d_in)`` to ``(n, dim)``.

    What comes out has unit norm. Matrices are held contiguous: products round differently for
    other strides, and a saved map must give the same bits.
    """

    d_in: int  # width of the encoder's vectors
    dim: int  # width of the shared space


class LinearMap(SideMap):
    """Normalise, centre, project, normalise.

    ``map(x) = norm((norm(g(x)) - mean) @ weight)``, where ``g`` is the signed square root if
    ``root`` is set and nothing otherwise. Scaling a row of ``x`` by a positive number changes
    nothing. With ``parts``, each part is normalised and centred on its own and takes its share.
    """

    mean: Tensor  # (d_in,)
    weight: Tensor  # (d_in, dim)

    def __init__(
        self, mean: Tensor, weight: Tensor, *, root: bool = False, parts: Parts | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("weight", weight.contiguous())
        self.root, self.parts = root, parts
        self.d_in, self.dim = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        if self.parts is None:
            # The last step normalises: the length of the centred rows does not matter.
            prepared = directions(x, root=self.root).sub_(self.mean)
        else:
            prepared = self.parts.centred(x, self.mean, root=self.root)
        return _unit_rows(prepared @ self.weight)


class AffineMap(SideMap):
    """Normalise, centre, project, add an offset, normalise: it lands in a space that has a mean.

    ``map(x) = norm((norm(x) - mean) @ weight + offset)``. Where the other side keeps its own
    vectors, the offset is the mean of their directions, which ``LinearMap`` would leave out.
    """

    mean: Tensor  # (d_in,)
    weight: Tensor  # (d_in, dim)
    offset: Tensor  # (dim,)

    def __init__(self, mean: Tensor, weight: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("offset", offset)
        self.d_in, self.dim = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        return _unit_rows((directions(x) - self.mean) @ self.weight + self.offset)


class IdentityMap(SideMap):
    """Only normalise: what is left when no adapter beats the encoders as they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = self.d_in = dim

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        return directions(x)


class RelativeMap(SideMap):
    """Similarities to fixed anchors, sharpened, only those of the ``k`` nearest, unit norm.

    ``r(x) = norm(topk(sign(c) |c| ** power))`` with ``c = cos(x - mean, anchors)``, of width
    ``n_anchors``. Two sides whose anchors are row-matched pairs can be compared coordinate by
    coordinate. Of anchors that are equally near the first count.
    """

    mean: Tensor  # (d_in,)
    anchors: Tensor  # (n_anchors, d_in), unit norm

    def __init__(self, mean: Tensor, anchors: Tensor, *, k: int, power: float) -> None:
        super().__init__()
        check_k(k, len(anchors), of="the number of anchors")
        check_positive("power", power)
        self.register_buffer("mean", mean)
        self.register_buffer("anchors", anchors.contiguous())
        self.k, self.power = k, power
        self.dim, self.d_in = anchors.shape

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        near = inner_products(centred(x, self.mean), self.anchors)
        best = best_columns(near, self.k)
        sharp = best.values.sign() * best.values.abs().pow(self.power)
        return _unit_rows(torch.zeros_like(near).scatter_(1, best.indices, sharp))


class WeightedMap(SideMap):
    """A unit-norm map whose coordinates are weighted after normalising, still at unit norm.

    The inner product of the two sides is ``sum_i weight_i z_i w_i``. The norm that weighting takes
    away goes into one more coordinate of each side, its ``slot``, where the other side holds zero.
    """

    weight: Tensor  # (d,), in [0, 1]

    def __init__(self, inner: LinearMap, weight: Tensor, *, slot: int) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("weight", weight)
        self.slot = slot
        self.d_in, self.dim = inner.d_in, inner.dim + 2

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        z = self.inner(x) * self.weight.sqrt()
        rest = z.new_zeros(len(z), 2)
        rest[:, self.slot] = (1 - z.square().sum(dim=1)).clamp_min(0).sqrt()
        return torch.cat([z, rest], dim=1)


class BlendMap(SideMap):
    """Several maps side by side, so that one inner product is a weighted sum of their cosines.

    ``blend(x) = [sqrt(w_1) map_1(x), sqrt(w_2) map_2(x), ...]`` with weights that sum to 1: unit
    norm again, and ``<blend(x), blend(y)> = sum_i w_i cos_i(x, y)``.
    """

    def __init__(self, maps: Sequence[SideMap], weights: Sequence[float]) -> None:
        super().__init__()
        if len(maps) != len(weights) or not math.isclose(sum(weights), 1) or min(weights) <= 0:
            raise ValueError(
                "a blend needs one positive weight per map, summing to 1; "
                f"got {len(maps)} maps and weights {list(weights)}. "
                "Divide the weights by their sum."
            )
        widths = [each.d_in for each in maps]
        if len(set(widths)) > 1:
            raise ValueError(
                f"the maps of a blend must take one width; got {widths}. "
                "Fit them on the same encoder's vectors."
            )
        self.maps = nn.ModuleList(maps)
        self.weights = tuple(weights)
        self.d_in, self.dim = widths[0], sum(each.dim for each in maps)

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        return self.join([each(x) for each in self.maps])

    def join(self, mapped: Sequence[Tensor]) -> Tensor:
        """What the maps gave, ``(n, dim_i)`` each, weighted and side by side, ``(n, dim)``."""
        weighted = zip(mapped, self.weights, strict=True)
        return torch.cat([z * weight**0.5 for z, weight in weighted], dim=1)


def directions(x: Tensor, *, root: bool = False) -> Tensor:
    """Unit-norm rows of ``x``, or of its signed square root ``sign(x) sqrt(|x|)``; ``(n, d)``."""
    # Squares of very long or very short rows would leave the range of float32.
    x = x / largest(x)
    x = x.sign() * x.abs().sqrt() if root else x
    return _divided(x, torch.linalg.vector_norm(x, dim=1, keepdim=True))


def _unit_rows(z: Tensor) -> Tensor:
    """Rows of ``z`` at unit norm, shorter than ``SHORTEST`` divided by that; ``z`` is given up."""
    # The bits of ``normalize`` in PyTorch, with fewer operators and without a wrapper.
    return _divided(z, torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min(SHORTEST))


def _divided(rows: Tensor, lengths: Tensor) -> Tensor:
    """Rows over their lengths, in place where no gradient needs them as they were measured."""
    return rows / lengths if rows.requires_grad else rows.div_(lengths)


def centred(x: Tensor, mean: Tensor, *, root: bool = False, parts: Parts | None = None) -> Tensor:
    """Unit-norm rows of ``directions(x) - mean``, part by part if there are several; ``(n, d)``."""
    if parts is not None:
        return parts.centred(x, mean, root=root)
    return _unit_rows(directions(x, root=root) - mean)


def mean_directions(x: Tensor) -> Tensor:
    """Mean of the unit-norm rows of ``x`` ``(n, d)``, summed in float64; ``(d,)`` float32."""
    return directions(x.float()).double().mean(dim=0).float()
