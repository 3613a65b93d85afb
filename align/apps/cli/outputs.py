"""What is to be written is looked at before the first item is encoded, which may take hours."""

from __future__ import annotations

import tempfile
from pathlib import Path


def check_adapter_folder(path: Path) -> None:
    """Raise ``OSError`` unless an adapter can be saved to ``path``."""
    from align.adapters.artifact.files import LAYOUT

    folder = path.expanduser()
    LAYOUT.check_free(folder)
    check_writable(folder.parent)


def check_file(path: Path) -> None:
    """Raise ``OSError`` unless a file can be written to ``path``, or replaced there."""
    file = path.expanduser()
    if file.is_dir():
        raise IsADirectoryError(
            f"{file} must be free or a file; it is a folder. Name a file in it, or another one."
        )
    check_writable(file.parent)


def check_folder(path: Path) -> None:
    """Raise ``OSError`` unless files can be written to the folder ``path``, new or not."""
    folder = path.expanduser()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"{folder} must be free or a folder; it is a file. Choose another name, or remove the "
            "file."
        )
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """Raise ``OSError`` unless files can be made in ``folder``, which may not be there yet."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise NotADirectoryError(
            f"{folder} must be a folder, or a place where one can be made; {there} is a file. "
            "Choose another place, or remove the file."
        )
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise type(error)(
            f"files must be allowed in {folder}; making one in {there} failed with: "
            f"{error.strerror or error}. Choose another place, or change its permissions."
        ) from error
