"""Pairs drawn at random and sides swapped: what a probe gives where there is nothing to find.

Random pairings are the null of probes that ask whether partners belong together. Swapped sides are
the null of those that ask which side is which: where both sides follow one law, a statistic of the
swapped clouds has the law of that of the clouds seen, and p is exact if the two are computed alike.

``codes`` are the group codes of pairs, ``(n,)`` int64 in ``0 .. g - 1``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probes.estimates import SquaredMean, sums_of_groups
from probes.inputs import directions

_ROWS = 128  # rows of a matrix that are paired at a time

NO_OFFSET = (
    "Each side of the centred state was moved by means of its other folds. That leaves no offset "
    "to test, so there is no p, and values on the better side of chance are the work of the means."
)
"""Note to what looks at the offset of sides that were centred."""


def upper_p(value: float, under_null: Tensor) -> float:
    """Share of values under the null, ``(draws,)``, at least as large; the one seen counts too.

    Reference:
        Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    return (int((under_null >= value).sum()) + 1) / (len(under_null) + 1)


def matrix_products(a: Tensor, b: Tensor, pairings: Tensor) -> Tensor:
    """Sum of ``a`` times ``b`` entry by entry, ``b`` paired anew; ``(draws,)`` float64.

    The statistic of the Mantel test (1967, Cancer Research 27:209-220) up to a constant, of
    symmetric matrices ``(n, n)`` within each side.
    """
    # One triangle is enough: entries beside the diagonal count twice. A block stays in the cache.
    whole, rows = b.numpy(), pairings.numpy()
    upper = a.triu() + a.triu(1)
    total = torch.zeros(len(pairings), dtype=torch.float64)
    for start in range(0, len(a), _ROWS):
        block = upper[start : start + _ROWS, start:].flatten()
        for draw, paired in enumerate(rows):
            # Two calls of take need a third of the time of one index of both.
            taken = whole.take(paired[start : start + _ROWS], axis=0).take(paired[start:], axis=1)
            total[draw] += torch.dot(block, torch.from_numpy(taken).flatten())
    return total


def random_signs(codes: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Signs, one per group and draw, ``(draws, n)`` float64; -1 swaps the sides of a pair."""
    signs = torch.randint(2, (draws, int(codes.max()) + 1), generator=generator)
    return (signs.double() * 2 - 1)[:, codes]


def p_of_signs(squared: SquaredMean, draws: int, generator: torch.Generator) -> float:
    """How often random signs of whole groups give a squared mean as large."""
    signs = random_signs(torch.arange(len(squared.sums)), draws, generator)
    return upper_p(squared.value, squared.totals(signs) / squared.apart)


def deviations_to_swap(source: Tensor, target: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Clouds ``(n, d)`` float64 around their own means, to be swapped and centred again.

    The null of a statistic that does not see the centroids has to leave them aside. But centring
    takes the mean of the differences of partners, and centring again takes another one, so that
    swapped clouds have less spread than those measured. A distance between samples has a spread of
    its own that is smaller than this loss, and would exceed its null nearly always. So the
    differences get back what they lost on average: those of a group of ``r`` of ``n`` pairs lost
    the share ``r / n`` of the variance of their mean (as MacKinnon and White 1985,
    doi:10.1016/0304-4076(85)90158-7, divide residuals by the root of one less their leverage; here
    of the mean alone, and of whole groups). Groups are to be swapped whole.
    """
    x, y = source.double(), target.double()
    middle, half = (x + y) / 2, (x - y) / 2
    middle, half = middle - middle.mean(dim=0), half - half.mean(dim=0)
    sizes = torch.bincount(codes).double()
    means = sums_of_groups(half, codes) / sizes[:, None]
    # One group that is everything has no second mean to lose.
    left = (1 - sizes / len(codes)).where(sizes < len(codes), 1.0)
    half = half + ((left.rsqrt() - 1)[:, None] * means)[codes]
    return middle + half, middle - half


def centred_directions(name: str, x: Tensor, folds: Tensor) -> Tensor:
    """Rows less the mean of the other folds, divided by their norms; ``(n, d)`` float32."""
    wide = x.double()
    moved = wide.clone()
    for fold in torch.unique(folds).tolist():
        moved[folds == fold] -= wide[folds != fold].mean(dim=0)
    return directions(f"centred {name}", moved).float()
