"""Pairs drawn at random and sides swapped: what a probe gives where there is nothing to find.

Random pairings are the null of probes that ask whether partners belong together. Swapped sides are
the null of those that ask which side is which: where both sides follow one law, a statistic of the
swapped clouds has the law of that of the clouds seen, and p is exact if the two are computed alike.

``codes`` are the group codes of pairs, ``(n,)`` int64 in ``0 .. g - 1``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from probes.estimates import SquaredMean, sums_of_groups
from probes.inputs import directions
from probes.space import Space

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


def random_pairings(codes: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Target row that each source row is paired with in random pairings, ``(draws, n)`` int64.

    Groups are put in a random order and keep the order of their rows, so that groups of one size
    are exchanged whole: the captions of a photo do not pass for independent evidence.
    """
    keys = torch.rand(draws, int(codes.max()) + 1, generator=generator, dtype=torch.float64)
    drawn = torch.empty(draws, len(codes), dtype=torch.int64)
    drawn[:, codes.argsort(stable=True)] = keys[:, codes].argsort(dim=1, stable=True)
    return drawn


def matrix_products(a: Tensor, b: Tensor, pairings: Tensor) -> Tensor:
    """Sum of ``a`` times ``b`` entry by entry, ``b`` paired anew; ``(draws,)`` float64.

    The statistic of the Mantel test (1967, Cancer Research 27:209-220) up to a constant, of
    matrices ``(n, n)`` within each side.
    """
    # index_select is six times faster than b[rows][:, rows].
    paired = (b.index_select(0, rows).index_select(1, rows) for rows in pairings)
    return torch.stack([torch.dot(a.flatten(), each.flatten()) for each in paired]).double()


def random_signs(codes: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Signs, one per group and draw, ``(draws, n)`` float64; -1 swaps the sides of a pair."""
    signs = torch.randint(2, (draws, int(codes.max()) + 1), generator=generator)
    return (signs.double() * 2 - 1)[:, codes]


def p_of_signs(squared: SquaredMean, draws: int, generator: torch.Generator) -> float:
    """How often random signs of whole groups give a squared mean as large."""
    signs = random_signs(torch.arange(len(squared.sums)), draws, generator)
    return upper_p(squared.value, squared.totals(signs) / squared.apart)


def swapped(x: Tensor, y: Tensor, signs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both sides ``(n, d)`` with those of some pairs swapped, for each row of ``signs``."""
    for drawn in signs:
        as_seen = (drawn > 0)[:, None]
        yield torch.where(as_seen, x, y), torch.where(as_seen, y, x)


def _shapes_swapped(
    x: Tensor, y: Tensor, codes: Tensor, signs: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    to_swap = deviations_to_swap(x, y, codes)
    for drawn in signs:
        # To swap everything or nothing leaves the clouds as they were seen, and takes no mean.
        sides = (x, y) if bool((drawn == drawn[0]).all()) else to_swap
        yield from swapped(*sides, drawn[None])


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


def clouds_alike(
    space: Space, rows: Tensor | None, *, draws: int, purpose: str, shapes: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Clouds as they would be if both sides followed one law, one pair ``(r, d)`` per draw.

    Those of ``rows`` of a space, or of all; ``purpose`` seeds the swaps. A centred state is centred
    again after each swap: what was measured had lost its means too, and was divided by its norms
    after that. Where ``shapes`` are compared, the clouds are to be centred next.
    """
    signs = random_signs(space.codes, draws, space.generator(purpose))
    if space.folds is not None:
        assert space.before is not None, "a centred state was centred from something"
        raw = space.before
        for x, y in _shapes_swapped(raw.source, raw.target, raw.codes, signs):
            x = centred_directions("source", x, space.folds)
            y = centred_directions("target", y, space.folds)
            yield (x, y) if rows is None else (x[rows], y[rows])
        return
    x, y, codes = space.source, space.target, space.codes
    if rows is not None:
        x, y, signs = x[rows], y[rows], signs[:, rows]
        codes = torch.unique(codes[rows], return_inverse=True)[1]
    yield from _shapes_swapped(x, y, codes, signs) if shapes else swapped(x, y, signs)
