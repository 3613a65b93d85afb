"""Which stored items a search may find: fields of their metadata, compared in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from align.retrieval.packed import Array
from align.retrieval.records import Records

Where = Mapping[str, Any]
"""For each field a value to equal, a list, tuple or set of values to be one of, or a function that
says of a value whether it suits. ``"modality"`` is a field of every item that has one."""


def check_where(where: Where) -> None:
    """Raise ``TypeError`` unless ``where`` is a mapping with strings as keys."""
    if not isinstance(where, Mapping) or not all(isinstance(name, str) for name in where):
        raise TypeError(
            "where must map fields of the metadata to a value, several values or a function; "
            f'got {where!r}. Pass something like {{"modality": "image"}}.'
        )


def matching(records: Records, where: Where) -> Array:
    """Which items have every field of ``where`` as it is wanted, ``(n,)`` bool.

    An item without a field does not match. The distinct values of a field are tried once each,
    and the fields that were asked for stay in memory.
    """
    keep = np.ones(len(records), dtype=bool)
    for name, wanted in where.items():
        codes, values = records.column(name)
        suits = _test_of(wanted)
        # The last entry is what the code -1, no value, looks up.
        keep &= np.array([*map(suits, values), False], dtype=bool)[codes]
    return keep


def _test_of(wanted: Any) -> Callable[[Any], bool]:
    if callable(wanted):
        return lambda value: bool(wanted(value))
    if isinstance(wanted, (list, tuple, set, frozenset)):
        return lambda value: any(_same(value, one) for one in wanted)
    return lambda value: _same(value, wanted)


def _same(value: Any, wanted: Any) -> bool:
    """Equality as JSON has it, where ``true`` is not 1."""
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)
