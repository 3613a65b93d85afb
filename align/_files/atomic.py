"""Files and folders that appear whole or not at all, even if the process is killed."""

from __future__ import annotations

import ctypes
import os
import re
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

STALE_SECONDS = 3600.0  # no writer takes an hour over one file or folder


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder of one kind holds, so that no other is taken for it and replaced.

    Attributes:
        name: Of the kind, in words without an article, for messages.
        files: Paths, from the folder, of all files that one may hold.
        is_one: Whether a folder that holds no others is of this kind.
    """

    name: str
    files: frozenset[str]
    is_one: Callable[[Path], bool]

    def foreign(self, folder: Path) -> list[str]:
        """Paths of what a folder of this kind does not hold: other names, links, devices."""
        subfolders = {str(Path(file).parent) for file in self.files} - {"."}

        def is_ours(path: Path) -> bool:
            name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
            if stat.S_ISDIR(mode):
                return name in subfolders
            return stat.S_ISREG(mode) and name in self.files

        others = (path for path in _entries(folder) if not is_ours(path))
        return sorted(path.relative_to(folder).as_posix() for path in others)

    def check_free(self, path: Path) -> None:
        """Raise ``OSError`` unless ``path`` is free, an empty folder, or a folder of this kind."""
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(
                f"{path} must be free or a folder; it is a file. "
                "Choose another name, or remove the file."
            )
        if not path.is_dir() or not any(path.iterdir()):
            return
        foreign = self.foreign(path)
        if foreign:
            contents = f"holds {foreign[:5]} too"
        elif not self.is_one(path):
            names = sorted(each.relative_to(path).as_posix() for each in _entries(path))
            contents = f"holds {names[:5]} and is none"
        else:
            return
        article = "an" if self.name[0] in "aeiou" else "a"
        raise FileExistsError(
            f"{article} {self.name} is saved to a new folder or over another {self.name}, which "
            f"it replaces; {str(path)!r} {contents}. Choose another folder, or move those away."
        )

    def remove(self, folder: Path) -> None:
        """Remove the files of this kind from ``folder``, and folders where nothing is left."""
        if folder.is_symlink():
            return
        foreign = self.foreign(folder)
        for path in reversed(_entries(folder)):
            if path.relative_to(folder).as_posix() not in foreign:
                with suppress(OSError):
                    (path.rmdir if path.is_dir() else path.unlink)()
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield an empty scratch file beside ``path`` that replaces it on success, vanishes on error.

    Where ``path`` is a link, the file that it names is replaced. The file gets the permissions of
    any new file: safetensors lets only the owner read what it saves. A scratch file that a killed
    writer left over an hour ago is removed.

    Raises:
        FileExistsError: Something that is no file is there, such as a folder or a device.
        OSError: The disk is full, or the folder cannot be written.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(
            f"{path} must be free or a file; it is a folder, a pipe or a device. "
            "Choose another name."
        )
    path = _behind_links(path)
    scratch = _scratch(path, "tmp")
    try:
        with writing(path, scratch):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in _left(path, stat.S_ISREG):
                left.unlink(missing_ok=True)
            scratch.touch()
            mode = scratch.stat().st_mode
            yield scratch
            scratch.chmod(mode)
            _sync(scratch)
            os.replace(scratch, path)
            _sync(path.parent)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, layout: Layout) -> Iterator[Path]:
    """Yield an empty scratch folder beside ``path`` that takes its place on success.

    A folder that is there is exchanged for the new one at once where the system can do that
    (Linux, macOS). Elsewhere it is set aside first and removed last, and put back if that fails;
    a process killed in between leaves it beside ``path``, where ``read_whole`` finds it. Of the old
    folder only the files that ``layout`` names are removed. Links and permissions are treated as
    by ``atomic_file``.

    Raises:
        FileExistsError: A folder is there that ``layout`` does not describe.
        NotADirectoryError: ``path`` is a file.
        OSError: The disk is full, or the folder above cannot be written.
    """
    path = _behind_links(path)
    layout.check_free(path)
    scratch, aside = _scratch(path, "tmp"), _scratch(path, "old")
    try:
        with writing(path, scratch):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in _left(path, stat.S_ISDIR):
                layout.remove(left)
            scratch.mkdir()
            yield scratch
            for file in _entries(scratch):
                if file.is_file():
                    file.chmod(scratch.stat().st_mode & 0o666)
                _sync(file)
            _sync(scratch)
            layout.check_free(path)
            if not path.exists() or not any(path.iterdir()):
                os.replace(scratch, path)
            elif not _exchange(scratch, path):
                os.replace(path, aside)
                try:
                    os.replace(scratch, path)
                except BaseException:
                    os.replace(aside, path)
                    raise
            _sync(path.parent)
    finally:
        layout.remove(scratch)
        if path.exists():
            layout.remove(aside)


def read_whole(path: Path, read: Callable[[Path], T]) -> T:
    """What ``read`` makes of a folder that a writer may be replacing: of the old or the new one.

    The folder is read anew where ``read`` raises ``OSError`` or ``ValueError`` and another one has
    taken its place meanwhile, or it was itself set aside, so ``read`` must notice files that do not
    belong together. Where a writer was killed after it had set the folder aside, that one is read.
    """
    while True:
        folder = settled(path) or path
        with _identity(folder) as before:
            try:
                return read(folder)
            except (OSError, ValueError):
                now = settled(path) or path
                with _identity(now) as after:
                    if (folder, before) == (now, after):
                        raise


def settled(path: Path) -> Path | None:
    """The folder at ``path``, or the one that its writer has set aside; ``None`` if there is none.

    A writer between its two renames has a scratch folder beside ``path``: it is waited for.
    """
    for _ in range(100):
        if path.is_dir():
            return path
        scratches = _scratches(_behind_links(path))
        for each in scratches:
            if each.name.endswith(".old") and each.is_dir() and not each.is_symlink():
                return each
        if not scratches:
            break
        time.sleep(0.001)
    return path if path.is_dir() else None


@contextmanager
def _identity(folder: Path) -> Iterator[tuple[int, int] | None]:
    """Which folder this is, kept open so that no new one can get its number; ``None`` if none."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        status = os.fstat(handle)
        yield status.st_dev, status.st_ino
    finally:
        os.close(handle)


