"""JSON files that others may have written: read whole, and refused where they are not plain."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from align._files.atomic import reworded
from align._files.codec import Schema

LARGEST_FILE = 64 * 2**20  # bytes; no file of settings comes near
DEEPEST = 64  # nested lists and objects


def read_json(path: Path, schema: Schema, *, again: str) -> tuple[dict[str, Any], bool]:
    """The object in a JSON file, and whether it is of a newer minor version of its schema.

    Raises:
        FileNotFoundError: There is no such file, or it is a pipe or a device.
        OSError: It cannot be read.
        ValueError: It is too large or too deep, not JSON in UTF-8, of another
            schema, or it names a field twice or holds a number that is not finite.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise unreadable(path, error, again) from error
    try:
        if len(text) > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE} bytes")
        data = parse(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path.name} must be JSON in UTF-8; reading it failed with: {error}. {again}"
        ) from error
    newer = schema.is_newer(data.get("schema") if isinstance(data, dict) else None, path.name)
    return data, newer


def is_of(path: Path, schema: Schema) -> bool:
    """Whether there is a whole JSON file of this schema."""
    try:
        read_json(path, schema, again="")
    except (OSError, ValueError):
        return False
    return True


def parse(text: str) -> Any:
    """What JSON says, where it says it once and in finite numbers and whole characters.

    Raises:
        ValueError: It does not, or is nested more than ``DEEPEST`` deep.
        RecursionError: It is nested so deep that it cannot be parsed.
    """
    data = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
    _check(data, DEEPEST)
    return data


def to_json(data: Mapping[str, Any], *, again: str) -> str:
    """JSON text of an object, with a line per field; raises ``ValueError`` for NaN or infinity."""
    try:
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(
            "every number of a card and of settings must be finite, as JSON has no others; "
            f"got one that is not ({error}). {again}"
        ) from error


def check_regular(path: Path) -> None:
    """Raise ``FileNotFoundError`` unless there is a file, or a link to one: a pipe blocks."""
    if not path.is_file():
        came = "it is a folder, a pipe or a device" if path.exists() else "there is none"
        raise FileNotFoundError(f"{str(path)!r} must be a file; {came}. Check the path.")


def unreadable(path: Path, error: OSError, again: str) -> OSError:
    """What to raise where the system does not let a file be read."""
    return reworded(
        error,
        f"{str(path)!r} must be readable; the system says: {error.strerror or error}. {again}",
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice[:80]!r} is there more than once")
    return data


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond the largest number")
    return value


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # half of a surrogate pair is no character
        return
    if isinstance(value, dict | list):
        if depth == 0:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(each, depth - 1)
