"""Where meta tokens start: closed-form aspects that are useful before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.closed_form.moments import paired_moments
from align.adapters.closed_form.rcca import canonical, power_weights
from align.adapters.maps.linear import centred, directions
from align.adapters.multi_vector.aspects import (
    Aspects,
    Heads,
    Reduction,
    Resampler,
    Selector,
    TokenAspects,
)
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.scoring.ties import COSINES, falling_order, first_largest

SAMPLE = 65536  # token states behind means, axes and clusters: a bound on cost
TOLD = 500  # pairs by which meta tokens are ordered
STEPS = 50  # of k-means at most
TELLING = 1e-3  # standard deviations by which an aspect must tell more to come first
RIDGE, POWER = (1.0, 1.0), 0.5  # a start that training or cross-validation judges, not a result

Kind = Literal["shared", "paired"]


@dataclass(frozen=True, slots=True)
class Start:
    """One way to start.

    Attributes:
        kind: ``"shared"``: both sides keep one basis of token states, which needs one encoder or
            two whose token states have one width. ``"paired"``: regularised CCA between the sides'
            mean states.
        sharpness: Length of the meta tokens' queries; 0 pools evenly.
        mix: Share of the aspect in a further vector, in (0, 1).
        select: The sides, 0 source and 1 target, that show some of their token states as they are
            instead of attending over all; for items that are lists of parts.
    """

    kind: Kind
    sharpness: float
    mix: float
    select: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """Token pairs with their token states reduced once and for all.

    Attributes:
        pairs: The pairs, for their pooled vectors.
        reductions: Of the source and the target side, ``None`` without token states.
        tokens: Reduced token states of both sides, ``None`` without.
    """

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
    samples = [_sample(tokens, generator) for tokens in (pairs.source, pairs.target)]
    known = [rows for rows in samples if rows is not None]
    means = [None if rows is None else rows.mean(dim=0) for rows in samples]
    left = [
        None if rows is None or mean is None else F.normalize(rows - mean, dim=1)
        for rows, mean in zip(samples, means, strict=True)
    ]
    share = len(known) == 2 and known[0].shape[1] == known[1].shape[1]
    joint = torch.cat([rows for rows in left if rows is not None]) if share else None
    reductions: list[Reduction | None] = []
    tokens: list[MultiVector | None] = []
    for side, mean, rows in zip((pairs.source, pairs.target), means, left, strict=True):
        if side is None or mean is None or rows is None:
            reductions.append(None)
            tokens.append(None)
            continue
        reduction = Reduction(mean, _axes(rows if joint is None else joint, width))
        reductions.append(reduction)
        tokens.append(reduction(side))
    return Reduced(pairs, (reductions[0], reductions[1]), (tokens[0], tokens[1]))


def aspects(
    data: Reduced, rows: Tensor, start: Start, counts: Sequence[int], generator: torch.Generator
) -> tuple[Aspects, Aspects]:
    """Untrained aspects of both sides, from the training ``rows`` alone.

    Args:
        data: All pairs, reduced.
        rows: Rows to start from, int64.
        start: Which way.
        counts: Meta tokens that each further budget adds, coarse to fine: each is a clustering of
            its own, so that few look broadly and many look closely.
        generator: Draws the first centres.
    """
    maps: tuple[Tensor | None, Tensor | None] = (None, None)
    if start.kind == "paired":
        maps = _canonical_maps(data, rows)
    shared = None
    if start.kind == "shared":
        states = [data.taken(side, rows) for side in (0, 1)]
        joint = torch.cat([tokens.tokens for tokens in states if tokens is not None])
        shared = _centres(joint, counts, generator)
    found: list[Aspects] = []
    for side in (0, 1):
        tokens, reduction, weight = data.taken(side, rows), data.reductions[side], maps[side]
        if tokens is None or reduction is None:
            assert weight is not None, "a side without tokens starts paired"
            mean = directions(data.pooled(side)[rows]).mean(dim=0)
            found.append(Heads(mean, _bands(weight, sum(counts))))
            continue
        weight = torch.eye(tokens.dim) if weight is None else weight
        if side in start.select:
            found.append(TokenAspects(reduction, Selector(weight, count=sum(counts))))
            continue
        centres = shared if shared is not None else _centres(tokens.tokens, counts, generator)
        found.append(TokenAspects(reduction, Resampler(centres * start.sharpness, weight)))
    _put_telling_first(data, rows, (found[0], found[1]), counts)
    return found[0], found[1]


@torch.no_grad()
def _put_telling_first(
    data: Reduced, rows: Tensor, sides: tuple[Aspects, Aspects], counts: Sequence[int]
) -> None:
    """Order meta tokens within each budget by how well their aspects tell pairs apart.

    Queries ask with the first ones, and k-means knows no order. An aspect tells as much as its
    similarity to the even aspect of its partner (that of the mean state) stands out from its
    similarity to the even aspects of others, in standard deviations.
    """
    rows = rows[:: max(1, -(-len(rows) // TOLD))]
    even = [_even(part, data, side, rows) for side, part in enumerate(sides)]
    for side, part in enumerate(sides):
        if isinstance(part, Heads) or isinstance(part.resampler, Selector):
            continue
        tokens = data.taken(side, rows)
        assert tokens is not None, "aspects of tokens are made from tokens"
        near = torch.einsum("nrd,md->rnm", part.resampler(tokens), even[1 - side])
        matched = near.diagonal(dim1=1, dim2=2).mean(dim=1)
        telling = (matched - near.mean(dim=(1, 2))) / near.std(dim=(1, 2))
        blocks = torch.split(telling, list(counts))
        order = [falling_order(block, within=TELLING) for block in blocks]
        starts = [sum(counts[:number]) for number in range(len(counts))]
        places = torch.cat([block + first for block, first in zip(order, starts, strict=True)])
        part.resampler.queries.copy_(part.resampler.queries[places].clone())


def _even(part: Aspects, data: Reduced, side: int, rows: Tensor) -> Tensor:
    """What a side's map makes of each item's summary, unit norm, ``(n, width)``."""
    weight = part.weight.mean(dim=0) if isinstance(part, Heads) else part.resampler.weight
    return F.normalize(_summary(data, side, rows) @ weight, dim=1)


def _sample(tokens: MultiVector | None, generator: torch.Generator) -> Tensor | None:
    """Unit-norm float32 token states of whole items, about ``SAMPLE`` of them."""
    if tokens is None:
        return None
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
    """``count`` copies of a map, each favouring a band of canonical directions, strongest first.

    Outside its band a head sees every direction at half weight: so it starts useful by itself, and
    heads differ as far as there are directions to favour. ``(count, d, width)``.
    """
    width = weight.shape[1]
    band = torch.arange(width) * count // width
    favoured = band == torch.arange(count)[:, None]
    return weight * (0.5 + 0.5 * favoured)[:, None]
