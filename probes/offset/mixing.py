"""How the two modalities share neighbourhoods, and what a gallery that holds both gives a user.

Both sides go into one set of ``2n`` items. An item's own group never counts as a neighbour of its
own modality; whether the partners across count is what distinguishes the quantities here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from align._checks import check_k
from align.metrics.ranks import Ranks, normalised_gains_at_k
from align.scoring.inner_products import inner_products
from align.scoring.ties import PRODUCTS
from probes.estimates import Measured, Null, SmoothEstimate, mean_of, sizes_of_others
from probes.inputs import Matrix, paired_directions
from probes.nulls import NO_OFFSET, random_signs, upper_p
from probes.space import SAMPLE, K, Probe, Space

_DRAWS = 499  # swaps of the sides under the null
_ROWS = 1_024  # queries scored at a time; ``(_ROWS, 2n)`` scores are held


def modality_mixing(
    source: Matrix, target: Matrix, *, k: int = K, groups: Sequence[str] | None = None
) -> float:
    """Share of the other modality among the nearest neighbours of an item; higher is better.

    The mean over all ``2n`` items of the share of opposite-modality items among the ``k`` nearest
    by cosine. The item itself, its partner and the rest of its group are left out on both sides, so
    that pairing does not enter. Items that tie at the cut share the places that are left.

    In [0, 1]; 0 where the modalities are separated, and exactly 0.5 where they are one
    distribution, so that swapping the sides of a pair changes nothing. More occurs where items
    repel their own modality. Compare equal ``n`` only. Costs O(n^2 d) time and O(n) memory.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings without zero rows, ``(n, d)``.
        target: Target embeddings of the same pairs, ``(n, d)``.
        k: Neighbourhood size, at most the number of items outside the largest group.
        groups: Group name of each pair; each pair is its own group if left out.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with a direction in
            every row, there are fewer than two groups, or ``k`` is out of range.

    Meaning:
        How many of an item's nearest neighbours are of the other side, where half would be if the
        sides were one cloud.

    Beware:
        It falls with the number of items at one and the same gap; compare equal numbers of pairs
        only.

    Range:
        In [0, 1]; 0.5 with nothing there; higher is better.

    Reference:
        Schilling 1986, doi:10.1080/01621459.1986.10478337, and Henze 1988,
        doi:10.1214/aos/1176350835, whose statistic is one minus this share; they know no pairs, and
        so leave out only the item itself.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.rand(40, 8, generator=rng), dim=1)
        >>> probes.modality_mixing(x, -x)
        0.0
    """
    places = _neighbours(*paired_directions(source, target, groups), k)
    return torch.cat([each.other.sum(dim=1).double() / k for each in places]).mean().item()


def mixed_gallery_ndcg(
    source: Matrix, target: Matrix, *, k: int = K, groups: Sequence[str] | None = None
) -> float:
    """Mean nDCG@k where each item searches a gallery of both modalities; higher is better.

    The gallery holds all source and all target items, one to one; every item is a query once. What
    is relevant is the partner across, with the rest of its group across. The query itself and the
    items of its group of its own modality are left out of its gallery: they neither cross nor
    mislead. Ties count against us.

    In [0, 1]; 1 where every item finds its partner before anything else, of either modality. A
    random order gives ``sum_{j <= k} (p/m) / log2(j + 1)`` over the largest possible sum for ``p``
    relevant items among ``m``, which is about 0 for a large gallery. The value depends on ``n``:
    compare equal ``n`` only. Costs O(n^2 d) time and O(n) memory.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings without zero rows, ``(n, d)``; scored by cosine.
        target: Target embeddings of the same pairs, ``(n, d)``.
        k: Cut-off, at most the size of the smallest gallery.
        groups: Group name of each pair; each pair is its own group if left out.

    Raises:
        ValueError: As for ``modality_mixing``.

    Meaning:
        How near the top partners stand when the gallery holds items of both sides.

    Beware:
        It mixes two questions: whether partners are found, and whether items of the query's own
        side crowd them out.

    Range:
        In [0, 1]; the value of a random order with nothing there; higher is better.

    Reference:
        Li et al. 2025 (GR-CLIP), arXiv:2507.19054. Their galleries hold each document in
        one modality, ours hold both sides of every pair, so that each query has its answer there.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(20)
        >>> probes.mixed_gallery_ndcg(x, x, k=5)
        1.0
    """
    return _gains(*paired_directions(source, target, groups), k).mean().item()


def mixed_gallery_share(
    source: Matrix, target: Matrix, *, k: int = K, groups: Sequence[str] | None = None
) -> float:
    """Share of the query's modality in its top k of a mixed gallery; nearest the prior is best.

    The gallery is that of ``mixed_gallery_ndcg``. In [0, 1]. The prior is the share of the query's
    modality in its gallery, ``(n - 1) / (2n - 1)`` where each pair is its own group, and what a
    random order gives; 1 means that a user never sees the other modality. Where partners come first
    and nothing else tells the modalities apart it is about ``1 / 2k`` below the prior, as the
    partner takes a place. Items that tie at the cut share the places that are left. Costs O(n^2 d)
    time and O(n) memory.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings without zero rows, ``(n, d)``; scored by cosine.
        target: Target embeddings of the same pairs, ``(n, d)``.
        k: Cut-off, at most the size of the smallest gallery.
        groups: Group name of each pair; each pair is its own group if left out.

    Raises:
        ValueError: As for ``modality_mixing``.

    Meaning:
        How many of the best answers are of the query's own side when the gallery holds both.

    Beware:
        The share of a random order is no goal of its own: a perfect search puts the partner first
        and so lies a little below it.

    Range:
        In [0, 1]; the share of the gallery that is of the own side with nothing there; neither is
        better.

    Reference:
        Li et al. 2025 (GR-CLIP), arXiv:2507.19054, who call it intra-modal ranking bias.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.rand(40, 8, generator=rng), dim=1)
        >>> probes.mixed_gallery_share(x, -x, k=10)
        1.0
    """
    places = _top(*paired_directions(source, target, groups), k)
    return torch.cat([each.own.sum(dim=1).double() / k for each in places]).mean().item()


class _Block(NamedTuple):
    """Cosines of some queries of one side with a gallery that holds both sides."""

    rows: Tensor  # pairs that the queries are of, (b,)
    scores: Tensor  # (b, 2n): first the query's own modality, then the other
    mine: Tensor  # whether a pair is of the query's group, (b, n)


class _Places(NamedTuple):
    """Which of a query's ``k`` places each item takes; rows sum to ``k`` over both tensors."""

    rows: Tensor  # pairs that the queries are of, (b,)
    own: Tensor  # items of the query's modality, (b, n)
    other: Tensor  # items of the other modality, (b, n)


