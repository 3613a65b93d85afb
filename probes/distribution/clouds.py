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

from probes.estimates import Measured, Null, SmoothEstimate
from probes.inputs import Matrix, common_space
from probes.nulls import clouds_alike, upper_p
from probes.space import SAMPLE, Probe, Space, once_per_space

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


def centred(source: Matrix, target: Matrix) -> tuple[Tensor, Tensor]:
    """Both clouds minus their own means, ``(n, d)`` each: what is left when no centroid differs.

    Pass the result to any distance for its centred part, as in ``mmd(*centred(source, target))``.

    Norms: as they are, and so are those of what comes back.

    Args:
        source: Source embeddings, ``(n, d)``.
        target: Target embeddings of the same pairs, ``(n, d)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width.

    Examples:
        >>> import torch, probes
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> probes.centred(x, x)[0].sum(dim=0).tolist()
        [0.0, 0.0]
    """
    x, y = common_space(source, target)
    return x - x.mean(dim=0), y - y.mean(dim=0)


def exactly_centred(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both clouds centred and the vector between their centroids ``(d,)``, all in float64."""
    x, y = source.double(), target.double()
    middle_x, middle_y = x.mean(dim=0), y.mean(dim=0)
    return x - middle_x, y - middle_y, middle_x - middle_y


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance of each row of ``x`` to each row of ``y``, ``(n, m)``.

    Rows should be close to the origin: by the usual expansion, rounding grows with the norms.
    """
    products = x @ y.T
    # In exact arithmetic nothing is below zero; what rounding leaves there would give NaN roots.
    return (
        products.mul_(-2)
        .add_(x.square().sum(dim=1)[:, None])
        .add_(y.square().sum(dim=1))
        .clamp_(min=0)
    )


@dataclass(frozen=True, slots=True, eq=False)
class CentredDistance:
    """A squared distance between two centred clouds ``(r, d)``."""

    value: float
    influence: Tensor  # what each pair contributes to the value to first order, (r,)
    again: Callable[[Tensor, Tensor], float]  # the same of other centred clouds, (r, d) float64
    notes: tuple[str, ...] = ()  # why the estimate is not to be trusted, if it is not


@dataclass(frozen=True, slots=True, eq=False)
class _SolvedDistance:
    """A centred distance, what a space has to do with it, and its null."""

    part: CentredDistance
    offsets: Tensor  # source minus target of each pair, before centring, (r, d) float64
    spread: float  # total variance of both centred clouds: their mean squared distance
    rows: Tensor | None
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
    solve: Callable[[Tensor, Tensor], CentredDistance],
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

    def swapped(space: Space, part: CentredDistance, rows: Tensor | None, *, whole: bool) -> Tensor:
        values = []
        for sides in clouds_alike(space, rows, draws=draws, purpose=name, shapes=not whole):
            z, w, gap = exactly_centred(*sides)
            values.append(part.again(z, w) + whole * float(gap.square().sum()))
        return torch.tensor(values, dtype=torch.float64)

    @once_per_space
    def solve_once(space: Space) -> _SolvedDistance:
        drawn, rows = space.sample(SAMPLE) if sampled else (space, None)
        z, w, _ = exactly_centred(drawn.source, drawn.target)
        part = solve(z, w)
        return _SolvedDistance(
            part,
            drawn.source.double() - drawn.target.double(),
            float((z.square().sum() + w.square().sum()) / len(z)),
            rows,
            swapped(space, part, rows, whole=False),
        )

    def measure_whole(space: Space) -> Measured:
        solved = solve_once(space)
        gap = solved.offsets.mean(dim=0)
        square = float(gap.square().sum())
        if space.is_centred:
            # The centroids were made to agree: what is left to test is the shape.
            under_null = solved.shapes_swapped + square
        else:
            under_null = swapped(space, solved.part, solved.rows, whole=True)
        influence = 2 * solved.offsets @ gap + solved.part.influence
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
