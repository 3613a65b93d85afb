"""Where the pictures of an index lie: how their paths are kept, and found again after a move.

The rule, wherever the metadata of an item has a ``path``:

1. It is kept relative to the folder of the index, with ``/`` between its parts, if the two have a
   folder above them in common that is not the root of the file system; else whole. So a project
   whose index and pictures move together still finds them.
2. A path that is not whole is read from the folder of the index, wherever the process was started.
3. A picture that is not there is looked for in the folders that the user names as its new place:
   under the longest end of its path that is a file there, if no other picture of the index ends
   alike. So ``photos/a/1.jpg`` is never mistaken for ``photos/b/1.jpg``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Self

from align.data.composite import Composite

FIELD = "path"
"""The field of the metadata that holds the path of an item."""

_Parts = tuple[str, ...]


def path_to_keep(file: str | Path, folder: str | Path) -> str:
    """The path of a file as an index in ``folder`` keeps it; see the rule above."""
    # The folder of the file, not of what it links to: a link is kept under its own name.
    whole = _place(file)
    index = Path(os.path.realpath(folder))
    try:
        common = Path(os.path.commonpath([whole.parent, index]))
    except ValueError:  # on two drives
        return str(whole)
    if common == Path(common.anchor):
        return str(whole)
    return Path(os.path.relpath(whole, index)).as_posix()


def picture_path(path: str, folder: str | Path) -> Path:
    """The file that a kept path names for an index in ``folder``; it need not be there.

    A path that is whole stays as it is, links and all.
    """
    kept = Path(path)
    if kept.is_absolute():
        return kept
    start, parts = Path(os.path.realpath(folder)), list(kept.parts)
    while parts and parts[0] == "..":
        start = start.parent
        del parts[0]
    return start.joinpath(*parts)


@dataclass(frozen=True, slots=True, eq=False)
class PicturePaths:
    """The paths of the items of one index, and where to look for those that have moved."""

    folder: Path  # of the index
    moved_to: tuple[Path, ...] = ()  # folders, in the order in which they are tried
    by_name: Mapping[str, frozenset[_Parts]] = field(default_factory=dict)  # paths by their last

    @classmethod
    def of(
        cls, folder: str | Path, paths: Iterable[str], *, moved_to: Sequence[str | Path] = ()
    ) -> Self:
        """The kept ``paths`` of an index in ``folder``."""
        by_name: dict[str, set[_Parts]] = defaultdict(set)
        if moved_to:
            for parts in map(_parts, paths):
                by_name[parts[-1]].add(parts)
        named = {name: frozenset(found) for name, found in by_name.items()}
        return cls(Path(folder), tuple(map(Path, moved_to)), named)

    def find(self, path: str) -> Path:
        """The file of an item: where its path says, or where it has moved; it may be missing."""
        expected = picture_path(path, self.folder)
        if not self.moved_to or "\0" in path or expected.exists():
            return expected
        parts = _parts(path)
        alike = self.by_name.get(parts[-1], frozenset()) - {parts}
        for length in range(len(parts), 0, -1):
            end = parts[-length:]
            if any(other[-length:] == end for other in alike):
                break  # so do all shorter ends
            for root in self.moved_to:
                if (file := root.joinpath(*end)).is_file():
                    return file
        return expected


def metadata_of_pictures(
    items: Sequence[Any], metadata: Sequence[Mapping[str, Any]] | None, folder: str | Path
) -> list[Mapping[str, Any]] | None:
    """Metadata in which each item that is a ``Path`` has a path, unless the caller named one.

    Of a composite item it is the first part that is one.
    """
    files = [_file(item) for item in items]
    if not any(files):
        return None if metadata is None else list(metadata)
    given: Sequence[Mapping[str, Any]] = [{}] * len(items) if metadata is None else metadata
    return [
        {**fields, FIELD: path_to_keep(file, folder)}
        if file is not None and FIELD not in fields
        else fields
        for file, fields in zip(files, given, strict=True)
    ]


def _file(item: Any) -> Path | None:
    parts = item.values() if isinstance(item, Composite) else (item,)
    return next((part for part in parts if isinstance(part, Path)), None)


def _place(file: str | Path) -> Path:
    path = Path(file).expanduser()
    return Path(os.path.realpath(path.parent)) / path.name


def _parts(path: str) -> _Parts:
    """The names in a path, without its root and the steps upwards; at least one."""
    pure = PureWindowsPath(path) if "\\" in path and "/" not in path else PurePosixPath(path)
    names = [part for part in pure.parts if part not in ("..", pure.anchor)]
    return tuple(names) or (path,)
