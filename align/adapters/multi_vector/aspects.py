"""Aspects: the further vectors of an item, from its token states or from its pooled vector."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.maps.linear import centred
from align.data.multi_vector import MultiVector
from align.scoring.ties import COSINES, first_largest, first_smallest

ITEMS = 256
"""Items whose attention is worked out at a time: bounds memory, changes no number."""


class Reduction(nn.Module):
    """Token states in a few closed-form coordinates: ``norm(norm(x) - mean)`` onto a basis."""

    mean: Tensor  # mean direction of the training states, (d_in,)
    basis: Tensor  # orthonormal columns, (d_in, d): principal axes of what is left

    def __init__(self, mean: Tensor, basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        # Products round differently for other strides: a saved head must give the same bits.
        self.register_buffer("basis", basis.contiguous())
        self.d_in = len(basis)

    def forward(self, tokens: MultiVector) -> MultiVector:
        """Unit-norm reduced tokens of the same items, width ``d``, float32."""
        # Block by block, so that only the result is ever float32.
        blocks = [self._rows(block) for block in _blocks(tokens)]
        return MultiVector(torch.cat(blocks), tokens.offsets)

    def _rows(self, tokens: MultiVector) -> Tensor:
        rows = F.normalize(tokens.to(dtype=torch.float32).tokens, dim=1) - self.mean
        return F.normalize(F.normalize(rows, dim=1) @ self.basis, dim=1)


class Resampler(nn.Module):
    """Learnable queries that each attend over the token states of an item.

    ``h_r = norm(W^T sum_t softmax_t(<k_r, x_t>) x_t)``: one layer of cross-attention with one head
    per meta token, whose values share one map.

    Reference:
        Xiao et al. 2025, arXiv:2509.18095 (meta tokens); as a resampler over frozen states,
        Lee et al. 2019, arXiv:1810.00825, section 3.2 (pooling by multi-head attention).
    """

    def __init__(self, queries: Tensor, weight: Tensor) -> None:
        super().__init__()
        # k_r, one row per meta token, (count, d); their length sets how sharp they look.
        self.queries = nn.Parameter(queries.contiguous())
        self.weight = nn.Parameter(weight.contiguous())  # W, (d, dim)
        self.count, self.dim = len(queries), weight.shape[1]

    def forward(self, reduced: MultiVector) -> Tensor:
        """Unit-norm aspects, ``(n, count, dim)``, of ``n`` items with reduced token states."""
        return torch.cat([self._aspects(*_padded(block)) for block in _blocks(reduced)])

    def _aspects(self, tokens: Tensor, real: Tensor) -> Tensor:
        logits = torch.einsum("rd,ntd->nrt", self.queries, tokens)
        share = torch.softmax(logits.masked_fill(~real[:, None], -torch.inf), dim=2)
        return F.normalize(share @ tokens @ self.weight, dim=2)


class Selector(nn.Module):
    """Some token states of an item itself, spread out, mapped: for items that are lists of parts.

    The first is the state nearest to the mean of all, and each next one the state farthest from
    those taken. Of states equally near or far, up to ``align.scoring.ties.COSINES``, the one that
    stands first is taken: of two states both are equally near to their mean, and rounding must not
    decide. An item with fewer states repeats its last, which never changes a maximum. Only the map
    learns.

    Reference:
        Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5 (farthest-first traversal).
    """

    def __init__(self, weight: Tensor, *, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())  # (d, dim)
        self.count, self.dim = count, weight.shape[1]

    def forward(self, reduced: MultiVector) -> Tensor:
        """Unit-norm aspects, ``(n, count, dim)``, of ``n`` items with reduced token states."""
        spread = [_spread(*_padded(block), self.count) for block in _blocks(reduced)]
        return torch.cat([F.normalize(states @ self.weight, dim=2) for states in spread])


class Heads(nn.Module):
    """Linear heads on a pooled vector, for encoders without token states.

    ``h_r = norm(W_r^T norm(norm(x) - mean))``.
    """

    mean: Tensor  # mean direction of the training vectors, (d,)

    def __init__(self, mean: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.weight = nn.Parameter(weight)  # W_r, (count, d, dim)
        self.count, _, self.dim = weight.shape

    def forward(self, pooled: Tensor) -> Tensor:
        """Unit-norm aspects, ``(n, count, dim)``, of pooled vectors ``(n, d)``."""
        rows = centred(pooled, self.mean)
        return F.normalize(torch.einsum("nd,rdw->nrw", rows, self.weight), dim=2)


class TokenAspects(nn.Module):
    """Aspects of one side whose encoder gives token states: reduced, then resampled or selected."""

    def __init__(self, reduction: Reduction, resampler: Resampler | Selector) -> None:
        super().__init__()
        self.reduction = reduction
        self.resampler = resampler
        self.count, self.dim = resampler.count, resampler.dim


Aspects = TokenAspects | Heads


def check_tokens(name: str, tokens: MultiVector, *, d: int) -> None:
    """Raise ``ValueError`` unless token states have width ``d`` and are finite.

    States of zeros pass: networks that end in a ReLU give some for blank patches. Centring gives
    them the direction away from the mean.
    """
    if tokens.dim != d:
        raise ValueError(
            f"{name} must have width {d}; got {tokens.dim}. "
            "Pass the token states of the encoder that the head was fitted on."
        )
    bad = ~tokens.tokens.isfinite().all(dim=1)
    if bad.any():
        rows = bad.nonzero().flatten()
        items = torch.unique(torch.searchsorted(tokens.offsets, rows, right=True) - 1)
        raise ValueError(
            f"{name} must be finite; {len(rows)} of {len(bad)} rows hold NaN or infinity, in items "
            f"{items[:5].tolist()}. Drop or re-encode those items."
        )


def _spread(tokens: Tensor, real: Tensor, count: int) -> Tensor:
    """``count`` unit-norm rows of each item by farthest-first traversal, ``(n, count, d)``."""
    n = torch.arange(len(tokens), device=tokens.device)
    mean = tokens.sum(dim=1) / real.sum(dim=1, keepdim=True)
    near = torch.einsum("ntd,nd->nt", tokens, mean)
    at = first_largest(near.masked_fill(~real, -torch.inf), within=COSINES)
    taken, closest = [tokens[n, at]], torch.full_like(near, -torch.inf)
    for _ in range(count - 1):
        closest = torch.maximum(closest, torch.einsum("ntd,nd->nt", tokens, taken[-1]))
        closest[n, at] = torch.inf
        left = closest.masked_fill(~real, torch.inf)
        farthest = first_smallest(left, within=COSINES)
        at = torch.where(left[n, farthest] < torch.inf, farthest, at)
        taken.append(tokens[n, at])
    return torch.stack(taken, dim=1)


def _padded(tokens: MultiVector) -> tuple[Tensor, Tensor]:
    """Tokens with zeros up to the longest item, ``(n, t, d)``, and where they are real."""
    lengths = tokens.lengths
    longest = int(lengths.max()) if len(tokens) else 0
    real = torch.arange(longest, device=lengths.device) < lengths[:, None]
    padded = tokens.tokens.new_zeros(len(tokens), longest, tokens.dim)
    padded[real] = tokens.tokens
    return padded, real


def _blocks(tokens: MultiVector) -> Iterator[MultiVector]:
    return (tokens[start : start + ITEMS] for start in range(0, len(tokens), ITEMS))
