"""What fields of a saved adapter may hold."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from align._files.codec import Rule

LARGEST = 2**30  # sizes beyond this are damage, and would overflow the size of a tensor


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