def _blocks(x: Tensor, y: Tensor, codes: Tensor) -> Iterator[_Block]:
    """All source items as queries, in order, then all target items."""
    for own, other in ((x, y), (y, x)):
        gallery = torch.cat([own, other])
        for rows in torch.split(torch.arange(len(own)), _ROWS):
            # One product for both modalities: equal items must tie to the last bit.
            scores = inner_products(own[rows], gallery)
            yield _Block(rows, scores, codes[rows, None] == codes)


def _neighbours(x: Tensor, y: Tensor, codes: Tensor, k: int) -> Iterator[_Places]:
    check_k(k, 2 * (len(codes) - _largest(codes)), of="the items outside the largest group")
    for block in _blocks(x, y, codes):
        left_out = torch.cat([block.mine, block.mine], dim=1)
        yield _placed(block.rows, block.scores.masked_fill_(left_out, -torch.inf), k)


def _top(x: Tensor, y: Tensor, codes: Tensor, k: int) -> Iterator[_Places]:
    _check_cut_off(codes, k)
    for block in _blocks(x, y, codes):
        block.scores[:, : len(codes)].masked_fill_(block.mine, -torch.inf)
        yield _placed(block.rows, block.scores, k)


def _placed(rows: Tensor, scores: Tensor, k: int) -> _Places:
    cut = scores.topk(k, dim=1).values[:, -1:]
    above, tied = scores > cut + PRODUCTS, (scores - cut).abs() <= PRODUCTS
    left = k - above.sum(dim=1, keepdim=True)
    places = above + tied * (left / tied.sum(dim=1, keepdim=True))
    return _Places(rows, *places.tensor_split(2, dim=1))


def _gains(x: Tensor, y: Tensor, codes: Tensor, k: int) -> Tensor:
    """nDCG@k of each query, source items first, ``(2n,)`` float64."""
    _check_cut_off(codes, k)
    n = len(codes)
    ranks, positives = [], []
    for block in _blocks(x, y, codes):
        wanted = block.mine.sum(dim=1)
        best = block.scores[:, n:].masked_fill(~block.mine, -torch.inf).topk(int(wanted.max()))
        rivals = block.scores.masked_fill_(torch.cat([block.mine, block.mine], dim=1), -torch.inf)
        # More than k rivals ahead need no count: no rank past k gains anything.
        ahead = rivals.topk(k, dim=1).values
        as_high = (ahead[:, None, :] >= best.values[:, :, None] - PRODUCTS).sum(dim=2)
        order = torch.arange(1, best.values.shape[1] + 1)
        ranks.append((as_high + order)[order <= wanted[:, None]])
        positives.append(wanted)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cat(positives).cumsum(0)])
    return normalised_gains_at_k(Ranks(torch.cat(ranks), offsets), k)


