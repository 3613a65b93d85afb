"""Systems over data sets: mean ranks, Friedman's test, and how far apart is apart.

Reference:
    Demsar 2006, JMLR 7:1-30.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from align.metrics.comparison.holm import holm


@dataclass(frozen=True, slots=True)
class Standing:
    """Systems ranked within each data set.

    Attributes:
        data: Names of data sets, the units.
        mean_ranks: By system, 1 is best, ties share their mean rank; best first.
        friedman_p: That all systems are alike would give so different ranks (chi-square).
        critical_difference: Mean ranks further apart differ at 5 %, over all pairs (Nemenyi).
        p_holm: Of each system against the reference by Wilcoxon's signed ranks, Holm-adjusted.
    """

    data: tuple[str, ...]
    mean_ranks: Mapping[str, float]
    friedman_p: float
    critical_difference: float
    p_holm: Mapping[str, float]


def standing(
    values: Mapping[str, Sequence[float]], data: Sequence[str], reference: str
) -> Standing:
    """Rank systems by values of which more is better, one for each data set.

    Args:
        values: By system, one value a data set, in the order of ``data``.
        data: Names of at least two data sets.
        reference: The system that others are compared with.

    Raises:
        ValueError: There are fewer than three systems, or one lacks a value.
    """
    names = list(values)
    if len(names) < 3 or any(len(each) != len(data) for each in values.values()):
        raise ValueError(
            f"every one of at least three systems needs a value for each of {len(data)} data sets; "
            f"got { ({name: len(each) for name, each in values.items()}) }. Leave out what is not "
            "defined everywhere."
        )
    table = np.array([values[name] for name in names])  # (systems, data)
    ranks = stats.rankdata(-table, axis=0).mean(axis=1)
    p = [
        1.0 if name == reference else _wilcoxon(table[names.index(reference)] - row)
        for name, row in zip(names, table, strict=True)
    ]
    others = [at for at, name in enumerate(names) if name != reference]
    adjusted = holm([p[at] for at in others])
    in_order = sorted(range(len(names)), key=lambda at: (ranks[at], names[at]))
    return Standing(
        tuple(data),
        {names[at]: float(ranks[at]) for at in in_order},
        float(stats.friedmanchisquare(*table).pvalue),
        critical_difference(len(names), len(data)),
        {names[at]: value for at, value in zip(others, adjusted, strict=True)},
    )


def critical_difference(k: int, n: int, *, level: float = 0.05) -> float:
    """Nemenyi's: mean ranks of ``k`` systems over ``n`` data sets that differ by more, differ."""
    quantile = stats.studentized_range.ppf(1 - level, k, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(k * (k + 1) / (6 * n)))


def _wilcoxon(differences: np.ndarray) -> float:
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)
