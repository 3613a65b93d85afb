"""Where true pairs stand among false ones: counts of what is closer, whatever the scale.

Ties count half, so that vectors which all coincide come out at chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from align.data.random_pairings import random_pairings
from align.scoring.inner_products import inner_products
from probes.estimates import Measured, Null, Replicate, sizes_of_others, sums_of_groups
from probes.inputs import Matrix, paired_directions
from probes.nulls import upper_p
from probes.pairing.chance import partner_groups
from probes.space import Probe, Space

_ROWS = 512  # rows of cosines compared at a time: a block stays in the cache
_DRAWS = 199  # random pairings behind a p-value, whose floor is 1 / 200
_COSINES = 1 << 20  # cosines that a pair's place among all of them is read from, at most
_ROUNDING = 1e-9  # sums of fractions that differ by less are equal


def matching_auc(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Chance that a true pair has a higher cosine than a false pair; higher is better.

    The area under the ROC curve of the cosine as a detector of true pairs: over all true pairs
    ``i`` and all ``j, k`` of different groups, the share with ``cos(z_i, w_i) > cos(z_j, w_k)``,
    ties half. In [0, 1]; 1/2 where pairs mean nothing. One threshold has to serve for all items:
    items that are close to everything lower it, though each may rank its partner first. Cost
    O(n² (d + log n)) and ``n²`` cosines held.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings, ``(n, d)``, no row zero.
        target: Target embeddings of the same pairs, ``(n, d)``, no row zero.
        groups: Group name of each pair: pairs of one group are never false pairs.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with directions,
            ``groups`` do not fit, or all pairs are of one group.

    Meaning:
        How often a true pair is more alike than a false one, all compared with all.

    Beware:
        It compares different queries with each other, and a high value still allows many rivals in
        a large gallery.

    Range:
        In [0, 1]; 0.5 with nothing there; higher is better.

    Reference:
        Bamber 1975, doi:10.1016/0022-2496(75)90001-2, for the area as a chance with ties half.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(5)
        >>> probes.matching_auc(x, x)
        1.0
    """
    return _auc(*_cosines(source, target, groups))[0]


