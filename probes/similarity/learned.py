"""Two similarities with parameters to learn: a network that sees the pair, and a bilinear form.

Nothing is checked to be of unit norm, but the starts below are scaled for rows that are. Both raise
``ValueError`` for sides that are not finite matrices of their widths, queries ``(q, d_source)`` and
a gallery ``(m, d_target)``.

Reference:
    Xu and Leiva 2025, arXiv:2506.08774, compare the standard similarities with two learned ones.
    Widths, starts and training of theirs are not known to us; these are ours.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn

from align._checks import check_at_least, check_k, check_matrix, check_paired
from align.scoring.inner_products import inner_products
from probes.similarity.standard import padded

START_TEMPERATURE = 0.05  # a bilinear form starts with scores of about a cosine divided by this
_ROWS = 4  # queries that a network scores at a time
_ENTRIES = 1 << 21  # differences of pairs that a network holds at a time; bounds its memory
_TILE = 64  # gallery rows are scored in multiples of this, so that equal rows score equally


class PairMLP(nn.Module):
    """One hidden layer on a pair: ``w' relu(W [x; y; |x - y|; x * y] + b)``.

    Rows are multiplied by ``sqrt(d)`` first, which brings the entries of unit vectors near 1. The
    layer is linear in what comes from one row alone, so that part is computed once per row and not
    once per pair. ``d`` is the width of both sides and ``hidden`` that of the layer, each at least
    1; starting weights are uniform in ``+-1 / sqrt(fan_in)``, from ``generator``.
    """

    def __init__(self, d: int, *, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        check_at_least("d", d, 1)
        check_at_least("hidden", hidden, 1)
        self.d = d
        self.first = _linear(4 * d, hidden, generator)
        # A bias here would move all scores alike and no rank.
        self.second = _linear(hidden, 1, generator, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of row-matched pairs, ``(n, d)`` and ``(n, d)`` to ``(n,)``."""
        check_paired(x, y)
        x, y = self._scaled(x, y)
        features = torch.cat([x, y, (x - y).abs(), x * y], dim=1)
        scores: Tensor = self.second(self.first(features).relu())[:, 0]
        return scores

    def all_pairs(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of each ``x`` with each ``y``, ``(q, m)``; differentiable. Holds ``q m d``."""
        x, y = self._scaled(x, y)
        of_x, of_y = self._single(x, y)
        return self._pairs(x, y, of_x, of_y)

    @torch.no_grad()
    def scores(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """The same as ``all_pairs`` without gradients, in blocks of bounded memory; ``(q, m)``.

        Cost O(q m d hidden). Rows that are equal score equally, on either side. The queries are of
        the side that was ``x`` in training.
        """
        x, y = (padded(rows) for rows in self._scaled(queries, gallery))
        of_x, of_y = self._single(x, y)
        columns = max(1, _ENTRIES // (_ROWS * self.d * _TILE)) * _TILE
        blocks = zip(torch.split(x, _ROWS), torch.split(of_x, _ROWS), strict=True)
        tiles = list(zip(torch.split(y, columns), torch.split(of_y, columns), strict=True))
        scores = [
            torch.cat([self._pairs(block, tile, of_block, of_tile) for tile, of_tile in tiles], 1)
            for block, of_block in blocks
        ]
        return torch.cat(scores)[: len(queries), : len(gallery)]

    def _scaled(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        check_matrix("queries", x, d=self.d)
        check_matrix("gallery", y, d=self.d)
        return x * math.sqrt(self.d), y * math.sqrt(self.d)

    def _single(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What rows give to the hidden layer by themselves, ``(q, hidden)`` and ``(m, hidden)``."""
        to_x, to_y, _, _ = torch.split(self.first.weight, self.d, dim=1)
        return x @ to_x.T + self.first.bias, y @ to_y.T

    def _pairs(self, x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
        _, _, to_difference, to_product = torch.split(self.first.weight, self.d, dim=1)
        q, m, hidden = len(x), len(y), len(to_product)
        difference = (x[:, None] - y).abs().flatten(0, 1) @ to_difference.T
        # (x * y) W' = y (x * W)': the products of pairs need not be held.
        product = y @ (x[:, None] * to_product).flatten(0, 1).T
        inside = difference.view(q, m, hidden) + product.view(m, q, hidden).transpose(0, 1)
        scores: Tensor = self.second((inside + of_x[:, None] + of_y).relu())[..., 0]
        return scores


class LowRankBilinear(nn.Module):
    """The form ``x' U V' y`` with ``U`` and ``V`` of few columns; widths may differ.

    It starts at ``U``, ``(d_source, rank)``, and ``V``, ``(d_target, rank)``: finite matrices with
    equally many columns.
    """

    def __init__(self, source_factor: Tensor, target_factor: Tensor) -> None:
        super().__init__()
        check_matrix("source_factor", source_factor)
        check_matrix("target_factor", target_factor, d=source_factor.shape[1])
        self.source_factor = nn.Parameter(source_factor.clone())
        self.target_factor = nn.Parameter(target_factor.clone())

    @classmethod
    def random(cls, d_source: int, d_target: int, *, rank: int, generator: torch.Generator) -> Self:
        """A start that knows nothing: normal entries of variance ``1 / (temperature rank)``.

        ``rank``, the columns of each factor, is at least 1 and at most the smaller width.
        """
        check_k(rank, min(d_source, d_target), name="rank", of="the smaller width")
        scale = (START_TEMPERATURE * rank) ** -0.5
        factors = (torch.randn(d, rank, generator=generator) * scale for d in (d_source, d_target))
        return cls(*factors)

    @classmethod
    def inner_product(cls, rows: Tensor, *, rank: int) -> Self:
        """A start at the inner product in the leading principal directions of rows, ``(n, d)``.

        ``U = V``, orthogonal columns. With ``rank = d`` this is the inner product itself, divided
        by the temperature; with fewer columns, what is left of it after a projection that keeps
        most of the squared norm of the rows, which are of both sides in their common space. Rows
        are finite, and ``rank`` is in ``[1, d]``.
        """
        check_matrix("rows", rows)
        check_k(rank, rows.shape[1], name="rank", of="the width")
        moment = rows.double().T @ rows.double()
        leading = torch.linalg.eigh(moment).eigenvectors.flip(1)[:, :rank]
        factor = leading.to(rows.dtype) * START_TEMPERATURE**-0.5
        return cls(factor, factor)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of row-matched pairs, ``(n, d_source)`` and ``(n, d_target)`` to ``(n,)``."""
        check_paired(x, y)
        left, right = self._projected(x, y)
        return (left * right).sum(dim=1)

    def all_pairs(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of each ``x`` with each ``y``, ``(q, m)``; differentiable."""
        left, right = self._projected(x, y)
        return left @ right.T

    @torch.no_grad()
    def scores(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """The same as ``all_pairs`` without gradients, equal rows scoring equally; ``(q, m)``.

        Cost O((q d_source + m d_target + q m) rank).
        """
        self._check(queries, gallery)
        left = padded(queries) @ self.source_factor
        right = padded(gallery) @ self.target_factor
        return inner_products(left, right)[: len(queries), : len(gallery)]

    def _projected(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self._check(x, y)
        return x @ self.source_factor, y @ self.target_factor

    def _check(self, x: Tensor, y: Tensor) -> None:
        check_matrix("queries", x, d=len(self.source_factor))
        check_matrix("gallery", y, d=len(self.target_factor))


PairSimilarity = PairMLP | LowRankBilinear


def _linear(d_in: int, d_out: int, generator: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """A linear layer as PyTorch starts it, uniform in ``+-1 / sqrt(d_in)``, from ``generator``."""
    # Made without values, so that PyTorch's own start does not draw from its global generator.
    layer = nn.Linear(d_in, d_out, bias=bias, device="meta").to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(d_in**-0.5), d_in**-0.5, generator=generator)
    return layer
