"""What each field of a card must hold, by its type: a file that was edited is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

MOST = 2**53  # whole numbers up to here mean the same to every reader of JSON
LONGEST = 100_000  # characters of a text
ENTRIES = 100_000  # of a list or an object


class Rule(NamedTuple):
    """What a field must hold, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value >= 0


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _by_name(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping)
        and len(value) <= ENTRIES
        and all(map(_is_text, value))
        and all(map(holds, value.values()))
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) <= ENTRIES


RULES = {
    "str": Rule(f"a text of at most {LONGEST} characters", _is_text),
    "str | None": Rule("a text or null", lambda value: value is None or _is_text(value)),
    "bool": Rule("true or false", lambda value: isinstance(value, bool)),
    "bool | None": Rule(
        "true, false or null", lambda value: value is None or isinstance(value, bool)
    ),
    "int": Rule(f"a whole number in [0, {MOST}]", _is_count),
    "int | None": Rule("a whole number or null", lambda value: value is None or _is_whole(value)),
    "float": Rule("a finite number", _is_number),
    "float | None": Rule("a finite number or null", lambda v: v is None or _is_number(v)),
    "tuple[int, int]": Rule(
        "two whole numbers",
        lambda value: _is_list(value) and len(value) == 2 and all(map(_is_count, value)),
    ),
    "Mapping[str, float]": Rule("an object of finite numbers", _by_name(_is_number)),
    "Mapping[str, str]": Rule("an object of texts", _by_name(_is_text)),
    "Sequence[Candidate]": Rule(
        "a list of objects",
        lambda value: _is_list(value) and all(isinstance(each, Mapping) for each in value),
    ),
}
SHARE = Rule("a number in [0, 1]", lambda value: _is_number(value) and 0 <= value <= 1)
SIZE = Rule("a whole number, at least 1", lambda value: _is_count(value) and value >= 1)
MAYBE_SHARE = Rule("a number in [0, 1] or null", lambda v: v is None or SHARE.holds(v))
NAMED = {
    "mrr": SHARE, "recall_at_10": SHARE, "chance_mrr": MAYBE_SHARE, "chance_at_10": MAYBE_SHARE,
    "d_source": SIZE, "d_target": SIZE,
}  # fmt: skip


def check(name: str, kind: type[Any], data: object) -> None:
    """Raise ``ValueError`` unless ``data`` has exactly the fields of ``kind``, of their types.

    Args:
        name: Of what is checked, for messages.
        kind: A dataclass whose annotations are in ``RULES``.
        data: What JSON gave.
    """
    again = "Load it with the version of isthmus that wrote it."
    if not isinstance(data, Mapping):
        raise ValueError(f"{name} must be an object; got a {type(data).__name__}. {again}")
    known = {field.name: str(field.type) for field in fields(kind)}
    unknown, missing = sorted(map(str, set(data) - set(known))), sorted(set(known) - set(data))
    if unknown or missing:
        raise ValueError(
            f"{name} must have exactly the fields of this version of isthmus; "
            f"unknown: {unknown[:8]}, missing: {missing}. {again}"
        )
    for field, annotation in known.items():
        rule = NAMED.get(field, RULES[annotation])
        if not rule.holds(data[field]):
            raise ValueError(
                f"{field} of {name} must be {rule.words}; got {repr(data[field])[:80]}. "
                "The file is damaged or was edited: save or download the adapter again."
            )
