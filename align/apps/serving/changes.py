"""Changes that another process saves to the folder of an index while it is served."""

from __future__ import annotations

from align.retrieval.index.index import Index
from align.retrieval.storage.folder import MANIFEST

_Mark = tuple[int, int, int]


class IndexChangedError(RuntimeError):
    """The folder no longer holds what can be served without a new start."""


class Watch:
    """An index that is brought up to date whenever its manifest was replaced."""

    def __init__(self, index: Index) -> None:
        """Watch an index from when it was opened; nobody changes one that was never saved."""
        self._index = index
        self._mark: _Mark | None = None

    def changed(self) -> bool:
        """Take over what was saved since the last call; whether there was anything.

        It costs one look at the manifest where there was not.

        Raises:
            IndexChangedError: It is of another adapter, or cannot be read.
        """
        mark = self._look()
        if mark is None or mark == self._mark:
            return False
        try:
            changed = self._index.refresh()
        except (OSError, RuntimeError, ValueError) as error:
            raise IndexChangedError(
                f"an index that is served may gain and lose items, no more; {error} "
                "Then start align serve again."
            ) from error
        self._mark = mark
        return changed

    def _look(self) -> _Mark | None:
        """What changes when the manifest is replaced; ``None`` where there is none."""
        try:
            status = (self._index.folder / MANIFEST).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