def _check_cut_off(codes: Tensor, k: int) -> None:
    check_k(k, 2 * len(codes) - _largest(codes), of="the size of the smallest gallery")


def _largest(codes: Tensor) -> int:
    return int(torch.bincount(codes).max())


def _expected_gain(codes: Tensor, k: int) -> float:
    """nDCG@k of a mixed gallery in random order."""
    relevant = torch.bincount(codes)[codes]
    discounts = (torch.arange(k) + 2.0).double().log2().reciprocal()
    most = discounts.cumsum(0)[relevant.clamp(max=k) - 1]
    return (relevant / (2 * len(codes) - relevant) * discounts.sum() / most).mean().item()


class _Shares(NamedTuple):
    """What the places of all items say of the modalities in them."""

    own: Tensor  # mean own-modality share of the two items of each pair, (n,) float64
    other: Tensor  # the same of the other modality
    # First-order effect of each pair on the mean of own, (n,) float64: its own share, and what it
    # does to that of others by being near them. Without it, a place would go to the next item,
    # which is of either modality as the rest of the places are.
    influence: Tensor
    # Places of own less places of the other modality, (n, n). Where signs s swap the sides of
    # pairs, s' signed s is the sum over all items of that difference.
    signed: Tensor

    @classmethod
    def of(cls, blocks: Iterator[_Places], n: int, k: int) -> _Shares:
        own, other = [], []
        signed, received = torch.zeros(n, n), torch.zeros(n)
        for places in blocks:
            own.append(places.own.sum(dim=1))
            other.append(places.other.sum(dim=1))
            signed[places.rows] += places.own - places.other
            received += places.own.sum(dim=0) - own[-1] @ (places.own + places.other) / k
        of_pairs = _per_pair(torch.cat(own)) / k
        influence = of_pairs + received.double() / (2 * k)
        return cls(of_pairs, _per_pair(torch.cat(other)) / k, influence, signed)


def _per_pair(of_items: Tensor) -> Tensor:
    """Mean over the two items of each pair, ``(n,)``, from ``(2n,)``."""
    return of_items.double().reshape(2, -1).mean(dim=0)


def _measure_modality_mixing(space: Space) -> Measured:
    part, rows = space.sample(SAMPLE)
    shares = _Shares.of(_neighbours(part.source, part.target, part.codes, K), part.n, K)
    value = shares.other.mean().item()
    p = None
    if not space.is_centred:
        signs = random_signs(part.codes, _DRAWS, space.generator("modality_mixing")).float()
        under_null = ((signs @ shares.signed) * signs).sum(dim=1)
        p = upper_p(shares.signed.sum().item(), under_null)
    notes = (NO_OFFSET,) if space.is_centred else ()
    estimate = SmoothEstimate(value, -shares.influence)
    return estimate.measured(Null(0.5, p), rows=rows, notes=notes)


def _measure_mixed_gallery_ndcg(space: Space) -> Measured:
    part, rows = space.sample(SAMPLE)
    value, replicate = mean_of(_per_pair(_gains(part.source, part.target, part.codes, K)))
    return Measured(value, replicate, null=Null(_expected_gain(part.codes, K)), rows=rows)


def _measure_mixed_gallery_share(space: Space) -> Measured:
    part, rows = space.sample(SAMPLE)
    shares = _Shares.of(_top(part.source, part.target, part.codes, K), part.n, K)
    own = sizes_of_others(part.codes)
    prior = (own / (own + part.n)).double().mean().item()
    estimate = SmoothEstimate(shares.own.mean().item(), shares.influence)
    return estimate.measured(Null(prior), rows=rows)


_LINEARISED = "bootstrap over pairs, linearised: up to half too wide"

MODALITY_MIXING = Probe(
    name="modality_mixing",
    label=f"Other modality among {K} nearest",
    extreme=0.0,
    function=modality_mixing,
    family="offset",
    better="higher",
    needs="common space",
    measure=_measure_modality_mixing,
    interval=_LINEARISED,
    null="one distribution: 0.5; p by swapping the two sides of random pairs",
)

_gallery_probe = partial(Probe, family="pathology", needs="common space")

MIXED_GALLERY_NDCG = _gallery_probe(
    name="mixed_gallery_ndcg",
    label=f"nDCG@{K} in a mixed gallery",
    extreme=1.0,
    function=mixed_gallery_ndcg,
    better="higher",
    measure=_measure_mixed_gallery_ndcg,
    interval="bootstrap over pairs, gallery held fixed",
    null="gallery in random order",
)
MIXED_GALLERY_SHARE = _gallery_probe(
    name="mixed_gallery_share",
    label=f"Own modality in top {K} of a mixed gallery",
    extreme=1.0,
    function=mixed_gallery_share,
    better="neither",
    measure=_measure_mixed_gallery_share,
    interval=_LINEARISED,
    null="gallery in random order: own-modality share of the gallery",
)
