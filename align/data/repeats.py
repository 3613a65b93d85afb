"""Items that stand in many pairs where no groups say so: they leak from one fold to the next."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class RepeatedItems(UserWarning):
    """Many pairs share an item, and no groups keep them on one side of a split.

    Examples:
        >>> import warnings, numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> photos = rng.standard_normal((30, 4)).repeat(2, axis=0)  # two captions each, no groups
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     adapter = align.fit(rng.standard_normal((60, 3)), photos, effort="fast")
        >>> "RepeatedItems" in [warning.category.__name__ for warning in caught]
        True
    """


def repeated(items: Tensor | Sequence[Any]) -> int:
    """How many items are equal to another: rows of a matrix bit by bit, texts and paths by ``==``.

    Other objects are equal to themselves alone.
    """
    keys: list[Hashable]
    if isinstance(items, Sequence):
        keys = [item if isinstance(item, str | Path) else id(item) for item in items]
    else:
        import torch  # raw items are split without it

        raw = items.detach().cpu().contiguous().view(torch.uint8).numpy()
        keys = [hash(row.tobytes()) for row in raw]
    return sum(count for count in Counter(keys).values() if count > 1)


def warn_of_repeats(
    sides: tuple[Tensor | Sequence[Any], Tensor | Sequence[Any]],
    groups: Sequence[str],
    what: str,
    *,
    stacklevel: int,
) -> None:
    """Warn where 5 % of 20 pairs or more share an item and each pair is a group of its own.

    ``sides`` are raw vectors ``(n, d)`` or raw items of source and target, and ``what`` is what is
    done with the pairs. ``stacklevel`` counts from the caller of this.
    """
    n = len(groups)
    if n < 20 or len(set(groups)) < n:
        return
    counts = [repeated(items) for items in sides]
    count = max(counts)
    side = ("source", "target")[counts.index(count)]
    if count >= max(2, 0.05 * n):
        warnings.warn(
            f"pairs that share an item belong to one group; {what} got {count:,} of {n:,} "
            f"pairs whose {side} item is that of another pair, and no groups. Such items fall on "
            "both sides of a split and count as wrong answers to each other's queries: give "
            "groups, such as the name of the photo of each caption (--group on the command line), "
            "or domains where they are no answers to each other.",
            RepeatedItems,
            stacklevel=stacklevel + 1,
        )
