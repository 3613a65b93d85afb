"""What fields of a saved adapter may hold."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from align._files.codec import Rule, text_like, whole_number

AGAIN = "save or download the adapter again"
LARGEST = 2**30  # sizes beyond this are damage, and would overflow the size of a tensor


def _is_number(value: Any) -> bool:
    whole = type(value) is int and abs(value) <= LARGEST
    return whole or (type(value) is float and math.isfinite(value))


_FILLED = Rule("a list with an entry", lambda value: isinstance(value, list) and len(value) > 0)

Slot = Literal[0, 1]
Size = Annotated[int, whole_number(1, LARGEST)]
Count = Annotated[int, whole_number(0, LARGEST)]
Sizes = Annotated[list[Size], _FILLED]
Number = Annotated[Any, Rule("a finite number", _is_number)]
Numbers = Annotated[list[Number], _FILLED]
Share = Annotated[Any, Rule("a number in [0, 1)", lambda v: _is_number(v) and 0 <= v < 1)]
Digest = Annotated[str, text_like("64 hexadecimal digits", "[0-9a-f]{64}")]
Object = dict[str, Any]
Objects = Annotated[list[Object], _FILLED]
