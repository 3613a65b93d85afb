"""The adapter inside the folder of an index."""

from __future__ import annotations

from pathlib import Path

from align.adapters.adapter import Adapter, load
from align.adapters.artifact.files import README
from align.adapters.multi_vector.meta_tokens import MetaTokens, load_meta_tokens
from align.retrieval.storage.folder import ADAPTER
from align.retrieval.storage.manifest import AdapterKind, File, Manifest

AnyAdapter = Adapter | MetaTokens


def save_adapter(folder: Path, adapter: AnyAdapter | None) -> tuple[AdapterKind, tuple[File, ...]]:
    """Write the adapter of an index, if it has one; what it is and the files of it."""
    if adapter is None:
        return None, ()
    home = folder / ADAPTER
    adapter.save(home)
    files = sorted(path for path in home.rglob("*") if path.is_file())
    kind: AdapterKind = "meta tokens" if isinstance(adapter, MetaTokens) else "adapter"
    return kind, tuple(File.of(folder, path) for path in files)


def load_adapter(folder: Path, manifest: Manifest) -> AnyAdapter | None:
    """The adapter that ``save_adapter`` wrote, if its files are those that were written."""
    if manifest.adapter is None:
        return None
    for file in manifest.files:
        # What is there for people to read may be edited; verify still says so.
        if Path(file.path).name != README:
            file.check(folder)
    # An absolute path cannot be taken for the name of an adapter on the hub.
    home = (folder / ADAPTER).absolute()
    return load_meta_tokens(home) if manifest.adapter == "meta tokens" else load(home)
