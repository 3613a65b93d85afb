"""p-values of many differences, adjusted so that all verdicts together are wrong by chance 5 %."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from align.metrics.comparison.values import ComparisonRow


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given; at most 1, and each at least its own p.

    The smallest is multiplied by their number, the next by one less, and so on; none may fall
    below one before it. The chance of any false verdict at 0.05 is at most 0.05, however the
    values depend on each other.

    Reference:
        Holm 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    adjusted = [1.0] * len(p)
    highest = 0.0
    for place, at in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - place) * p[at]))
        adjusted[at] = highest
    return adjusted


def with_adjusted_p(rows: Sequence[ComparisonRow]) -> tuple[ComparisonRow, ...]:
    """The rows with ``p_holm``: over those that decide, and apart from them over all others."""
    found: dict[tuple[int, str], float] = {}
    for decides in (True, False):
        family = [
            ((at, system), difference.p)
            for at, row in enumerate(rows)
            if row.decides == decides
            for system, difference in row.differences.items()
            if difference.p is not None
        ]
        adjusted = holm([p for _, p in family])
        found |= {key: p for (key, _), p in zip(family, adjusted, strict=True)}
    return tuple(
        replace(
            row,
            differences={
                system: replace(difference, p_holm=found.get((at, system)))
                for system, difference in row.differences.items()
            },
        )
        for at, row in enumerate(rows)
    )
