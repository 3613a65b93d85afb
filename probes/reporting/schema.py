"""Frozen dataclasses to JSON and back, with every field accounted for."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def dumps(value: Any, **options: Any) -> str:
    """``value`` as JSON: dataclasses become objects and tuples arrays.

    Args:
        value: Dataclasses, dictionaries with string keys, tuples, strings, numbers, ``None``.
        **options: As for ``json.dumps``.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not have.
    """
    try:
        return json.dumps(value, default=asdict, allow_nan=False, **options)
    except ValueError as error:
        raise ValueError(
            "a number in a report must be finite; got NaN or an infinity. This is a defect of the "
            "probe that made it: please report it."
        ) from error


def decode(kind: Any, data: Any, at: str = "report") -> Any:
    """The value of type ``kind`` that ``dumps`` wrote as ``data``.

    Args:
        kind: A dataclass, ``tuple[X, ...]``, ``dict[str, X]``, ``X | None``, or a plain type.
        data: What ``json.loads`` gave.
        at: Where in the document this is, for messages.

    Raises:
        ValueError: A field is missing, unknown, or of another type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        names = {field.name for field in fields(kind)}
        present = set(data) if isinstance(data, dict) else set()
        if present != names:
            raise ValueError(
                f"{at} must have exactly the fields of {getattr(kind, '__name__', kind)}; unknown: "
                f"{sorted(present - names)}, missing: {sorted(names - present)}. "
                "Read it with the version of isthmus that wrote it."
            )
        hints = get_type_hints(kind)
        values = {name: decode(hints[name], data[name], f"{at}.{name}") for name in names}
        return kind(**values)  # type: ignore[operator]  # a class, not an instance
    if origin in (Union, UnionType):
        if data is None and NoneType in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return decode(inner, data, at)
    if origin is tuple and isinstance(data, list):
        kinds = arguments[:1] * len(data) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(data):
            return tuple(decode(k, x, f"{at}[]") for k, x in zip(kinds, data, strict=True))
    elif origin is dict and isinstance(data, dict):
        return {key: decode(arguments[1], entry, f"{at}.{key}") for key, entry in data.items()}
    elif origin is Literal:
        if data in arguments:
            return data
    elif kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        # json.loads takes NaN, Infinity and integers of any length, which ``dumps`` never writes.
        if abs(data) <= sys.float_info.max:
            return float(data)
    elif origin is None and isinstance(data, kind) and isinstance(data, bool) == (kind is bool):
        return data
    raise ValueError(
        f"{at} must be {kind}; got {type(data).__name__} {str(data)[:40]!r}. "
        "Read it with the version of isthmus that wrote it."
    )
