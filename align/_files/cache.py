"""The folder for what can be made again: digests, exported networks, unpacked archives."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

from align._files.atomic import Layout, atomic_folder


def cache_folder() -> Path:
    """``ISTHMUS_CACHE``, or ``~/.cache/isthmus`` if it is not set; need not exist yet."""
    return Path(os.environ.get("ISTHMUS_CACHE", "~/.cache/isthmus")).expanduser()


def unpacked(archive: Path, name: str) -> Path:
    """The files of a zip in a folder below the cache, unpacked whole on the first call.

    The folder is named after the archive's table of contents, names and checksums, so another
    archive of the same name unpacks beside it.

    Args:
        archive: A zip whose contents are known, of this project or one that the user names.
        name: Of the folder below the cache that holds the copies.
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
