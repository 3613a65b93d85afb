"""Which stored items a search may find: fields of their metadata, compared in Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from align.data.modality import Modality
from align.retrieval.storage.metadata import MODALITY, Records, modality_name
from align.retrieval.storage.packed_strings import Array

Where = Mapping[str, Any]
"""For each field a value to equal, several values to be one of, or a function that says of a value
whether it suits. Several values come as a list, tuple, set, range, array, ``Series``, or anything
else that can be gone through, such as the keys of a dictionary; a dictionary is one value.
``"modality"`` is a field of every item that has one."""

Condition = Callable[[Any], bool]

_LISTED = 1000
"""Items whose fields are named where one is asked for that none has."""


def conditions_of(where: Where) -> dict[str, Condition]:
    """What is asked of each field, as a function of its value.

    Args:
        where: A filter; generators in it are read to their end.

    Raises:
        TypeError: It is no mapping of names, or a value is of a kind that metadata cannot hold.
        ValueError: A value is NaN, or names a modality that does not exist.
    """
    if not isinstance(where, Mapping) or not all(isinstance(name, str) for name in where):
        raise TypeError(
            "where must map fields of the metadata to a value, several values or a function; "
            f'got {where!r}. Pass something like {{"modality": "image"}}.'
        )
    return {name: _condition_of(name, wanted) for name, wanted in where.items()}


def matching(records: Records, conditions: Mapping[str, Condition]) -> Array:
    """Which items have every field as it is wanted, ``(n,)`` bool.

    An item without a field does not match. The distinct values of a field are tried once each,
    and the fields that were asked for stay in memory.
    """
    keep = np.ones(len(records), dtype=bool)
    for name, suits in conditions.items():
        codes, values = records.column(name)
        # The last entry is what the code -1, no value, looks up.
        keep &= np.array([*map(suits, values), False], dtype=bool)[codes]
    return keep


def check_fields(
    conditions: Mapping[str, Condition], parts: Sequence[tuple[Records, Array | None]]
) -> None:
    """Raise ``ValueError`` if a field is asked for that no item has: it was mistyped, mostly.

    Args:
        conditions: As ``conditions_of`` gives them.
        parts: Records, and which of them there are, ``None`` for all.
    """
    for name in conditions:
        if name != MODALITY and not any(_has(records, alive, name) for records, alive in parts):
            known = {MODALITY}
            for records, _ in parts:
                known |= {
                    field for row in range(min(len(records), _LISTED)) for field in records.of(row)
                }
            raise ValueError(
                f"a filter must name fields that items of the index have; none has {name!r}. "
                f"Name one of those that are there, such as {sorted(known)[:20]}."
            )


def _has(records: Records, alive: Array | None, name: str) -> bool:
    there = records.column(name).codes >= 0
    return bool((there if alive is None else there & alive).any())


def _condition_of(name: str, wanted: Any) -> Condition:
    if callable(wanted):
        return lambda value: bool(wanted(value))
    if isinstance(wanted, range) and name != MODALITY:
        return lambda value: _is_in_range(value, wanted)
    if isinstance(wanted, (str, bytes, bytearray, Mapping)) or not isinstance(wanted, Iterable):
        return _one_of([_plain(name, wanted)])
    if getattr(wanted, "ndim", 1) == 0:
        return _one_of([_plain(name, wanted)])
    if hasattr(wanted, "columns"):
        raise TypeError(
            f"a filter must give {name!r} a value, several values or a function; got a table. "
            "Pass one column of it."
        )
    return _one_of([_plain(name, each) for each in wanted])


def _plain(name: str, wanted: Any) -> Any:
    """One value as JSON has it; numbers of NumPy, pandas and torch as Python's."""
    if hasattr(wanted, "tolist") and not isinstance(wanted, (str, bytes)):
        wanted = wanted.tolist()
    if isinstance(wanted, float) and math.isnan(wanted):
        raise ValueError(
            f"a filter must give {name!r} values that can be equal; got NaN, which equals nothing. "
            "Leave it out; a field that is null is asked for with None."
        )
    if name == MODALITY:
        if not isinstance(wanted, str):
            raise TypeError(
                f"a filter must give {name!r} names of modalities; got {wanted!r}. "
                f"Known are {', '.join(Modality.__members__).lower()}, or several joined by |."
            )
        return modality_name(int(Modality.parse(wanted)))
    if isinstance(wanted, (list, tuple)):
        return [_plain(name, each) for each in wanted]
    if isinstance(wanted, Mapping):
        return {key: _plain(name, each) for key, each in wanted.items()}
    if wanted is None or isinstance(wanted, (str, bool, int, float)):
        return wanted
    raise TypeError(
        f"a filter must give {name!r} what metadata can hold: text, a number, true or false, None, "
        f"lists and mappings of these; got a {type(wanted).__name__}, {str(wanted)[:60]}. Convert "
        "it as it was for the metadata, or pass a function."
    )


def _one_of(wanted: Sequence[Any]) -> Condition:
    # Numbers and texts are looked up; lists and mappings have to be compared one by one.
    known = {_key(each) for each in wanted if not isinstance(each, (list, dict))}
    others = [each for each in wanted if isinstance(each, (list, dict))]

    def suits(value: Any) -> bool:
        return value in others if isinstance(value, (list, dict)) else _key(value) in known

    return suits


def _key(value: Any) -> tuple[bool, Any]:
    """What is equal where JSON has it so: ``true`` is not 1, and 1 is 1.0."""
    return isinstance(value, bool), value


def _is_in_range(value: Any, wanted: range) -> bool:
    whole = isinstance(value, float) and value.is_integer()
    number = int(value) if whole else value
    return isinstance(number, int) and not isinstance(number, bool) and number in wanted
