"""The folder of an index: which files in it are ours, and how one is opened without surprises."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b, file_digest
from io import BufferedReader
from pathlib import Path

from align._files.atomic import reworded

MANIFEST, LOCK = "index.json", "index.lock"
SEGMENTS, DELETIONS, ADAPTER = "segments", "deletions", "adapter"
SUFFIXES = {SEGMENTS: ".safetensors", DELETIONS: ".npy"}
"""Subfolders whose files an index writes and removes, and how the names of those end."""

RESTORE = "Restore the folder from a copy, or rebuild the index."

new_digest = partial(blake2b, digest_size=16)
"""Checksum of a file: BLAKE2b of 128 bits, written as hexadecimal digits."""

_DIGITS = "[0-9a-f]{32}"
_SCRATCH = re.compile(rf"\.({re.escape(MANIFEST)}|{ADAPTER})\.{_DIGITS}\.(tmp|old)")


def name_pattern(subfolder: str) -> str:
    """The form of the names that an index gives to its files there, as a regular expression."""
    return _DIGITS + re.escape(SUFFIXES[subfolder])


def is_ours(subfolder: str, name: str) -> bool:
    """Whether an index gives this name to files of a subfolder, scratch files included."""
    own = name_pattern(subfolder)
    return re.fullmatch(rf"{own}|\.{own}\.{_DIGITS}\.tmp", name) is not None


def has_manifest(folder: Path) -> bool:
    """Whether an index was saved in ``folder``."""
    return os.path.lexists(folder / MANIFEST)


def check_layout(folder: Path) -> None:
    """Raise unless the subfolders that are there are folders of their own, and the files files.

    A subfolder that is a link would have what lies elsewhere written and removed.
    """
    for name in (SEGMENTS, DELETIONS, ADAPTER, MANIFEST, LOCK):
        is_file = name in (MANIFEST, LOCK)
        mode = _mode(folder / name)
        if mode is not None and not (stat.S_ISREG if is_file else stat.S_ISDIR)(mode):
            wanted = "file" if is_file else "folder"
            raise (FileExistsError if is_file else NotADirectoryError)(
                f"{folder / name} must be a {wanted} inside the index; it is {_kind(mode)}. "
                f"Nothing was changed. Put the {wanted} itself there, or use another folder."
            )
    if _mode(folder / LOCK) is not None and (folder / LOCK).stat().st_size:
        raise FileExistsError(
            f"{folder / LOCK} must be the empty file by which writers of an index wait for each "
            "other; it holds something. Move that file away, or use another folder."
        )


def check_new(folder: Path) -> None:
    """Raise unless an index can be begun in ``folder`` without touching anything that is there."""
    if has_manifest(folder):
        raise FileExistsError(
            f"a new index needs a folder without one; {folder} holds an index. "
            "Use Index.open to add to it, or choose another folder."
        )
    if not folder.is_dir():
        if _mode(folder) is not None:
            raise NotADirectoryError(
                f"an index is saved to a folder; {folder} is something else. Choose another name."
            )
        return
    with explained(folder, "a folder that can be read", "Make it readable, or choose another."):
        foreign = _foreign(folder)
    if foreign:
        raise FileExistsError(
            "a new index needs a folder without files of the names that it gives to its own; "
            f"{folder} holds {foreign[:5]}. Choose another folder, or move those away."
        )
    check_layout(folder)


def _foreign(folder: Path) -> list[str]:
    """What is in the way, unless a first save that was killed can have left it there."""
    there = [name for name in (SEGMENTS, DELETIONS, ADAPTER) if _mode(folder / name) is not None]
    # A first save begins with the lock, so subfolders without one were never ours.
    if _mode(folder / LOCK) is None:
        return there
    return [
        f"{name}/{entry.name}"
        for name in there
        if name in SUFFIXES
        for entry in sorted(_listed(folder / name), key=lambda entry: entry.name)
        if not is_ours(name, entry.name)
    ]


def remove_others(folder: Path, held: Sequence[str]) -> None:
    """Remove segments and deletions whose paths are not held; mapped ones stay readable.

    Those are what a manifest has replaced, and what writers left that were killed. Only files of
    the form that an index gives its own are removed, from subfolders that are no links.
    """
    unused = [
        entry
        for name in SUFFIXES
        for entry in _listed(folder / name)
        if is_ours(name, entry.name) and f"{name}/{entry.name}" not in held
    ]
    with os.scandir(folder) as entries:
        unused += [entry for entry in entries if _SCRATCH.fullmatch(entry.name)]
    for entry in unused:
        if entry.is_file(follow_symlinks=False):
            Path(entry.path).unlink(missing_ok=True)


def open_file(path: Path, *, inside: Path) -> BufferedReader:
    """Open a file inside the folder of an index, which may be reached by a link.

    Links, pipes and devices in it are refused with ``OSError``, not waited for.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    with explained(path, "a file that can be read", "Make it readable, or restore it from a copy."):
        step = inside
        for part in path.relative_to(inside).parts:
            step = step / part
            mode = step.lstat().st_mode
            wanted = "file" if step == path else "folder"
            if not (stat.S_ISREG(mode) if step == path else stat.S_ISDIR(mode)):
                raise OSError(
                    f"{step} must be a {wanted} inside the index; it is {_kind(mode)}. "
                    f"Put the {wanted} itself there, or restore the index from a copy."
                )
        return os.fdopen(os.open(path, flags), "rb")


@contextmanager
def explained(path: Path, wanted: str, advice: str) -> Iterator[None]:
    """Say of an error of the system which path it is about, what that must be, and what to do."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # it says so already
            raise
        raise reworded(
            error, f"{path} must be {wanted}; the system says: {error.strerror}. {advice}"
        ) from error


def digest_of(file: BufferedReader) -> str:
    """BLAKE2b of the rest of a file, hexadecimal."""
    return file_digest(file, new_digest).hexdigest()


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder that is no link holds; names that are not UTF-8 stay as they are."""
    if not stat.S_ISDIR(_mode(folder) or 0):
        return []
    with os.scandir(folder) as entries:
        return list(entries)


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a pipe, socket or device"
