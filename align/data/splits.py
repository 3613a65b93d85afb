"""Splits and folds that keep every group on one side, so that no photo leaks with its captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from align._checks import as_list

if TYPE_CHECKING:
    from torch import Tensor

Rows = NDArray[np.int64]


def row_index(rows: ArrayLike, n: int) -> Rows:
    """``rows`` as an array of integer row numbers in ``0 .. n - 1``.

    Raises:
        ValueError: They are not one row of integers; a mask, for one, would pick rows 0 and 1.
        IndexError: One is out of range.
    """
    index = np.asarray(rows)
    if index.ndim != 1 or (len(index) and not np.issubdtype(index.dtype, np.integer)):
        raise ValueError(
            "rows must be a flat sequence of integers; "
            f"got {index.dtype} of shape {index.shape}. Turn a mask into rows with np.flatnonzero."
        )
    if len(index) and not (index.min() >= 0 and index.max() < n):
        raise IndexError(
            f"rows must lie in 0 .. {n - 1}; got {index.min()} .. {index.max()}. "
            "Pass positions in this table, counted from its start."
        )
    return index.astype(np.int64)


def names_of(kind: str, values: Iterable[Any]) -> tuple[str, ...]:
    """Ids, groups or domains, which ``kind`` calls them in messages, as strings.

    Bytes are decoded as UTF-8, anything else is converted by ``str``.

    Raises:
        TypeError: As for ``as_list``.
        ValueError: A name is missing (``None``, NaN, or what pandas has for them), or has no form
            in UTF-8, as a lone surrogate has none.
    """
    names: list[str] = []
    for row, value in enumerate(as_list(kind, values)):
        if is_missing(value):
            raise _missing(kind, row, value)
        try:
            name = value.decode() if isinstance(value, bytes) else str(value)
            name.encode()
        except UnicodeError:
            raise ValueError(
                f"{kind} must be text that UTF-8 can hold; row {row} is {value!r}. Rename it."
            ) from None
        names.append(name)
    return tuple(names)


def is_missing(value: Any) -> bool:
    """Whether a value is ``None``, NaN, or what pandas and NumPy have for a time that is none."""
    if value is None:
        return True
    if isinstance(value, str | bytes | int):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas' NA has no truth, and neither has an array
        return type(value).__name__ == "NAType"


def group_codes(groups: Sequence[str]) -> Rows:
    """Number of the group of each row, ``(n,)``, in order of first appearance; none may lack."""
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(group, len(numbers)) for group in groups]
    for group in filter(is_missing, numbers):
        raise _missing("groups", codes.index(numbers[group]), group)
    return np.array(codes, dtype=np.int64)


def _missing(kind: str, row: int, value: Any) -> ValueError:
    return ValueError(
        f"{kind} must have a name for each row; row {row} has {value!r}. Name what belongs "
        "to nothing else by something of its own, such as its row, or drop the row."
    )


def split_rows(groups: Sequence[str], fractions: Sequence[float], *, seed: int) -> list[Rows]:
    """Row indices of the remainder and of one part per fraction, each sorted; they partition all.

    Whole groups are dealt in an order drawn from ``seed`` to the parts, last part first, until a
    part holds at least its fraction of the rows; whatever is left is the remainder. So the last
    part does not depend on the others: a validation part leaves the test rows as they were. With
    groups of one row the sizes are exact up to rounding. Each of ``fractions`` is in (0, 1), and
    their sum below 1.
    """
    if not all(0 < f < 1 for f in fractions) or sum(fractions) >= 1:
        raise ValueError(
            "each split fraction must lie in (0, 1) and their sum below 1; "
            f"got {list(fractions)}. Lower them so that rows remain to train on."
        )
    codes = group_codes(groups)
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(sizes))
    part_of_group = np.zeros(len(sizes), dtype=np.int64)
    at = 0
    for part in range(len(fractions), 0, -1):
        wanted, size = round(fractions[part - 1] * len(codes)), 0
        while size < wanted and at < len(order):
            part_of_group[order[at]] = part
            size += int(sizes[order[at]])
            at += 1
    parts = [np.flatnonzero(part_of_group[codes] == part) for part in range(len(fractions) + 1)]
    if any(len(part) == 0 for part in parts):
        raise ValueError(
            f"every part of a split needs a row; {len(codes)} rows in {len(sizes)} groups gave "
            f"parts of {[len(part) for part in parts]}. Use larger fractions, or more groups."
        )
    return parts


def folds(groups: Sequence[str], k: int, *, seed: int) -> Rows:
    """Fold number of each row, ``(n,)`` in ``0 .. k - 1``; rows of a group share a fold.

    Groups are dealt in a random order, largest first, each to the fold with the fewest rows, so
    that folds differ by at most the size of one group.
    """
    codes = group_codes(groups)
    sizes = np.bincount(codes)
    if not 2 <= k <= len(sizes):
        raise ValueError(
            f"folds must lie in [2, {len(sizes)}], the number of groups; got {k}. "
            "Use fewer folds or give more groups."
        )
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    fold_sizes = np.zeros(k, dtype=np.int64)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold = int(fold_sizes.argmin())
        fold_of_group[group] = fold
        fold_sizes[fold] += sizes[group]
    return fold_of_group[codes]


def deal(groups: Sequence[str], k: int, *, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Rows outside and rows inside each of the ``k`` folds of ``folds``, int64 and rising."""
    import torch  # what reads pairs alone does without it

    numbers = torch.from_numpy(folds(groups, k, seed=seed))
    inside = [numbers == number for number in range(k)]
    return [((~own).nonzero().flatten(), own.nonzero().flatten()) for own in inside]


class _Takes(Protocol):
    def take(self, rows: Rows, /) -> Self: ...


T = TypeVar("T", bound=_Takes)


def take_split(
    table: T, groups: Sequence[str], *, test: float, val: float, seed: int
) -> tuple[T, ...]:
    """Take ``(train, test)`` or ``(train, val, test)`` of anything with ``take``, by group."""
    shares = [test] if val == 0 else [val, test]
    return tuple(table.take(part) for part in split_rows(groups, shares, seed=seed))