@contextmanager
def writing(path: Path, *scratch: Path) -> Iterator[None]:
    """Say of an error of the system what was not written, by way of ``scratch``, and what to do."""
    try:
        yield
    except OSError as error:
        ours, name = {str(path), str(path.parent)}, str(error.filename)
        about_us = error.filename is None or name in ours
        if error.strerror is None or not (about_us or name.startswith(tuple(map(str, scratch)))):
            raise
        raise reworded(
            error,
            f"{path} must be written whole; the system says: {error.strerror}. "
            "Nothing was changed. Free space or choose a folder that can be written, and repeat.",
        ) from error


def reworded(error: OSError, message: str) -> OSError:
    """An error of the same kind and ``errno`` whose text is ``message`` alone."""
    new = type(error)(message)
    new.errno = error.errno
    return new


def _behind_links(path: Path) -> Path:
    """What a chain of links at ``path`` leads to, which need not exist; else ``path``."""
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"{path} must not be a link that leads to itself; {error}. Remove the link."
        ) from error


def _scratch(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{ending}")


def _scratches(path: Path) -> list[Path]:
    """What writers of ``path`` have left beside it, or are at work on."""
    form = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}\.(tmp|old)")
    with suppress(OSError):
        return [each for each in path.parent.iterdir() if form.fullmatch(each.name)]
    return []


def _left(path: Path, is_kind: Callable[[int], bool]) -> list[Path]:
    """Scratch of ``path``, real files or folders, that a writer left when it was killed."""
    old, now = [], time.time()
    for each in _scratches(path):
        with suppress(OSError):
            status = each.lstat()
            if is_kind(status.st_mode) and now - status.st_mtime > STALE_SECONDS:
                old.append(each)
    return old


def _entries(folder: Path) -> list[Path]:
    """Everything below ``folder``; links are listed and not followed."""
    return [
        Path(top) / name
        for top, folders, files in os.walk(folder, followlinks=False)
        for name in (*folders, *files)
    ]


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; false where the system or the file system cannot."""
    known = {"linux": ("renameat2", -100), "darwin": ("renameatx_np", -2)}
    if sys.platform not in known:
        return False
    name, here = known[sys.platform]  # here is AT_FDCWD
    rename = getattr(ctypes.CDLL(None), name, None)
    swap = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS
    return rename is not None and not rename(here, os.fsencode(one), here, os.fsencode(other), swap)
