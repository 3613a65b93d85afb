"""How close partners are, against pairs of strangers and against items of one side.

All of it is means of cosines, and a mean over all pairs of rows is a product of two sums: nothing
of size n² is needed for a value or its bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from align.data.random_pairings import random_pairings
from probes.estimates import Measured, Null, Replicate, mean_of, pairs_apart, sums_of_groups
from probes.inputs import Matrix, paired_directions
from probes.nulls import upper_p
from probes.space import Probe, Space

_DRAWS = 199  # random pairings behind a p-value, whose floor is 1 / 200
_ROUNDING = 1e-6  # one less a cosine, where it is below this, is rounding of float32 vectors


def mean_margin(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Mean cosine of true pairs less the mean cosine of false pairs; higher is better.

    ``mean cos(z_i, w_i) - mean cos(z_i, w_j)`` over all ``i``, and all ``i, j`` of different
    groups. In [-2, 2]; 0 where pairs mean nothing. Unlike the cosine itself it does not rise where
    all vectors crowd into a cone. Cost O(n d).

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings, ``(n, d)``, no row zero.
        target: Target embeddings of the same pairs, ``(n, d)``, no row zero.
        groups: Group name of each pair: pairs of one group are never false pairs.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with directions,
            ``groups`` do not fit, or all pairs are of one group.

    Meaning:
        How much more alike true pairs are than false ones, in cosine.

    Beware:
        It grows and shrinks with all cosines of a space: compare it within one encoder only.

    Range:
        In [-2, 2], for many pairs in [-1, 1]; 0 with nothing there; higher is better.

    Reference:
        Ours; it is the trace of the covariance of both sides, without bias.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(4)
        >>> probes.mean_margin(x, x)
        1.0
    """
    return _margin(*paired_directions(source, target, groups))[0]


def relative_modality_gap(
    source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None
) -> float:
    """Distance of partners relative to distances within the sides (RMG); lower is better.

    ``m / (m + (s_z + s_w) / 2)`` with distance ``(1 - cos) / 2``: ``m`` its mean over true pairs,
    ``s_z`` and ``s_w`` over rows of different groups of one side. In [0, 1]: 0 where partners
    coincide, 1/2 where a partner is as far away as any item of one's own side. Partners drawn at
    random give 1/2 where the sides share one distribution, and more where a gap parts them.
    Cost O(n d).

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings, ``(n, d)``, no row zero.
        target: Target embeddings of the same pairs, ``(n, d)``, no row zero.
        groups: Group name of each pair: pairs of one group do not count as different items.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with directions,
            ``groups`` do not fit, all pairs are of one group, or all rows of both sides are one
            point.

    Meaning:
        How far partners are apart against how far items of one side are.

    Beware:
        A side that collapses makes its own items alike, which raises the value though no partner
        moved.

    Range:
        In [0, 1]; 0.5 or, where a gap parts the sides, more with nothing there; lower is better.

    Reference:
        Schrodi et al. 2024, arXiv:2404.07983, the relative modality gap (RMG). As there, an item is
        not compared with itself; here pairs of one group are left out as well, and partners that
        coincide give 0 (the authors' code puts 0.001 in place of a distance of 0).

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(4)
        >>> probes.relative_modality_gap(x, x)
        0.0
    """
    return _relative_gap(*paired_directions(source, target, groups))[0]


def mean_product_apart(x: Tensor, y: Tensor, codes: Tensor) -> tuple[float, Replicate]:
    """Mean inner product of a row of ``x`` with a row of ``y`` of another group, and replicates.

    Both are exact, and summed in float64: the sum over all pairs of rows is the product of both
    sums, less that of each group. Cost O(n d), and O(b n d) for the replicates of ``b`` draws.
    """
    own = (x.double() * sums_of_groups(y.double(), codes)[codes]).sum(dim=1)

    def replicate(weights: Tensor) -> Tensor:
        left = weights @ x.double()
        right = left if y is x else weights @ y.double()
        # Weights are equal within a group, so the square of its weight stands before its products.
        sums = (left * right).sum(dim=1) - weights.square() @ own
        return sums / pairs_apart(weights, codes)

    return replicate(torch.ones(1, len(codes), dtype=torch.float64)).item(), replicate


def p_of_mean_cosine(space: Space) -> float:
    """Chance that partners drawn at random have a mean cosine as high as the true ones, in (0, 1].

    The margin, the relative gap and the squared distance of pairs move with that mean alone when
    partners are exchanged, and so share p.
    """
    rows = torch.arange(space.n)
    partners = random_pairings(space.codes, _DRAWS, space.generator("random pairing"))
    # The true pairing is one more row, so that equal means are equal to the last bit.
    cosines = space.cross[rows, torch.cat([rows[None], partners])].double().mean(dim=1)
    return upper_p(cosines[0].item(), cosines[1:])


def _margin(x: Tensor, y: Tensor, codes: Tensor) -> tuple[float, Replicate]:
    true, true_of = mean_of((x.double() * y.double()).sum(dim=1))
    false, false_of = mean_product_apart(x, y, codes)

    def replicate(weights: Tensor) -> Tensor:
        return true_of(weights) - false_of(weights)

    return true - false, replicate


def _relative_gap(x: Tensor, y: Tensor, codes: Tensor) -> tuple[float, float, Replicate]:
    """The relative gap, what it is for partners drawn at random, and its replicates."""
    # One less the cosine, as half of a square: 0 where partners coincide, and never below.
    apart, apart_of = mean_of((x.double() - y.double()).square().sum(dim=1) / 2)
    within_x, within_x_of = mean_product_apart(x, x, codes)
    within_y, within_y_of = mean_product_apart(y, y, codes)
    within = 1 - (within_x + within_y) / 2
    if apart + within < _ROUNDING:
        raise ValueError(
            "the relative modality gap needs rows that differ; all rows of both sides point the "
            f"same way, 1 - cosine is {apart + within:.2g} on average. Check what was encoded."
        )
    strangers = 1 - mean_product_apart(x, y, codes)[0]

    def replicate(weights: Tensor) -> Tensor:
        moved = apart_of(weights)
        return moved / (moved + 1 - (within_x_of(weights) + within_y_of(weights)) / 2)

    return apart / (apart + within), strangers / (strangers + within), replicate


def _measure_mean_margin(space: Space) -> Measured:
    value, replicate = _margin(space.source, space.target, space.codes)
    return Measured(value, replicate, null=Null(0.0, p_of_mean_cosine(space)))


def _measure_relative_modality_gap(space: Space) -> Measured:
    value, expected, replicate = _relative_gap(space.source, space.target, space.codes)
    return Measured(value, replicate, null=Null(expected, p_of_mean_cosine(space)))


_probe = partial(Probe, family="pairing", needs="common space")

MEAN_MARGIN = _probe(
    name="mean_margin",
    label="Margin of true over false pairs",
    extreme=1.0,
    function=mean_margin,
    better="higher",
    scale="spread",
    measure=_measure_mean_margin,
    null="random pairing: 0",
)
RELATIVE_MODALITY_GAP = _probe(
    name="relative_modality_gap",
    label="Relative modality gap",
    extreme=0.0,
    function=relative_modality_gap,
    better="lower",
    measure=_measure_relative_modality_gap,
    null="random pairing",
)
