"""Whether a plane separates the two modalities: a classifier in closed form, tested by swapping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.estimates import Measured, Null, SmoothEstimate
from probes.inputs import Matrix, codes_of, common_space, folds_of, near_one
from probes.nulls import NO_OFFSET, random_signs, upper_p
from probes.space import SAMPLE, Probe, Space

_FOLDS = 5
_DRAWS = 199  # swaps of the sides under the null, each with classifiers of its own

_LEAST_SHRINKAGE = 1e-6
"""Of the covariance towards a sphere: keeps it invertible in float64 where rows are duplicates."""


def modality_classifier_auc(
    source: Matrix,
    target: Matrix,
    *,
    groups: Sequence[str] | None = None,
    folds: int = _FOLDS,
    seed: int = 0,
) -> float:
    """Area under the ROC curve of a linear classifier of modality; lower is better.

    The classifier is Fisher's linear discriminant with the covariance of all items, shrunk towards
    a sphere as Ledoit and Wolf say. It is trained on some folds of the pairs and scores the items
    of the remaining one; no group is on both sides. The AUC is the chance that a source item scores
    above a target item of the same fold, half a chance if they tie, averaged over folds by their
    pairs: scores of different classifiers are never compared.

    In [0, 1]; 1 where a plane separates the two modalities, and 0.5 where nothing does. Less is
    chance, or comes from items that are on both sides in different pairs. In many dimensions a
    tiny offset is enough for a value near 1: read it together with ``gap_energy_share``. Shrinkage
    blurs what lies in directions that vary far less than the average one. Rotation, translation of
    both sides and a common scale do not change the value. Costs O(n d^2 + folds d^3), in float64.

    A discriminant, unlike logistic regression, needs no setting and no iteration, and swapping the
    sides of pairs changes its scores linearly, so that the report retrains it for each swap.

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d)``; any norm.
        target: Target embeddings of the same pairs, ``(n, d)``; any norm.
        groups: Group name of each pair; each pair is its own group if left out.
        folds: Number of folds, from 2 to the number of groups.
        seed: Seeds which pair goes into which fold.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``folds`` is out of
            range, or all rows of the training folds are one point.

    Meaning:
        How well a plane tells on which side an item is.

    Beware:
        In many dimensions a tiny offset is enough for a value near 1; read it beside the gap energy
        share.

    Range:
        In [0, 1]; 0.5 with nothing there; lower is better.

    Reference:
        Lopez-Paz and Oquab 2017, arXiv:1610.06545 (classifier two-sample tests); Fisher 1936,
        doi:10.1111/j.1469-1809.1936.tb02137.x; Ledoit and Wolf 2004,
        doi:10.1016/S0047-259X(03)00096-4; averaging within folds as in LeDell et al. 2015,
        doi:10.1214/15-EJS1035.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.rand(60, 4, generator=rng), dim=1)
        >>> probes.modality_classifier_auc(x, -x)
        1.0
    """
    (x, y), _ = near_one(*common_space(source, target))
    return _placements(_tests(x, y, codes_of(groups, len(x)), folds, seed)).mean().item()


@dataclass(frozen=True, slots=True, eq=False)
class _FoldTest:
    """One fold, scored by the classifier of the others, whichever way their pairs are turned."""

    held_out: Tensor  # pairs of the fold, (m,)
    others: Tensor  # pairs that the classifier is trained on, (t,)
    difference: Tensor  # source minus target of the training pairs, (t, d) float64
    # Items of the fold, source before target, times the inverse of the covariance of the training
    # items, (2m, d) float64.
    solved: Tensor

    def scores(self, signs: Tensor) -> Tensor:
        """Scores of the items of the fold, ``(b, 2m)``, for signs of all pairs, ``(b, n)``.

        A sign of -1 swaps the sides of a training pair. That leaves the covariance as it was, so
        that the discriminant is linear in the difference of the means, and so in the signs.
        """
        return (signs[:, self.others] @ self.difference) @ self.solved.T

    def lead(self, n: int) -> Tensor:
        """Score of each source item less that of each target item of the fold, ``(m, m)``."""
        first, second = self.scores(torch.ones(1, n, dtype=torch.float64))[0].tensor_split(2)
        return first[:, None] - second


def _tests(x: Tensor, y: Tensor, codes: Tensor, folds: int, seed: int) -> list[_FoldTest]:
    items = torch.cat([x, y]).double()
    power = items.square().sum(dim=1).mean().item()
    items -= items.mean(dim=0)
    scatter = items.T @ items
    tests = []
    for i, (others, inside) in enumerate(folds_of(codes, folds, seed=seed)):
        mine, rest = (items[torch.cat([rows, rows + len(x)])] for rows in (inside, others))
        # What is left of the scatter after taking a fold away costs a quarter of summing it again.
        covariance = shrunk_covariance(rest, scatter - mine.T @ mine)
        if covariance.trace() <= torch.finfo(x.dtype).eps ** 2 * power:
            raise ValueError(
                "the items of each training set must vary for a classifier to learn from them; "
                f"without fold {i} all {len(rest)} are one point up to rounding. Check the "
                "encoders: they gave the same vector for nearly every item."
            )
        solved = torch.cholesky_solve(mine.T, torch.linalg.cholesky(covariance)).T
        first, second = rest.tensor_split(2)
        tests.append(_FoldTest(inside, others, first - second, solved))
    return tests


def shrunk_covariance(items: Tensor, scatter: Tensor) -> Tensor:
    """Covariance of items shrunk towards a sphere, ``(d, d)``; scatter is ``items' items``."""
    n, d = items.shape
    mean = items.mean(dim=0)
    covariance = scatter / n - torch.outer(mean, mean)
    sphere = covariance.trace() / d
    square = covariance.square().sum()
    fourth = (items - mean).square().sum(dim=1).square().sum()
    # Noise of the covariance, and its distance from the sphere, both squared and times d.
    noise, distance = (fourth / n - square) / n, square - d * sphere.square()
    shrinkage = 1.0 if noise >= distance else max((noise / distance).item(), _LEAST_SHRINKAGE)
    return (1 - shrinkage) * covariance + shrinkage * sphere * torch.eye(d, dtype=items.dtype)


