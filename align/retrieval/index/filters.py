"""Which stored items a search may find: fields of their metadata, compared in Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.data.modality import Modality
from align.retrieval.storage.metadata import MODALITY, Records, modality_name
from align.retrieval.storage.packed_strings import Array
from align.retrieval.storage.segment import Segment
from align.retrieval.storage.segments import LiveSegment, starts_of
from align.scoring.topk import Neighbours

Where = Mapping[str, Any]
"""For each field a value to equal, several values to be one of, or a function that says of a value
whether it suits. Several values come as a list, tuple, set, range, array, ``Series``, or anything
else that can be gone through, such as the keys of a dictionary; a dictionary is one value.
An item without the field does not suit. ``"modality"`` is a field of every item that has one."""

Condition = Callable[[Any], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Searchable:
    """A segment of an index, and which of its items a search may find."""

    segment: Segment
    alive: Array | None  # which of them are not deleted, (n,) bool; None for all
    keep: Array | None  # which of those pass the filter too; None for all
    start: int  # the number of its first row among the rows of all segments

    @property
    def count(self) -> int:
        """How many items may be found."""
        return len(self.segment) if self.keep is None else int(np.count_nonzero(self.keep))

    def numbered(self, best: Neighbours) -> Neighbours:
        """Rows of the segment as rows that count through all segments."""
        return Neighbours(best.values, best.indices + self.start)


def searchable(segments: Sequence[LiveSegment], where: Where | None) -> list[Searchable]:
    """What is not deleted and matches."""
    for each in segments:
        each.segment.check_there()
    conditions = {} if where is None else conditions_of(where)
    _check_fields(conditions, segments)
    parts = []
    for each, start in zip(segments, starts_of(segments), strict=False):
        keep = alive = each.alive
        if conditions:
            keep = matching(each.segment.records, conditions)
            keep = keep if alive is None else keep & alive
        parts.append(Searchable(each.segment, alive, keep, start))
    return parts


def conditions_of(where: Where) -> dict[str, Condition]:
    """What is wanted of each field, as a function of its value; generators are used up."""
    if not isinstance(where, Mapping) or not all(isinstance(name, str) for name in where):
        raise TypeError(
            "where must map fields of the metadata to a value, several values or a function; "
            f'got {where!r}. Pass something like {{"modality": "image"}}.'
        )
    return {name: _condition_of(name, wanted) for name, wanted in where.items()}


def matching(records: Records, conditions: Mapping[str, Condition]) -> Array:
    """Which items have every field as it is wanted, ``(n,)`` bool.

    The distinct values of a field are tried once each, and the fields stay in memory.
    """
    keep = np.ones(len(records), dtype=bool)
    for name, suits in conditions.items():
        codes, values = records.column(name)
        # The last entry is what the code -1, no value, looks up.
        keep &= np.array([*map(suits, values), False], dtype=bool)[codes]
    return keep


def _check_fields(conditions: Iterable[str], segments: Sequence[LiveSegment]) -> None:
    """Raise ``ValueError`` if a field is named that no item has: it was mistyped, mostly."""

    def has(live: LiveSegment, name: str) -> bool:
        there = live.segment.records.column(name).codes >= 0
        return bool((there if live.alive is None else there & live.alive).any())

    for name in conditions:
        if name != MODALITY and not any(has(live, name) for live in segments):
            known = {MODALITY}
            for records in (live.segment.records for live in segments):
                known.update(*(records[row] for row in range(min(len(records), 1000))))
            raise ValueError(
                f"a filter must name fields that items of the index have; none has {name!r}. "
                f"Name one of those that are there, such as {sorted(known)[:20]}."
            )


def _condition_of(name: str, wanted: Any) -> Condition:
    if callable(wanted):
        return lambda value: bool(wanted(value))
    if isinstance(wanted, range) and name != MODALITY:
        return lambda value: _is_in_range(value, wanted)
    one = isinstance(wanted, (str, bytes, bytearray, Mapping)) or not isinstance(wanted, Iterable)
    if one or getattr(wanted, "ndim", 1) == 0:
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
            "Leave it out; a field that is null is found by None."
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
