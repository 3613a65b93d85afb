"""Where data lies, where unpacked copies go, and how both are read."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from align._files.atomic import Layout, atomic_folder


def cache_folder() -> Path:
    """``ISTHMUS_CACHE``, or ``~/.cache/isthmus`` if it is not set; need not exist yet."""
    return Path(os.environ.get("ISTHMUS_CACHE", "~/.cache/isthmus")).expanduser()


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
            "or use emoji() or stdlib_code(), which need no files."
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


def unpacked(archive: Path, name: str) -> Path:
    """The files of a zip in a folder below the cache, unpacked whole on the first call.

    The folder is named after the archive's table of contents, names and checksums, so another
    archive of the same name unpacks beside it.
    """
    with zipfile.ZipFile(archive) as pack:
        listing = "\n".join(f"{i.filename} {i.CRC:08x} {i.file_size}" for i in pack.infolist())
        digest = hashlib.sha256(listing.encode()).hexdigest()[:12]
        folder = cache_folder() / name / digest
        if not folder.is_dir():
            files = frozenset(i.filename for i in pack.infolist() if not i.is_dir())
            with atomic_folder(folder, Layout("copy of an archive", files, Path.is_dir)) as scratch:
                pack.extractall(scratch)
    return folder
