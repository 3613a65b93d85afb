"""What an encoder is made of: digests of its files, and the fingerprint that they add up to."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align._files.atomic import atomic_file
from align._files.cache import cache_folder

logger = logging.getLogger(__name__)

# Raised by one whenever the code of this folder would give other vectors from the same files.
_RECIPE = 1


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of the bytes of ``path``, read as a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_memo(path: Path) -> dict[str, Any]:
    """What was hashed before; empty where the memo is missing or damaged."""
    try:
        memo = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memo if isinstance(memo, dict) else {}


def weights_digest(path: Path) -> str:
    """Hex SHA-256 of a large file, computed once and then remembered.

    The memo is ``weights.json`` in the folder named by ``ISTHMUS_CACHE``, or in
    ``~/.cache/isthmus``. An entry holds as long as the size and the modification time of the file
    do. Processes may share the memo: it is replaced as a whole, and an entry lost to another
    process only costs one more hashing.
    """
    path = path.resolve()
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    memo_path = cache_folder() / "weights.json"
    match _read_memo(memo_path).get(str(path)):
        case {"stamp": known, "sha256": str(digest)} if known == stamp and _is_digest(digest):
            return digest
    digest = sha256_file(path)
    try:
        with atomic_file(memo_path) as scratch:
            memo = {**_read_memo(memo_path), str(path): {"stamp": stamp, "sha256": digest}}
            scratch.write_text(json.dumps(memo, indent=1), encoding="utf-8")
    except OSError as error:
        logger.warning(
            "could not remember the digest of %s, so it will be computed again: %s. "
            "Set ISTHMUS_CACHE to a folder that can be written.",
            path,
            error,
        )
    return digest


def _is_digest(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def files_digests(folder: Path, files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each file, keyed by its path relative to ``folder``; weights are remembered."""
    return {
        file.relative_to(folder).as_posix(): (
            weights_digest(file) if file.suffix == ".safetensors" else sha256_file(file)
        )
        for file in files
    }


def fingerprint(modality: str, architecture: str, pooling: str, parts: Mapping[str, Any]) -> str:
    """``modality-architecture-pooling-`` and 16 hex digits over everything that matters.

    ``parts`` is whatever else could change a vector, and must be JSON. Letters, digits and ``._+-``
    only, so that it can name a folder.
    """
    whole = [_RECIPE, modality, architecture, pooling, dict(parts)]
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    names = (re.sub(r"[^\w.+]+", "_", x, flags=re.ASCII) for x in (modality, architecture, pooling))
    return "-".join((*names, digest))