def foscttm(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Fraction of samples closer than the true match, mean of both directions; lower is better.

    The mean of ``fractions_closer``, in [0, 1]: 0 where every item has its partner nearest, 1/2
    where pairs mean nothing. Unlike recall it does not depend on the size of the gallery. Cost
    O(n² d) and ``n²`` cosines held.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings, ``(n, d)``, no row zero.
        target: Target embeddings of the same pairs, ``(n, d)``, no row zero.
        groups: Group name of each pair: items of the own group are neither closer nor farther.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with directions,
            ``groups`` do not fit, or all pairs are of one group.

    Meaning:
        How many of the other items lie closer than the true partner, whatever the size of the
        gallery.

    Beware:
        One per cent of a million items is still ten thousand in front, and a rough place of the
        cloud is enough to be well below 0.5.

    Range:
        In [0, 1]; 0.5 with nothing there; lower is better.

    Reference:
        Liu et al. 2019, doi:10.4230/LIPIcs.WABI.2019.10, by Euclidean distance, which orders unit
        vectors as the cosine does. Here ties count half and the partner is no candidate, so that
        chance is 1/2 exactly.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(5)
        >>> probes.foscttm(x, x), probes.foscttm(x, -x)
        (0.0, 1.0)
    """
    return fractions_closer(source, target, groups=groups).mean().item()


def fractions_closer(
    source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None
) -> Tensor:
    """Fraction of other items closer to a pair's item than its partner, ``(n,)``; lower is better.

    The mean of both directions: of target items closer to the source item, and of source items
    closer to the target item, ties half, items of the own group left out. Float64 in [0, 1];
    1/2 on average where pairs mean nothing. Cost O(n² d) and ``n²`` cosines held.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings, ``(n, d)``, no row zero.
        target: Target embeddings of the same pairs, ``(n, d)``, no row zero.
        groups: Group name of each pair: items of the own group are neither closer nor farther.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with directions,
            ``groups`` do not fit, or all pairs are of one group.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(3)
        >>> probes.fractions_closer(x, x[[0, 2, 1]]).tolist()
        [0.0, 0.75, 0.75]
    """
    return _closer(*_cosines(source, target, groups))[0]


def _cosines(source: Matrix, target: Matrix, groups: Sequence[str] | None) -> tuple[Tensor, Tensor]:
    x, y, codes = paired_directions(source, target, groups)
    return inner_products(x, y), codes


def _blocks(cross: Tensor, codes: Tensor, fill: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and their cosines, ``(b,)`` and ``(b, n)``, with ``fill`` where groups are the same."""
    for rows in torch.split(torch.arange(len(codes)), _ROWS):
        yield rows, cross[rows].masked_fill_(codes[rows, None] == codes, fill)


def _product(value: float, *parts: tuple[Tensor, Tensor]) -> Replicate:
    """Replicates: the value times, for each role of a pair, what came over what is expected.

    To first order this is the bootstrap of the double or triple mean of counts itself, and it
    stays on the right side of 0 where a sum of influences would not. A part is what came and what
    is expected, both ``(n,)`` float64 and of the same sum.
    """

    def replicate(weights: Tensor) -> Tensor:
        # Without a count there is nothing to weigh.
        if value == 0:
            return torch.zeros(len(weights), dtype=torch.float64)
        shares = [(weights @ came) / (weights @ expected) for came, expected in parts]
        return value * torch.stack(shares).prod(dim=0)

    return replicate


def _auc(cross: Tensor, codes: Tensor) -> tuple[float, Replicate]:
    """The area under the ROC curve and its replicates.

    What is missing to 1 is a mean over a true pair ``i`` and a false pair ``j, k``. A pair of rows
    has a part in it as ``i``, through the false pairs above it, and as ``j`` and as ``k``, through
    the true pairs below the false ones of its row and of its column: the placements of DeLong et
    al. 1988, doi:10.2307/2531595, where no item is on both sides.
    """
    n = len(codes)
    true, at, times = torch.unique(cross.diagonal(), return_inverse=True, return_counts=True)
    # Slot 2 j + 1 is for a false cosine equal to the j-th true one, slot 2 j for one just below it.
    edges = torch.stack([true, true.nextafter(torch.full_like(true, torch.inf))], dim=1).flatten()
    below = torch.zeros(len(edges) + 1, dtype=torch.float64)
    below[2::2] = times.cumsum(0)
    below[1::2] = below[2::2] - times.double() / 2
    below /= n
    false = torch.zeros(len(below), dtype=torch.int64)
    by_row, by_column = torch.zeros(2, n, dtype=torch.float64)
    # A pair of one group is put below all true ones, where it counts for nothing.
    for rows, block in _blocks(cross, codes, -torch.inf):
        slots = torch.searchsorted(edges, block, right=True, out_int32=True).flatten()
        false += torch.bincount(slots, minlength=len(false))
        shares = below.index_select(0, slots).view_as(block)
        by_row[rows] = shares.sum(dim=1)
        by_column += shares.sum(dim=0)
    others = sizes_of_others(codes).double()
    missing = (by_row.sum() / others.sum()).item()
    # Counted from the top, where no pair of one group is.
    above = false.flip(0).cumsum(0).flip(0) - false.double() / 2
    by_true = above[1::2][at] / others.sum()
    replicate = _product(
        missing,
        (by_true, torch.full_like(by_true, missing)),
        (by_row, missing * others),
        (by_column, missing * others),
    )
    return 1 - missing, lambda weights: 1 - replicate(weights)


def _closer(cross: Tensor, codes: Tensor) -> tuple[Tensor, Replicate]:
    """Fractions closer than the partner, ``(n,)``, and the replicates of their mean.

    A pair has a part in the mean through its own fraction, and through how often its items come
    between other partners.
    """
    n, true = len(codes), cross.diagonal().contiguous()
    others = sizes_of_others(codes).double()
    share = 1 / others
    # Sums of signs are exact in float32, so they are taken for each weight apart.
    of_share, kind = torch.unique(share, return_inverse=True)
    is_kind = F.one_hot(kind).to(cross.dtype)
    closer, between = torch.zeros(2, n, dtype=torch.float64)
    # Signs -1, 0 and 1 become counts 0, 1/2 and 1; a pair of one group counts 0.
    for rows, block in _blocks(cross, codes, -torch.inf):
        forth = (block - true[rows, None]).sign_()
        closer[rows] += forth.sum(dim=1)
        between += of_share @ (is_kind[rows].T @ forth).double()
        back = (block - true).sign_()
        closer += back.sum(dim=0)
        between[rows] += (back @ is_kind).double() @ of_share
    fractions = (closer / 2 + n) / 2 / others
    came = (between / 2 + share.sum()) / 2
    shares = fractions * share
    expected = shares.sum() - sums_of_groups(shares, codes)[codes]
    value = fractions.mean().item()
    return fractions, _product(
        value, (fractions, torch.full_like(fractions, value)), (came, expected)
    )


def _pairings(space: Space) -> Tensor:
    """The true pairing and random ones of whole groups, ``(1 + _DRAWS, n)`` int64."""
    drawn = random_pairings(space.codes, _DRAWS, space.generator("random pairing"))
    return torch.cat([torch.arange(space.n)[None], drawn])


def _p_of_auc(space: Space) -> float:
    """Chance that partners drawn at random stand as high among all cosines, in (0, 1].

    By the mean share of all cosines that are below those of the partners. Without ties it orders
    pairings of single pairs as the area does, since partners among themselves always count alike.
    """
    step = -(-space.cross.numel() // _COSINES)
    rising = torch.from_numpy(np.sort(space.cross.flatten()[::step].numpy()))
    own = space.cross[torch.arange(space.n), _pairings(space)]
    places = torch.searchsorted(rising, own) + torch.searchsorted(rising, own, right=True)
    sums = places.sum(dim=1).double()
    return upper_p(sums[0].item(), sums[1:])


def _p_of_closer(space: Space) -> float:
    """Chance that partners drawn at random have as few other items between them, in (0, 1]."""
    pairings, codes = _pairings(space), space.codes
    forth = _sums_closer(space.cross, codes, pairings)
    sums = -forth - _sums_closer(space.cross.T, codes, pairings.argsort(dim=1), turned=True)
    return upper_p(sums[0].item() - _ROUNDING, sums[1:])


def _sums_closer(cross: Tensor, codes: Tensor, pairings: Tensor, *, turned: bool = False) -> Tensor:
    """Sum over rows of the fraction of items closer than the partner, ``(draws,)`` float64."""
    total = torch.zeros(len(pairings), dtype=torch.float64)
    for block, partners, there in partner_groups(codes, pairings, turned=turned):
        scores = cross[block]
        at = torch.arange(len(block))
        mine = scores[at, pairings[:, block]]
        rising = torch.from_numpy(np.sort(scores.numpy(), axis=1))
        sides = mine.T.contiguous()
        below, upto = (torch.searchsorted(rising, sides, right=right) for right in (False, True))
        # Twice the items above, ties counting once, and the same of the own group.
        above = 2 * len(codes) - below - upto
        group = scores[at[None, :, None], partners] - mine[:, :, None]
        of_group = ((group.sign() + 1) * there).sum(dim=2)
        others = (len(codes) - there.sum(dim=2)).double()
        total += ((above.T - of_group).double() / 2 / others).sum(dim=1)
    return total


def _measure_matching_auc(space: Space) -> Measured:
    value, replicate = _auc(space.cross, space.codes)
    return Measured(value, replicate, null=Null(0.5, _p_of_auc(space)))


def _measure_foscttm(space: Space) -> Measured:
    fractions, replicate = _closer(space.cross, space.codes)
    return Measured(fractions.mean().item(), replicate, null=Null(0.5, _p_of_closer(space)))


_probe = partial(
    Probe,
    family="pairing",
    needs="common space",
    interval="bootstrap over pairs, to first order",
    null="random pairing: 0.5",
)
MATCHING_AUC = _probe(
    name="matching_auc",
    label="AUC of true against false pairs",
    extreme=1.0,
    function=matching_auc,
    better="higher",
    measure=_measure_matching_auc,
)
FOSCTTM = _probe(
    name="foscttm",
    label="FOSCTTM",
    better="lower",
    measure=_measure_foscttm,
    extreme=0.0,
    function=foscttm,
)