def _placements(tests: Sequence[_FoldTest]) -> Tensor:
    """Share of the other modality of its fold on the right side of each item, ``(2, n)``."""
    placed = torch.zeros(2, sum(len(test.held_out) for test in tests), dtype=torch.float64)
    for test in tests:
        lead = test.lead(placed.shape[1])
        wins = (lead > 0).double() + (lead == 0).double() / 2
        placed[0, test.held_out], placed[1, test.held_out] = wins.mean(dim=1), wins.mean(dim=0)
    return placed


def _influence(tests: Sequence[_FoldTest], placed: Tensor) -> Tensor:
    """First-order effect of each pair on the AUC, in the test and in training, ``(n,)``.

    The test part are the placement values of DeLong et al. 1988, doi:10.2307/2531595. For the
    training part the step at a tie is a normal density as wide as Silverman's rule says; the
    covariance is held fixed.
    """
    influence = placed.sum(dim=0)
    for test in tests:
        m = len(test.held_out)
        lead = test.lead(len(influence))
        width = 1.06 * lead.std(correction=0) * m ** (-1 / 5)
        if width == 0:
            continue  # All items of the fold tie; so do they after a small turn.
        slope = torch.exp(-(lead / width).square() / 2) / (width * math.sqrt(2 * math.pi))
        of_items = torch.cat([slope.sum(dim=1), -slope.sum(dim=0)]) / m**2
        effect = test.difference @ (of_items @ test.solved)
        influence[test.others] += m * (effect - effect.mean())
    return influence


def _swapped_areas(tests: Sequence[_FoldTest], signs: Tensor) -> Tensor:
    """AUC where the sides of pairs with sign -1 are swapped before training and test, ``(b,)``."""
    areas = torch.zeros(len(signs), dtype=torch.float64)
    for test in tests:
        m = len(test.held_out)
        scores = test.scores(signs)
        first, second = numbers_below(scores).tensor_split(2, dim=1)
        own = torch.where(signs[:, test.held_out] > 0, first, second)
        # Rank sum of Mann and Whitney; the fold counts by its pairs.
        areas += own.sum(dim=1) / m - m / 2
    return areas / signs.shape[1]


def numbers_below(scores: Tensor) -> Tensor:
    """How many of a row are below each of its scores, ``(b, n)`` float64; ties count a half."""
    in_order = scores.sort(dim=1).values
    below, upto = (torch.searchsorted(in_order, scores, right=end) for end in (False, True))
    return (below + upto).double() / 2


def _measure_modality_classifier_auc(space: Space) -> Measured:
    part, rows = space.sample(SAMPLE)
    groups = int(part.codes.max()) + 1
    folds = min(_FOLDS, groups)
    tests = _tests(part.source, part.target, part.codes, folds, part.seed)
    placed = _placements(tests)
    value = placed.mean().item()
    notes, p = [], None
    if folds < _FOLDS:
        notes.append(f"Only {groups} groups of pairs: {folds} folds and not {_FOLDS}.")
    if space.is_centred:
        notes.append(NO_OFFSET)
    else:
        signs = random_signs(part.codes, _DRAWS, space.generator("modality_classifier_auc"))
        p = upper_p(value, _swapped_areas(tests, signs))
    estimate = SmoothEstimate(value, _influence(tests, placed), tuple(notes))
    return estimate.measured(Null(0.5, p), rows=rows)


MODALITY_CLASSIFIER_AUC = Probe(
    name="modality_classifier_auc",
    label="AUC of a linear modality classifier",
    extreme=1.0,
    function=modality_classifier_auc,
    family="offset",
    better="lower",
    needs="common space",
    measure=_measure_modality_classifier_auc,
    interval="bootstrap over pairs, linearised, covariance held fixed; wide near 0.5",
    null="not separable: 0.5; p by swapping the two sides of random pairs and training again",
)
