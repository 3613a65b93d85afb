"""Sides of random pairs swapped: what a probe gives where both sides follow one law."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from probes.estimates import random_signs
from probes.inputs import directions
from probes.space import Space

NO_OFFSET = (
    "Each side of the centred state was moved by means of its other folds. That leaves no offset "
    "to test, so there is no p, and values on the better side of chance are the work of the means."
)
"""Note to what looks at the offset of sides that were centred."""


def swapped(x: Tensor, y: Tensor, signs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both sides with those of some pairs swapped, one pair of matrices ``(n, d)`` per draw.

    Where both sides follow one law, a statistic of what comes out has the law of the statistic of
    what went in, whatever it is: p is then exact, if the two are computed alike.

    Args:
        x: ``(n, d)``.
        y: ``(n, d)``.
        signs: +1 or -1 for each pair and draw, as ``random_signs`` gives them, ``(draws, n)``.
    """
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
    """Both clouds around their own means, with the spread that the centring took given back.

    The null of a statistic that does not see the centroids has to leave them aside: pairs are
    centred, swapped and centred again. But centring takes the mean of the differences of partners
    from them, and centring again takes what would be another one, so that swapped clouds have less
    spread than those that were measured. A distance between samples has a spread of its own that
    is smaller than this loss, and would exceed its null nearly always. So the differences get back
    what they lost on average: those of a group of ``r`` of ``n`` pairs lost the share ``r / n`` of
    the variance of their mean.

    Args:
        source: ``(n, d)``.
        target: ``(n, d)``.
        codes: Group code of each pair, ``(n,)`` int64 in ``0 .. g - 1``; groups are swapped whole.

    Returns:
        Two clouds ``(n, d)`` float64, to be swapped and then centred.

    Reference:
        MacKinnon and White 1985, doi:10.1016/0304-4076(85)90158-7, for residuals divided by the
        root of one less their leverage; here of the mean alone, and of whole groups.
    """
    x, y = source.double(), target.double()
    middle, half = (x + y) / 2, (x - y) / 2
    middle, half = middle - middle.mean(dim=0), half - half.mean(dim=0)
    sizes = torch.bincount(codes).double()
    means = half.new_zeros(len(sizes), half.shape[1]).index_add_(0, codes, half) / sizes[:, None]
    # One group that is everything has no second mean to lose.
    left = (1 - sizes / len(codes)).where(sizes < len(codes), 1.0)
    half = half + ((left.rsqrt() - 1)[:, None] * means)[codes]
    return middle + half, middle - half


def centred_directions(name: str, x: Tensor, folds: Tensor) -> Tensor:
    """Rows less the mean of the other folds, divided by their norms; ``(n, d)`` float32.

    Args:
        name: What to call the side in a message.
        x: ``(n, d)``.
        folds: Fold of each row, ``(n,)`` int64, two folds at least.

    Raises:
        ValueError: A row is at that mean and has no direction.
    """
    wide = x.double()
    moved = wide.clone()
    for fold in torch.unique(folds).tolist():
        moved[folds == fold] -= wide[folds != fold].mean(dim=0)
    return directions(f"centred {name}", moved).float()


def clouds_alike(
    space: Space, rows: Tensor | None, *, draws: int, purpose: str, shapes: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Clouds as they would be if both sides followed one law, one pair ``(r, d)`` per draw.

    A centred state is centred again after each swap: what was measured had lost its means too, and
    was divided by its norms after that.

    Args:
        space: What was measured.
        rows: The pairs it was measured on, ``(r,)``; all if ``None``.
        draws: Number of swaps.
        purpose: Seeds them.
        shapes: Whether the centroids are set aside, and the clouds are to be centred next.
    """
    signs = random_signs(space.codes, draws, space.generator(purpose))
    if space.folds is not None:
        assert space.before is not None, "a centred state was centred from something"
        raw = space.before
        for x, y in _shapes_swapped(raw.source, raw.target, raw.codes, signs):
            sides = (
                centred_directions("source", x, space.folds),
                centred_directions("target", y, space.folds),
            )
            yield sides if rows is None else (sides[0][rows], sides[1][rows])
        return
    x, y, codes = space.source, space.target, space.codes
    if rows is not None:
        x, y, signs = x[rows], y[rows], signs[:, rows]
        codes = torch.unique(codes[rows], return_inverse=True)[1]
    if shapes:
        yield from _shapes_swapped(x, y, codes, signs)
    else:
        yield from swapped(x, y, signs)
