"""Whether two samples follow one law: a classifier and a kernel, under the same permutations.

The probes of pairs swap the sides of a pair. Here rows of one sample belong to none of the other,
and a large sample may stand beside a small one, so all labels are permuted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probes.distribution.clouds import squared_distances
from probes.distribution.discrepancy import gaussians
from probes.inputs import folds_of, near_one
from probes.medians import median_of
from probes.nulls import upper_p
from probes.offset.separability import numbers_below, shrunk_covariance

DRAWS = 499
_FOLDS = 5
_ROUNDING = 1e-6  # values of MMD² this close are equal


@dataclass(frozen=True, slots=True)
class TwoSamples:
    """How far two samples are apart, and how often they are as far where all rows are of one law.

    Attributes:
        auc: Area under the ROC curve of a linear classifier of the sample, cross-validated.
        auc_p: How often permuted labels give as much.
        auc_by_chance: What 95 % of permuted labels stay at or below: less cannot be noticed.
        mmd: Unbiased MMD².
        mmd_p: How often permuted labels give as much.
        p: How often permuted labels give as small a p of one of the two.
    """

    auc: float
    auc_p: float
    auc_by_chance: float
    mmd: float
    mmd_p: float
    p: float

    @classmethod
    def of(cls, first: Tensor, second: Tensor, *, seed: int) -> TwoSamples:
        """Of samples ``(m, d)`` and ``(n, d)``: independent draws, no two rows of one equal.

        The classifier is that of ``probes.modality_classifier_auc`` and the kernel that of
        ``probes.mmd``. Both are permuted alike, so that the smaller of their two p has a null
        distribution of its own, and ``p`` is exact without a correction for two tests.

        Reference:
            Lopez-Paz and Oquab 2017, arXiv:1610.06545 (classifier); Gretton et al. 2012, JMLR
            13:723-773 (MMD); Westfall and Young 1993 (smallest p of permutations).
        """
        (first, second), _ = near_one(first, second)
        items = torch.cat([first, second]).double()
        items = items - items.mean(dim=0)
        belongs = _labels(len(first), len(items), torch.Generator().manual_seed(seed))
        areas = _areas(items, belongs, seed)
        distances = _distances(items, belongs)
        p = torch.stack([_ranks_from_above(areas), _ranks_from_above(distances)])
        smallest = p.amin(dim=0)
        return cls(
            auc=areas[0].item(),
            auc_p=p[0, 0].item(),
            auc_by_chance=areas[1:].quantile(0.95).item(),
            mmd=distances[0].item(),
            mmd_p=p[1, 0].item(),
            p=upper_p(-smallest[0].item(), -smallest[1:]),
        )


def _labels(m: int, n: int, generator: torch.Generator) -> Tensor:
    """1 for rows of the first sample, of ``m`` of all ``n``; then permuted; ``(draws + 1, n)``."""
    keys = torch.rand(DRAWS, n, generator=generator)
    labels = torch.zeros(DRAWS + 1, n, dtype=torch.float64)
    labels[0, :m] = 1
    labels[1:].scatter_(1, keys.argsort(dim=1)[:, :m], 1.0)
    return labels


def _ranks_from_above(values: Tensor) -> Tensor:
    """Share of all values that are at least as large as each, ``(b,)``."""
    above = torch.searchsorted(values.sort().values, values, right=False)
    return 1 - above.double() / len(values)


def _areas(items: Tensor, belongs: Tensor, seed: int) -> Tensor:
    """AUC of a discriminant that is trained without the fold it scores, for each row of labels.

    Folds are weighted by their rows of the first sample. The covariance is that of all rows, so
    that a discriminant is linear in the labels.
    """
    areas = belongs.new_zeros(len(belongs))
    scatter = items.T @ items
    for others, inside in folds_of(torch.arange(len(items)), _FOLDS, seed=seed):
        rest, mine = items[others], items[inside]
        covariance = shrunk_covariance(rest, scatter - mine.T @ mine)
        solved = torch.cholesky_solve(mine.T, torch.linalg.cholesky(covariance)).T
        in_first = belongs[:, others]
        count = in_first.sum(dim=1, keepdim=True)
        weights = in_first / count.clamp(min=1) - (1 - in_first) / (len(others) - count).clamp(
            min=1
        )
        tested = belongs[:, inside]
        m = tested.sum(dim=1)
        ahead = (numbers_below((weights @ rest) @ solved.T) * tested).sum(dim=1) - m.square() / 2
        # A fold without any of the second sample tells nothing: chance.
        n = len(inside) - m
        areas += torch.where(n > 0, ahead / n.clamp(min=1), m / 2)
    return areas / belongs[0].sum()


def _distances(items: Tensor, belongs: Tensor) -> Tensor:
    """Unbiased MMD² for each row of labels, in steps above rounding, ``(b,)`` float64."""
    x = items.float()
    squared = squared_distances(x, x)
    apart = squared[~torch.eye(len(x), dtype=torch.bool)]
    median = median_of(apart)
    kernel = gaussians(median).of(squared).fill_diagonal_(0)
    m, n = int(belongs[0].sum()), int((1 - belongs[0]).sum())
    sums = kernel.sum(dim=1, dtype=torch.float64)
    of_first = belongs @ sums  # within the first, and across
    within = ((belongs.float() @ kernel).double() * belongs).sum(dim=1)
    across = of_first - within
    rest = sums.sum() - within - 2 * across
    values = within / (m * (m - 1)) + rest / (n * (n - 1)) - 2 * across / (m * n)
    return (values / _ROUNDING).round() * _ROUNDING
