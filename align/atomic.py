"""Files and folders that appear whole or not at all, even if the process is killed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield an empty scratch file beside ``path`` that replaces it on success, vanishes on error.

    The file ends with the permissions that any new file gets, whatever its writer set: safetensors
    lets only the owner read what it saves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        scratch.touch()
        mode = scratch.stat().st_mode
        yield scratch
        scratch.chmod(mode)
        _sync(scratch)
        os.replace(scratch, path)
        _sync(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty scratch folder beside ``path`` that takes its place on success.

    A folder already at ``path`` is set aside first and removed last, so a kill between the two
    renames leaves the old one beside it under a ``.old`` name, never a mixture of both. If the
    second rename fails, the old folder is put back. Files in it end with the permissions that any
    new file gets.

    Raises:
        NotADirectoryError: ``path`` is a file.
    """
    if path.is_file():
        raise NotADirectoryError(
            f"{path} must be free or a folder; it is a file. "
            "Choose another name, or remove the file."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    scratch = path.with_name(f".{path.name}.{token}.tmp")
    aside = path.with_name(f".{path.name}.{token}.old")
    scratch.mkdir()
    try:
        yield scratch
        for file in scratch.rglob("*"):
            if file.is_file():
                file.chmod(scratch.stat().st_mode & 0o666)
            _sync(file)
        _sync(scratch)
        if path.exists():
            os.replace(path, aside)
        try:
            os.replace(scratch, path)
        except OSError:
            if aside.exists():
                os.replace(aside, path)
            raise
        _sync(path.parent)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
