"""Which files of the disk an index may show: those in the folders that the user named."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders from which files may be shown: real paths, in order, none inside another."""

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, folders: Iterable[str | Path]) -> Self:
        """The folders that a user named; ``~`` is expanded."""
        real = []
        for folder in folders:
            path = Path(folder).expanduser().resolve()
            if not path.is_dir():
                raise NotADirectoryError(
                    f"a root must be a folder; {str(folder)!r} is none. "
                    "Pass the folder that the indexed files lie in."
                )
            real.append(path)
        return cls(_outermost(real))

    @classmethod
    def around(cls, files: Iterable[str | Path]) -> Self:
        """The folders that hold these files; a name whose folder is not there adds none."""
        # The folder of the name, not of what it links to: a link out of the folder stays refused.
        parents = {
            os.path.dirname(os.path.abspath(name)) for name in files if "\0" not in str(name)
        }
        return cls(_outermost([Path(p).resolve() for p in parents if os.path.isdir(p)]))

    def holds(self, file: Path) -> bool:
        """Whether a file is there and may be shown."""
        try:
            self.find(file)
        except (FileNotFoundError, PermissionError):
            return False
        return True

    def find(self, name: str | Path) -> Path:
        """The real path, links followed, of a file that may be shown.

        Raises:
            FileNotFoundError: There is no such file, or it is no regular file.
            PermissionError: It lies outside the folders.
        """
        try:
            real = Path(name).resolve(strict=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise FileNotFoundError(
                f"the file of an item must be there; {str(name)!r} cannot be found. "
                "If it has moved, start again with --root and the folder that it is in now."
            ) from error
        if not any(real.is_relative_to(folder) for folder in self.folders):
            raise PermissionError(
                "only files in the folders given with --root are shown; "
                f"{str(name)!r} lies outside. "
                "Name its folder with --root if it may be shown."
            )
        if not real.is_file():
            raise FileNotFoundError(
                f"the file of an item must be a regular file; {str(name)!r} is none. "
                "Index the files anew."
            )
        return real


def _outermost(folders: Iterable[Path]) -> tuple[Path, ...]:
    real = set(folders)
    return tuple(sorted(path for path in real if real.isdisjoint(path.parents)))
