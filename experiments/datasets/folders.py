"""Where data lies, and how it is read."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any


def data_folder(name: str) -> Path:
    """The folder ``name`` below ``ISTHMUS_DATA``.

    Raises:
        FileNotFoundError: ``ISTHMUS_DATA`` is not set, or has no such folder.
    """
    root = os.environ.get("ISTHMUS_DATA")
    folder = Path(root).expanduser() / name if root else None
    if folder is None or not folder.is_dir():
        came = f"{folder} is not a folder" if folder else "ISTHMUS_DATA is not set"
        raise FileNotFoundError(
            f"the data set {name!r} is read from a folder of that name below ISTHMUS_DATA; "
            f"{came}. Set ISTHMUS_DATA to the folder that holds {name}/, "
            "or use align.emoji_pairs() or stdlib_code(), which need no files."
        )
    return folder


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a gzipped JSON Lines file, in file order."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}; got {value!r}. Pass one of those."
        )
