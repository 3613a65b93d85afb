"""The adapter inside the folder of an index."""

from __future__ import annotations

from pathlib import Path

from align.adapters.adapter import Adapter
from align.adapters.artifact import load
from align.adapters.meta_artifact import load_meta_tokens
from align.adapters.meta_tokens import MetaTokens
from align.retrieval.manifest import AdapterKind, File

_HOME = "adapter"

AnyAdapter = Adapter | MetaTokens


def save_adapter(folder: Path, adapter: AnyAdapter | None) -> tuple[AdapterKind, tuple[File, ...]]:
    """Write the adapter of an index, if it has one; what it is and the files of it."""
    if adapter is None:
        return None, ()
    home = folder / _HOME
    adapter.save(home)
    files = sorted(path for path in home.rglob("*") if path.is_file())
    kind: AdapterKind = "meta tokens" if isinstance(adapter, MetaTokens) else "adapter"
    return kind, tuple(File.of(folder, path) for path in files)


def load_adapter(folder: Path, kind: AdapterKind) -> AnyAdapter | None:
    """The adapter that ``save_adapter`` wrote.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is damaged.
    """
    if kind is None:
        return None
    # An absolute path cannot be taken for the name of an adapter on the hub.
    home = (folder / _HOME).absolute()
    return load_meta_tokens(home) if kind == "meta tokens" else load(home)
