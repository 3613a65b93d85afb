"""What an index keeps on disk: a manifest, and segments that are written once and never changed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from align._checks import check_length, check_side
from align.adapters.adapter import Side
from align.atomic import atomic_file

_SCHEMA = 1
_MANIFEST = "index.json"

STORED = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
}
"""Ways to store tokens, by the names that a manifest gives them."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in the folder of an index; replaced last when the index is saved.

    Attributes:
        side: The side that the gallery items belong to.
        segments: Number of items in each segment by its name, in the order of adding.
        schema: Version of the layout of the folder.
    """

    side: Side
    segments: dict[str, int]
    schema: int = _SCHEMA

    def __post_init__(self) -> None:
        check_side(self.side)


@dataclass(frozen=True, slots=True)
class MultiVectorManifest:
    """What is in the folder of an index of multi-vectors; replaced last when it is saved.

    Attributes:
        dtype: How tokens are stored, a key of ``STORED``.
        segments: Number of items in each segment by its name, in the order of adding.
        schema: Version of the layout of the folder.
    """

    dtype: str
    segments: dict[str, int]
    schema: int = _SCHEMA

    def __post_init__(self) -> None:
        if self.dtype not in STORED:
            raise ValueError(
                f"dtype must be one of {sorted(STORED)}; got {self.dtype!r}. "
                "Name one of them as a string."
            )


M = TypeVar("M", Manifest, MultiVectorManifest)


def has_manifest(folder: Path) -> bool:
    """Whether an index was saved in ``folder``."""
    return (folder / _MANIFEST).exists()


def read_manifest(folder: Path, kind: type[M]) -> M:
    """The manifest of the index in ``folder``, one of ``kind``.

    Raises:
        FileNotFoundError: The folder holds no index.
        ValueError: The manifest is of another version or another kind of index, or has unknown or
            missing fields.
    """
    if not has_manifest(folder):
        raise FileNotFoundError(
            f"an index is a folder with {_MANIFEST}; {folder} has none. "
            "Pass the folder that an index was saved to, or create and save one."
        )
    found = json.loads((folder / _MANIFEST).read_text())
    if found.get("schema") != _SCHEMA:
        raise ValueError(
            f"{folder / _MANIFEST} must have schema {_SCHEMA}; got {found.get('schema')!r}. "
            "Read it with the version of this package that wrote it, or rebuild the index."
        )
    known = {field.name for field in fields(kind)}
    if set(found) != known:
        raise ValueError(
            f"{folder / _MANIFEST} must have the fields {sorted(known)}; got {sorted(found)}. "
            "Open it with the class that saved it (with side, Index; with dtype, "
            "MultiVectorIndex), restore it from a copy, or rebuild the index."
        )
    return kind(**found)


def write_manifest(folder: Path, manifest: Manifest | MultiVectorManifest) -> None:
    """Replace the manifest in ``folder`` by ``manifest``, whole or not at all."""
    with atomic_file(folder / _MANIFEST) as scratch:
        scratch.write_text(json.dumps(asdict(manifest), indent=1))


def write_segment(folder: Path, ids: Sequence[str], tensors: dict[str, Tensor]) -> str:
    """Write ``ids`` and what belongs to them to ``folder`` under a new name; the name."""
    name = uuid.uuid4().hex
    held = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with atomic_file(folder / "segments" / f"{name}.safetensors") as scratch:
        save_file(held, scratch)
    with atomic_file(folder / "segments" / f"{name}.json") as scratch:
        scratch.write_text(json.dumps(list(ids)))
    return name


def read_segment(folder: Path, name: str) -> tuple[list[str], dict[str, Tensor]]:
    """Ids and tensors of the segment ``name``; tensors stay on disk until read.

    Raises:
        FileNotFoundError: A file of the segment is missing.
    """
    ids = json.loads((folder / "segments" / f"{name}.json").read_text())
    with safe_open(folder / "segments" / f"{name}.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    return ids, tensors


def check_segment(folder: Path, name: str, items: int, ids: int, vectors: int) -> None:
    """Raise ``ValueError`` unless segment ``name`` holds ``items`` ids and as many vectors."""
    if not ids == vectors == items:
        raise ValueError(
            f"segment {name} of {folder} must hold {items} items; got {ids} ids and "
            f"{vectors} vectors. Restore the folder from a copy, or rebuild the index."
        )


def check_free(folder: Path, name: str) -> None:
    """Raise ``FileExistsError`` if ``folder`` holds an index; ``name`` is the class that asks."""
    if has_manifest(folder):
        raise FileExistsError(
            f"a new index needs a folder without one; {folder} holds an index. "
            f"Use {name}.open to add to it, or choose another folder."
        )


def check_unchanged(folder: Path, manifest: M | None, kind: type[M]) -> None:
    """Raise ``RuntimeError`` unless the folder is as it was when ``manifest`` was read or written.

    ``None`` stands for a folder without an index.
    """
    on_disk = read_manifest(folder, kind) if has_manifest(folder) else None
    if on_disk != manifest:
        raise RuntimeError(
            f"{folder} must be as this index left it; another process has saved to it "
            "since. Open it again and add the new items there."
        )


def check_new_ids(ids: Sequence[str], known: AbstractSet[str], items: int) -> None:
    """Raise unless ``ids`` are ``items`` strings, each new.

    Raises:
        TypeError: An id is not a string.
        ValueError: Their number is another, or an id repeats or is ``known``.
    """
    check_length("ids", ids, items)
    new: set[str] = set()
    repeated = []
    for item in ids:
        if not isinstance(item, str):
            raise TypeError(f"ids must be strings, as JSON keeps them; got {item!r}. Use str.")
        if item in new or item in known:
            repeated.append(item)
        new.add(item)
    if repeated:
        raise ValueError(
            f"every id can be added once; {len(repeated)} repeat or are in the index already, "
            f"the first {repeated[:5]}. Leave them out, or name the new items differently."
        )
