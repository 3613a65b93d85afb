"""Representational similarity analysis: do both sides order their similarities alike?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from align.data.random_pairings import random_pairings
from align.scoring.inner_products import inner_products
from probes.estimates import Measured, Null, SmoothEstimate
from probes.inputs import Matrix, codes_of, directions, pairs
from probes.nulls import matrix_products, upper_p
from probes.space import SAMPLE, Probe, Space

_DRAWS = 99  # random pairings behind a p-value; the cost grows with the square of the pairs
_ROUNDING = 1e-6  # cosines that all lie this close together differ by rounding only
_LEVEL = 2.0**-18  # cosines are ranked in steps of this, so that rounding decides no tie


@torch.no_grad()
def rsa(source: Matrix, target: Matrix, *, groups: Sequence[str] | None = None) -> float:
    """Rank correlation of the similarities within each of the two sides; higher is better.

    Spearman's correlation of the upper triangles of the two cosine matrices, ties at their mean
    rank; what lies in one step of 4e-6 is tied. In [-1, 1]: 1 means that both sides order all
    similarities alike, 0 that the sides are unrelated, and negative values opposite orders.
    Invariant to rotation and scale of either side, not to a shift. The widths may differ. Cost:
    O(n^2 (d + log n)) time and O(n^2) memory; pass a sample of a few thousand pairs where there are
    more.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings, ``(n, d_source)``, no zero rows, n >= 4.
        target: Target embeddings of the same pairs, ``(n, d_target)``, no zero rows.
        groups: Group name of each pair; similarities within a group are left out, each pair is its
            own group if left out.

    Raises:
        ValueError: The sides are not row-matched finite matrices without zero rows, groups do not
            fit, there are fewer than 4 pairs, or the cosines of a side are all equal.

    Meaning:
        Whether both sides put the similarities of all items in one order.

    Beware:
        Most pairs of items are unlike, so that it is ruled by an order among far ones that nobody
        searches for.

    Range:
        In [-1, 1]; 0 with nothing there; higher is better.

    Reference:
        Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008; cosine in the place of their
        correlation distance, so that a width of 2 is possible and a shift counts.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(40, 6, generator=rng), dim=1)
        >>> round(probes.rsa(x, -x), 3)
        1.0
    """
    x, y = pairs(source, target, least=4)
    x, y = directions("source", x), directions("target", y)
    return _rsa(x, y, codes_of(groups, len(x))).value


class _RankCorrelation(NamedTuple):
    """RSA with what its interval and its null need."""

    value: float
    apart: Tensor  # entries of the upper triangle of different groups, (n, n) bool, m of them
    x: Tensor  # ranks of the source, standardised, (m,) float64
    y: Tensor  # ranks of the target, likewise

    @property
    def influence(self) -> Tensor:
        """What each pair adds to the correlation to first order, ``(n,)``; ranks held fixed."""
        entry = self.x * self.y - self.value / 2 * (self.x.square() + self.y.square())
        sums = _symmetric(entry, self.apart).sum(dim=0)
        return sums * len(self.apart) / len(entry)


def _rsa(x: Tensor, y: Tensor, codes: Tensor) -> _RankCorrelation:
    apart = (codes[:, None] != codes).triu()
    u, v = (
        _ranks(name, inner_products(side.double(), side.double())[apart])
        for name, side in (("source", x), ("target", y))
    )
    return _RankCorrelation((u * v).mean().item(), apart, u, v)


def _ranks(name: str, cosines: Tensor) -> Tensor:
    """Ranks with mean 0 and variance 1, ties at their mean rank, ``(m,)`` float64."""
    low, high = (float(bound) for bound in cosines.aminmax())
    if high - low <= _ROUNDING:
        raise ValueError(
            f"the cosines within {name} must differ to be ranked; they all lie in "
            f"[{low:.7g}, {high:.7g}]. Look for embeddings that are all equal."
        )
    levels = (cosines / _LEVEL).round().long()
    levels -= levels.amin()
    # There are so few levels that their entries are counted, which takes no sort; all at a level
    # have the rank in its middle.
    counts = torch.bincount(levels).double()
    middle = counts.cumsum(0) - (counts - 1) / 2 - (len(cosines) + 1) / 2
    ranks = middle[levels]
    return ranks / ranks.square().mean().sqrt()


def _symmetric(values: Tensor, apart: Tensor) -> Tensor:
    """Both triangles of a matrix, ``(n, n)``, with 0 where two rows are not apart."""
    whole = torch.zeros(apart.shape, dtype=values.dtype)
    whole[apart] = values
    return whole + whole.T


def _measure_rsa(space: Space) -> Measured:
    drawn, rows = space.sample(SAMPLE)
    fit = _rsa(drawn.source, drawn.target, drawn.codes)
    # An entry within a group holds 0, the mean rank, and so adds nothing under any pairing.
    a, b = (_symmetric(side.float(), fit.apart) for side in (fit.x, fit.y))
    pairings = random_pairings(drawn.codes, _DRAWS, space.generator("rsa"))
    as_seen = torch.arange(drawn.n)[None]
    seen = matrix_products(a, b, as_seen).item()
    null = Null(0.0, upper_p(seen, matrix_products(a, b, pairings)))
    return SmoothEstimate(fit.value, fit.influence).measured(null, rows=rows)


RSA = Probe(
    name="rsa",
    label="RSA, rank correlation of cosines",
    extreme=1.0,
    function=rsa,
    family="structure",
    better="higher",
    needs="sides",
    measure=_measure_rsa,
    interval="bootstrap over pairs, to first order, ranks held fixed",
    null="random pairing: 0",
)
