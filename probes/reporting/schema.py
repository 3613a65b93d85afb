"""Frozen dataclasses to JSON values and back, with every field accounted for."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def encode(value: Any) -> Any:
    """``value`` as what ``json.dumps`` takes: dataclasses become objects and tuples arrays.

    Args:
        value: Dataclasses, mappings with string keys, tuples, strings, numbers, ``None``.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not have.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [encode(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"a number in a report must be finite; got {value}. This is a defect of the probe "
            "that made it: please report it."
        )
    return value


def decode(kind: type[T], data: Any, *, at: str = "report") -> T:
    """The value of type ``kind`` that ``encode`` turned into ``data``.

    Args:
        kind: A dataclass, ``tuple[X, ...]``, ``dict[str, X]``, ``X | None``, or a plain type.
        data: What ``json.loads`` gave.
        at: Where in the document this is, for messages.

    Raises:
        ValueError: A field is missing, unknown, or of another type.
    """
    made: Any = _decode(kind, data, at)
    return made  # type: ignore[no-any-return]  # _decode works on hints, which carry no type


def _decode(kind: Any, data: Any, at: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass(kind, data, at)
    if origin in (Union, UnionType):
        if data is None and NoneType in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return _decode(inner, data, at)
    if origin is tuple and isinstance(data, list):
        if arguments[-1] is Ellipsis:
            return tuple(_decode(arguments[0], entry, f"{at}[]") for entry in data)
        if len(arguments) == len(data):
            parts = zip(arguments, data, strict=True)
            return tuple(_decode(part, entry, f"{at}[]") for part, entry in parts)
    elif origin is dict and isinstance(data, dict):
        return {key: _decode(arguments[1], entry, f"{at}.{key}") for key, entry in data.items()}
    elif origin is Literal:
        if data in arguments:
            return data
    elif kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        # json.loads takes NaN, Infinity and integers of any length, which encode does not write.
        if abs(data) <= sys.float_info.max:
            return float(data)
    elif origin is None and isinstance(data, kind) and isinstance(data, bool) == (kind is bool):
        return data
    raise ValueError(
        f"{at} must be {kind}; got {type(data).__name__} {str(data)[:40]!r}. "
        "Read it with the version of isthmus that wrote it."
    )


def _dataclass(kind: Any, data: Any, at: str) -> Any:
    known = {f.name for f in fields(kind)}
    held = set(data) if isinstance(data, dict) else set()
    if held != known:
        raise ValueError(
            f"{at} must have exactly the fields of {kind.__name__}; unknown: "
            f"{sorted(held - known)}, missing: {sorted(known - held)}. "
            "Read it with the version of isthmus that wrote it."
        )
    hints = get_type_hints(kind)
    return kind(**{name: _decode(hints[name], data[name], f"{at}.{name}") for name in known})
