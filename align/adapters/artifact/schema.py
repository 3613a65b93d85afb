"""Fields of a ``config.json``, checked one by one: a file that was edited is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

LARGEST = 2**30  # sizes beyond this are damage, and would overflow the size of a tensor


class Rule(NamedTuple):
    """What a field must hold, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    return whole or (isinstance(value, float) and math.isfinite(value))


def _is_size(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 1


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) > 0 and all(map(holds, value))


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
SLOT = Rule("0 or 1", lambda value: value in (0, 1) and not isinstance(value, bool))
SIZE = Rule(f"a whole number in [1, {LARGEST}]", _is_size)
NUMBER = Rule("a finite number", _is_number)
SIZES = Rule(f"a list of whole numbers in [1, {LARGEST}]", _list_of(_is_size))
NUMBERS = Rule("a list of finite numbers", _list_of(_is_number))
SHARE = Rule("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1)
DIGEST = Rule("64 hexadecimal digits", _is_digest)
OBJECT = Rule("an object", _is_object)
OBJECTS = Rule("a list of objects", _list_of(_is_object))
OBJECT_OR_NULL = Rule("an object or null", lambda value: value is None or _is_object(value))


AGAIN = "save or download the adapter again"


def fields(config: Mapping[str, Any], at: str, again: str = AGAIN, /, **rules: Rule) -> list[Any]:
    """The values of exactly these fields, in this order, each as its rule says.

    Args:
        config: An object that was read.
        at: What to call it.
        again: What to do where it is damaged.
        **rules: What each field must hold.

    Raises:
        ValueError: A field is unknown, missing, or holds something else.
    """
    unknown, missing = sorted(set(config) - set(rules)), sorted(set(rules) - set(config))
    if unknown or missing:
        raise ValueError(
            f"{at} must have exactly the fields {sorted(rules)}; "
            f"unknown: {unknown}, missing: {missing}. "
            "Load it with the version of isthmus that wrote it."
        )
    for name, rule in rules.items():
        if not rule.holds(config[name]):
            raise ValueError(
                f"{at}.{name} must be {rule.words}; got {repr(config[name])[:80]}. "
                f"The file is damaged or was edited: {again}."
            )
    return [config[name] for name in rules]
