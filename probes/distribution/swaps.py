"""Clouds whose sides were swapped at random: what a distance is where both sides follow one law.

Swaps only put the same items together in another way. So squared distances and coordinates of all
items are computed once and looked up for each draw. A centred state is another matter: it is
centred anew after each swap, which moves its items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.distribution.clouds import Clouds, Items
from probes.inputs import directions
from probes.nulls import deviations_to_swap, random_signs
from probes.space import Sample, Space, once_per_space


def signs_of(space: Space, part: Sample, *, draws: int, purpose: str) -> Tensor:
    """The swaps of ``part`` that ``purpose`` seeds, ``(draws, r)`` float64; groups stay whole."""
    return random_signs(space.codes, draws, space.generator(purpose))[:, part.rows]


def clouds_alike(
    space: Space,
    part: Sample,
    *,
    draws: int,
    purpose: str,
    shapes: bool,
    axes: Tensor | None = None,
) -> Iterator[Clouds]:
    """Clouds as they would be if both sides followed one law, one pair per draw.

    Those of ``part`` of a space; ``purpose`` seeds the swaps. A centred state is centred again
    after each swap: what was measured had lost its means too, and was divided by its norms after
    that. Where ``shapes`` are compared, deviations are swapped in place of the items; where a
    distance looks along ``axes`` ``(d, k)`` only, these are coordinates.
    """
    if space.folds is not None:
        for sides in _centred_again(space, part, draws=draws, purpose=purpose, shapes=shapes):
            x, y = (side.double() if axes is None else side.double() @ axes for side in sides)
            yield Clouds.of(x, y)
        return
    seen, moved = _items(part.space), _deviations(part.space) if shapes else None
    if axes is not None:
        seen, moved = seen.along(axes), None if moved is None else moved.along(axes)
    for signs in signs_of(space, part, draws=draws, purpose=purpose):
        yield (seen if moved is None or _as_one(signs) else moved).swapped(signs)


class _Halves(NamedTuple):
    """Middle of each pair, and half of the way from its target to its source, ``(n, d)``."""

    middle: Tensor
    half: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> _Halves:
        return cls((x + y) / 2, (x - y) / 2)


@once_per_space
def _items(space: Space) -> Items:
    return Items.of(space.source, space.target)


@once_per_space
def _deviations(space: Space) -> Items:
    return Items.of(*deviations_to_swap(space.source, space.target, space.codes))


def _as_one(signs: Tensor) -> bool:
    """Whether a swap leaves the clouds as they were seen, and takes no mean: all pairs, or none."""
    return bool((signs == signs[0]).all())


def _centred_again(
    space: Space, part: Sample, *, draws: int, purpose: str, shapes: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Both sides of ``part`` of a centred state, ``(r, d)``, for each swap of the raw one."""
    assert space.before is not None and space.folds is not None, "it was centred from something"
    raw, rows = space.before, part.rows
    fold = torch.unique(space.folds, return_inverse=True)[1]
    outside = 1 - F.one_hot(fold).T.double()
    outside /= outside.sum(dim=1, keepdim=True)  # weights of the mean of the other folds, (f, n)
    seen = _Halves.of(raw.source.double(), raw.target.double())
    moved = _Halves.of(*deviations_to_swap(raw.source, raw.target, raw.codes)) if shapes else seen
    for signs in random_signs(space.codes, draws, space.generator(purpose)):
        middle, half = seen if _as_one(signs) else moved
        # A swap turns a half of the difference round, and so means need no swapped matrix.
        at_rest, turned = outside @ middle, (outside * signs) @ half
        of_rows = signs[rows, None] * half[rows]
        source = middle[rows] + of_rows - (at_rest + turned)[fold[rows]]
        target = middle[rows] - of_rows - (at_rest - turned)[fold[rows]]
        yield (
            directions("centred source", source).float(),
            directions("centred target", target).float(),
        )
