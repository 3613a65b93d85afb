"""Where meta tokens start: closed-form aspects that are useful before any training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.maps.linear import centred, directions
from align.adapters.multi_vector.aspects import (
    Aspects,
    Heads,
    Reduction,
    Resampler,
    Selector,
    TokenAspects,
)
from align.adapters.recipes.formulas import canonical, power_weights
from align.adapters.recipes.moments import paired_moments
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.scoring.ties import COSINES, falling_order, first_largest

SAMPLE = 65536  # token states behind means, axes and clusters: a bound on cost
ORDERED_BY = 500  # pairs by which meta tokens are ordered
STEPS = 50  # of k-means at most
CLEAR = 1e-3  # standard deviations by which an aspect must be more discriminative to come first
RIDGE, POWER = (1.0, 1.0), 0.5  # a start for training or cross-validation, not a result

Kind = Literal["shared", "paired"]


@dataclass(frozen=True, slots=True)
class Start:
    """One way to start.

    ``"shared"``: both sides have one basis of token states, which needs one encoder or two whose
    token states have one width. ``"paired"``: regularised CCA between the sides' mean states. Sides
    in ``select``, 0 source and 1 target, show some of their token states as they are instead of
    attending over all; for items that are lists of parts.
    """

    kind: Kind
    sharpness: float  # length of the meta tokens' queries; 0 pools evenly
    mix: float  # share of the aspect in a further vector, in (0, 1)
    select: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """Token pairs, with reductions and reduced token states of each side that has any."""

    pairs: TokenPairs
    reductions: tuple[Reduction | None, Reduction | None]
    tokens: tuple[MultiVector | None, MultiVector | None]

    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of start that these sides allow."""
        source, target = self.pairs.source, self.pairs.target
        one = source is not None and target is not None and source.dim == target.dim
        return ("shared", "paired") if one else ("paired",)

    def selections(self) -> tuple[tuple[int, ...], ...]:
        """Which sides can show token states as they are: those that have any."""
        ways = ((), (0,), (1,), (0, 1))
        return tuple(way for way in ways if all(self.tokens[side] is not None for side in way))

    def pooled(self, side: int) -> Tensor:
        """Pooled float32 vectors of one side (0 source, 1 target), ``(n, d_side)``."""
        pooled = self.pairs.pooled
        return (pooled.source if side == 0 else pooled.target).float()

    def taken(self, side: int, rows: Tensor) -> MultiVector | None:
        """Reduced token states of some rows of one side."""
        tokens = self.tokens[side]
        return None if tokens is None else tokens.take(rows)


def reduced(pairs: TokenPairs, *, width: int, generator: torch.Generator) -> Reduced:
    """Reduce the token states of both sides to their ``width`` principal axes.

    Sides of one token width share their axes, so that equal states stay equal; means are each
    side's own. This looks at no pairing.
    """
    sides = (pairs.source, pairs.target)
    means: dict[int, Tensor] = {}
    left: dict[int, Tensor] = {}
    for side, tokens in enumerate(sides):
        if tokens is not None:
            rows = _sample(tokens, generator)
            means[side] = rows.mean(dim=0)
            left[side] = F.normalize(rows - means[side], dim=1)
    if len({rows.shape[1] for rows in left.values()}) == 1:
        joint = torch.cat(list(left.values()))
        left = dict.fromkeys(left, joint)
    reductions = [
        Reduction(means[side], _axes(left[side], width)) if side in left else None
        for side in (0, 1)
    ]
    source, target = (
        None if tokens is None or reduction is None else reduction(tokens)
        for tokens, reduction in zip(sides, reductions, strict=True)
    )
    return Reduced(pairs, (reductions[0], reductions[1]), (source, target))


def aspects(
    data: Reduced, rows: Tensor, start: Start, counts: Sequence[int], generator: torch.Generator
) -> tuple[Aspects, Aspects]:
    """Untrained aspects of both sides, from the training ``rows`` alone.

    ``counts`` are the meta tokens that each further budget adds, coarse to fine: each is a
    clustering of its own, so that few look broadly and many look closely.
    """
    maps: tuple[Tensor | None, Tensor | None] = (None, None)
    if start.kind == "paired":
        maps = _canonical_maps(data, rows)
    shared = None
    if start.kind == "shared":
        states = [data.taken(side, rows) for side in (0, 1)]
        joint = torch.cat([tokens.tokens for tokens in states if tokens is not None])
        shared = _centres(joint, counts, generator)

    def of_side(side: int) -> Aspects:
        tokens, reduction, weight = data.taken(side, rows), data.reductions[side], maps[side]
        if tokens is None or reduction is None:
            assert weight is not None, "a side without tokens starts paired"
            mean = directions(data.pooled(side)[rows]).mean(dim=0)
            return Heads(mean, _bands(weight, sum(counts)))
        weight = torch.eye(tokens.dim) if weight is None else weight
        if side in start.select:
            return TokenAspects(reduction, Selector(weight, count=sum(counts)))
        centres = shared if shared is not None else _centres(tokens.tokens, counts, generator)
        return TokenAspects(reduction, Resampler(centres * start.sharpness, weight))

    sides = of_side(0), of_side(1)
    _order_by_discrimination(data, rows, sides, counts)
    return sides


