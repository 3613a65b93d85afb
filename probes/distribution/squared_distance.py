"""Squared transport distances, split into the gap of the centroids and what is left without it.

Moving a whole cloud changes a squared Wasserstein distance by the squared gap of the means alone:
``D(z, w) = ||mean z - mean w||² + D(z - mean z, w - mean w)``. So each distance is solved between
centred clouds, once, and both rows of a report are read from that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from probes.distribution.clouds import Clouds, clouds_of
from probes.distribution.swaps import clouds_alike, signs_of
from probes.estimates import Measured, Null, SmoothEstimate
from probes.nulls import upper_p
from probes.space import SAMPLE, Probe, Sample, Space, once_per_space

_ROUNDING = 1e-6
"""Values this close, relative to the variance of both clouds, differ by the rounding of float32."""

OF_SAMPLES = (
    "Two samples are farther apart than the clouds they come from, here by more than the interval "
    "is wide: value and interval are those of these pairs. Read them against the null, and compare "
    "them at one number of pairs only."
)
"""Note to a transport distance whose bias is larger than its interval."""

distribution_probe = partial(
    Probe,
    family="distribution",
    better="lower",
    needs="common space",
    null="sides of random groups swapped",
)


@dataclass(frozen=True, slots=True, eq=False)
class CentredDistance:
    """A squared distance between two centred clouds ``(r, d)``."""

    value: float
    influence: Tensor  # what each pair contributes to the value to first order, (r,)
    again: Callable[[Clouds], float]  # the same of other clouds, given by coordinates along axes
    axes: Tensor | None = None  # along which the distance looks, (d, k); None if at all of space
    notes: tuple[str, ...] = ()  # why the estimate is not to be trusted, if it is not


@dataclass(frozen=True, slots=True, eq=False)
class _SolvedDistance:
    """A centred distance, what a space has to do with it, and its null."""

    part: CentredDistance
    rows: Tensor | None
    spread: float  # total variance of both centred clouds: their mean squared distance
    shapes_swapped: Tensor  # what the part is for swapped deviations, (draws,)

    def measured(self, value: float, influence: Tensor, under_null: Tensor) -> Measured:
        half = 1.96 * float(influence.double().std()) / len(influence) ** 0.5
        biased = float(self.shapes_swapped.mean()) > half
        p = upper_p(value - _ROUNDING * self.spread, under_null)
        estimate = SmoothEstimate(value, influence, self.part.notes)
        null = Null(under_null.mean().item(), p)
        return estimate.measured(null, rows=self.rows, notes=(OF_SAMPLES,) if biased else ())


def squared_distance_probes(
    name: str,
    labels: tuple[str, str],
    function: object,
    solve: Callable[[Clouds], CentredDistance],
    *,
    draws: int,
    sampled: bool = True,
) -> tuple[Probe, Probe]:
    """Probes of a whole squared distance and of its centred part, solved once for both.

    The null of the whole swaps the sides of random groups and measures as was measured; ``name``
    seeds the ``draws`` swaps. That of the centred part, which is to be blind to the centroids,
    swaps ``deviations_to_swap``. ``function`` is the public one of the distance. Where ``sampled``,
    at most ``SAMPLE`` pairs are measured.
    """

    def swapped(space: Space, part: CentredDistance, drawn: Sample, *, shapes: bool) -> Tensor:
        clouds = clouds_alike(
            space, drawn, draws=draws, purpose=name, shapes=shapes, axes=part.axes
        )
        return torch.tensor([part.again(each) for each in clouds], dtype=torch.float64)

    def sample_of(space: Space) -> Sample:
        return space.sample(SAMPLE if sampled else space.n)

    @once_per_space
    def solve_once(space: Space) -> _SolvedDistance:
        drawn = sample_of(space)
        clouds = clouds_of(drawn.space)
        part = solve(clouds)
        spread = (clouds.source.square().sum() + clouds.target.square().sum()) / len(clouds.source)
        return _SolvedDistance(
            part,
            drawn.rows if sampled else None,
            float(spread),
            swapped(space, part, drawn, shapes=True),
        )

    def measure_whole(space: Space) -> Measured:
        solved, drawn = solve_once(space), sample_of(space)
        offsets = drawn.space.source.double() - drawn.space.target.double()
        gap = offsets.mean(dim=0)
        square = float(gap.square().sum())
        if space.is_centred:
            # The centroids were made to agree: what is left to test is the shape.
            under_null = solved.shapes_swapped + square
        else:
            gaps = signs_of(space, drawn, draws=draws, purpose=name) @ offsets / len(offsets)
            centred = swapped(space, solved.part, drawn, shapes=False)
            under_null = centred + gaps.square().sum(dim=1)
        influence = 2 * offsets @ gap + solved.part.influence
        return solved.measured(square + solved.part.value, influence, under_null)

    def measure_part(space: Space) -> Measured:
        solved = solve_once(space)
        return solved.measured(solved.part.value, solved.part.influence, solved.shapes_swapped)

    probe = partial(
        distribution_probe,
        function=function,
        interval="bootstrap over pairs, linearised; of the samples' distance; wide where sides "
        "agree",
    )
    return (
        # Unit vectors are at most 2 apart, and centred ones have at most variance 1 a side.
        probe(name=name, label=labels[0], measure=measure_whole, extreme=4.0),
        probe(name=f"{name}_centred", label=labels[1], measure=measure_part, extreme=2.0),
    )
