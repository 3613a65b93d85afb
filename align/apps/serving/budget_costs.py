"""What few vectors of each item find of what all find, in the mean over items as queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from align.apps.serving.answers import BudgetCost, Budgets
from align.retrieval.hits import Hit

QUERIES = 100
"""Items searched with: one query says little, as its agreement is a whole number of tenths."""

BEST = 10


def budget_costs(
    ids: Sequence[str], budgets: Sequence[int], search: Callable[[str, int, int], list[Hit]]
) -> Budgets:
    """The cost of each of the ``budgets``, of which the last is all vectors.

    Args:
        ids: Items to search with.
        budgets: Numbers of vectors.
        search: The best hits for an item, how many, and a budget; the item is none of them.
    """
    shared, seconds = dict.fromkeys(budgets, 0.0), dict.fromkeys(budgets, 0.0)
    for id in ids:
        found: dict[int, set[object]] = {}
        for budget in budgets:
            start = time.perf_counter()
            found[budget] = {hit.id for hit in search(id, BEST, budget)}
            seconds[budget] += time.perf_counter() - start
        best = found[budgets[-1]]
        for budget in budgets:
            shared[budget] += len(best & found[budget]) / len(best) if best else 1.0
    return Budgets(
        len(ids),
        tuple(
            BudgetCost(each, shared[each] / len(ids), 1000 * seconds[each] / len(ids))
            for each in budgets
        ),
    )