@torch.no_grad()
def _order_by_discrimination(
    data: Reduced, rows: Tensor, sides: tuple[Aspects, Aspects], counts: Sequence[int]
) -> None:
    """Order meta tokens within each budget, the most discriminative first.

    Queries use the first ones, and k-means knows no order. An aspect is as discriminative as its
    similarity to the even aspect of its partner (that of the mean state) stands out from its
    similarity to the even aspects of others, in standard deviations.
    """
    rows = rows[:: max(1, -(-len(rows) // ORDERED_BY))]
    even = [_even(part, data, side, rows) for side, part in enumerate(sides)]
    for side, part in enumerate(sides):
        if isinstance(part, Heads) or isinstance(part.resampler, Selector):
            continue
        tokens = data.taken(side, rows)
        assert tokens is not None, "aspects of tokens are made from tokens"
        near = torch.einsum("nrd,md->rnm", part.resampler(tokens), even[1 - side])
        matched = near.diagonal(dim1=1, dim2=2).mean(dim=1)
        standing_out = (matched - near.mean(dim=(1, 2))) / near.std(dim=(1, 2))
        blocks = torch.split(standing_out, list(counts))
        starts = itertools.accumulate(counts, initial=0)
        places = torch.cat(
            [
                falling_order(block, within=CLEAR) + first
                for block, first in zip(blocks, starts, strict=False)
            ]
        )
        part.resampler.queries.copy_(part.resampler.queries[places].clone())


def _even(part: Aspects, data: Reduced, side: int, rows: Tensor) -> Tensor:
    """What a side's map makes of each item's summary, unit norm, ``(n, width)``."""
    weight = part.weight.mean(dim=0) if isinstance(part, Heads) else part.resampler.weight
    return F.normalize(_summary(data, side, rows) @ weight, dim=1)


def _sample(tokens: MultiVector, generator: torch.Generator) -> Tensor:
    """Unit-norm float32 token states of whole items, about ``SAMPLE`` of them."""
    items = max(1, round(SAMPLE * len(tokens) / max(SAMPLE, len(tokens.tokens))))
    picked = torch.randperm(len(tokens), generator=generator)[:items].sort().values
    return F.normalize(tokens.take(picked).to(dtype=torch.float32).tokens, dim=1)


def _axes(rows: Tensor, width: int) -> Tensor:
    """The ``width`` strongest principal axes of centred rows, strongest first, ``(d, width)``."""
    vectors: Tensor = torch.linalg.eigh((rows.T @ rows).double()).eigenvectors
    return vectors.flip(1)[:, :width].float().contiguous()


def _centres(rows: Tensor, counts: Sequence[int], generator: torch.Generator) -> Tensor:
    """Centres of one spherical k-means per count, end to end, ``(sum(counts), d)`` unit norm."""
    rows = rows[torch.randperm(len(rows), generator=generator)[:SAMPLE]]
    return torch.cat([_spherical_k_means(rows, k, generator) for k in counts])


def _spherical_k_means(rows: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Dhillon and Modha 2001, doi:10.1023/A:1007612920971.

    A centre without rows stays put, and so does one whose rows cancel: what is left of their sum
    is rounding.
    """
    # With fewer rows than centres some come twice.
    picked = torch.randperm(len(rows), generator=generator)[torch.arange(k) % len(rows)]
    centres = rows[picked]
    nearest = torch.full((len(rows),), -1)
    for _ in range(STEPS):
        before, nearest = nearest, first_largest(rows @ centres.T, within=COSINES)
        if torch.equal(before, nearest):
            break
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
        rows_of = torch.bincount(nearest, minlength=k)[:, None]
        lost = torch.linalg.vector_norm(sums, dim=1, keepdim=True) <= COSINES * rows_of
        centres = torch.where(lost, centres, F.normalize(sums, dim=1))
    return centres


def _canonical_maps(data: Reduced, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Power-weighted canonical directions between the sides' summaries, as wide as both allow."""
    moments = paired_moments(_summary(data, 0, rows), _summary(data, 1, rows))
    a, correlations, b = canonical(moments, RIDGE)
    weight = power_weights(correlations, POWER)
    return (a * weight).float(), (b * weight).float()


def _summary(data: Reduced, side: int, rows: Tensor) -> Tensor:
    """One vector per item: the mean of its reduced states, or the centred pooled vector."""
    tokens = data.taken(side, rows)
    if tokens is None:
        pooled = data.pooled(side)[rows]
        return centred(pooled, directions(pooled).mean(dim=0))
    return torch.segment_reduce(tokens.tokens, "mean", lengths=tokens.lengths, axis=0)


def _bands(weight: Tensor, count: int) -> Tensor:
    """``count`` copies of a map, ``(count, d, width)``, each favouring a band of directions.

    Outside its band a head sees every direction at half weight, so that it is useful by itself.
    """
    width = weight.shape[1]
    band = torch.arange(width) * count // width
    favoured = band == torch.arange(count)[:, None]
    return weight * (0.5 + 0.5 * favoured)[:, None]
