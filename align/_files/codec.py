"""Plain data that may have been edited, checked field by field; and the versions of saved files."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

_OLD = "Load it with the version of isthmus that wrote it."


@dataclass(frozen=True, slots=True)
class Schema:
    """What a saved file is and its version, written ``NAME-MAJOR`` or ``NAME-MAJOR.MINOR``.

    A change that an older reader would misread makes a new major version; fields that it may
    ignore make a new minor one. A reader takes its own major version: it ignores unknown fields
    of a newer minor version.

    Attributes:
        name: Of the kind of file; empty for files that give the version only, as a number.
        major: Version that a reader must know.
        minor: Version of additions.
    """

    name: str
    major: int
    minor: int = 0

    def __str__(self) -> str:
        version = f"{self.major}.{self.minor}" if self.minor else str(self.major)
        return f"{self.name}-{version}" if self.name else version

    @property
    def value(self) -> str | int:
        """What a file says of itself."""
        return str(self) if self.name or self.minor else self.major

    def is_newer(self, found: object, name: str, again: str = _OLD) -> bool:
        """Whether a file is of a newer minor version, so that unknown fields are to be ignored.

        Args:
            found: The schema that it names.
            name: Of the file.
            again: What to do where it is of another kind or an older version.

        Raises:
            ValueError: It is of another kind or major version.
        """
        head = f"{self.name}-" if self.name else ""
        kind = str if self.name or "." in str(found) else int
        text = str(found) if type(found) is kind else ""
        version = re.fullmatch(rf"{re.escape(head)}(\d{{1,9}})(?:\.(\d{{1,9}}))?", text)
        major, minor = (int(part or 0) for part in version.groups()) if version else (-1, 0)
        if major == self.major:
            return minor > self.minor
        newer = "It is newer: install a newer version of isthmus." if major > self.major else again
        raise ValueError(f"{name} must have schema {self.value!r}; got {repr(found)[:80]}. {newer}")


ADDED: Mapping[str, bool] = {"added": True}
"""Metadata of a field that a minor version added: older files lack it and mean its default."""


class Rule(NamedTuple):
    """What a field must hold, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def whole_number(low: int, high: int) -> Rule:
    """Between two bounds, both included."""
    words = f"a whole number in [{low}, {high}]"
    return Rule(words, lambda value: type(value) is int and low <= value <= high)


def text_like(words: str, pattern: str) -> Rule:
    """A text that a regular expression matches as a whole."""
    return Rule(words, lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None)


def read_fields(
    data: Mapping[str, Any],
    at: str,
    again: str,
    kinds: Mapping[str, Any],
    *,
    newer: bool = False,
    optional: Collection[str] = (),
) -> dict[str, Any]:
    """The fields of an object, each of the type that ``kinds`` says, in that order; as ``decode``.

    Those that are ``optional`` may be left out, and are then not among what comes back.

    Raises:
        ValueError: A field is unknown, missing, or holds something else.
    """
    unknown = sorted(map(str, set(data) - set(kinds)))
    missing = sorted(set(kinds) - set(data) - set(optional))
    if missing or (unknown and not newer):
        raise ValueError(
            f"{at} must have exactly the fields {sorted(kinds)}; "
            f"unknown: {unknown[:8]}, missing: {missing}. {_OLD}"
        )
    return {
        name: decode(kind, data[name], f"{at}.{name}", again, newer=newer)
        for name, kind in kinds.items()
        if name in data
    }


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


def decode(kind: Any, data: Any, at: str, again: str, *, newer: bool = False) -> Any:
    """The value of type ``kind`` that JSON says.

    Args:
        kind: A dataclass, ``tuple[X, ...]``, ``list[X]``, ``dict[str, X]``, ``X | None``, a plain
            type, or one ``Annotated`` with a ``Rule``.
        data: What ``json.loads`` gave.
        at: What to call it.
        again: What to do where it is damaged.
        newer: Whether to ignore unknown fields.

    Raises:
        ValueError: A field is missing, unknown, or of another type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    words = _WORDS.get(kind, "")

    def inside(part: Any, value: Any, name: str) -> Any:
        return decode(part, value, f"{at}{name}", again, newer=newer)

    if is_dataclass(kind):
        words = "an object"
        if isinstance(data, Mapping):
            hints = get_type_hints(kind, include_extras=True)
            kinds = {each.name: hints[each.name] for each in fields(kind)}
            late = [each.name for each in fields(kind) if each.metadata.get("added")]
            return kind(**read_fields(data, at, again, kinds, newer=newer, optional=late))  # type: ignore[operator]  # a class, not an instance
    elif origin is Annotated:
        words = arguments[1].words
        if arguments[1].holds(data):
            return inside(arguments[0], data, "")
    elif origin in (Union, UnionType):
        if data is None and NoneType in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return inside(inner, data, "")
    elif origin in (tuple, list, Sequence):
        several = origin is not tuple or arguments[-1] is Ellipsis
        words = "a list" if several else f"a list of {len(arguments)}"
        if isinstance(data, list | tuple) and (several or len(arguments) == len(data)):
            parts = arguments[:1] * len(data) if several else arguments
            made = [inside(part, each, "[]") for part, each in zip(parts, data, strict=True)]
            return made if origin is list else tuple(made)
    elif origin in (dict, Mapping):
        words = "an object"
        if isinstance(data, Mapping) and all(isinstance(key, str) for key in data):
            return {key: inside(arguments[1], entry, f".{key}") for key, entry in data.items()}
    elif origin is Literal:
        words = f"one of {list(arguments)}"
        if any(type(data) is type(each) and data == each for each in arguments):
            return data
    elif kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        # json.loads takes NaN, Infinity and integers of any length, which ``dumps`` never writes.
        if abs(data) <= sys.float_info.max:
            return float(data)
    elif kind is Any:
        return data
    elif origin is None and isinstance(data, kind) and isinstance(data, bool) == (kind is bool):
        return data
    raise _refused(at, words, data, again)


_WORDS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "true or false",
}


def _refused(at: str, words: str, data: object, again: str) -> ValueError:
    return ValueError(
        f"{at} must be {words}; got {repr(data)[:80]}. The file is damaged or was edited: {again}."
    )
