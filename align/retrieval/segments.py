"""What an index keeps on disk: a manifest, and segments that are written once and never changed."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from align._checks import check_side
from align.adapters.adapter import Side
from align.atomic import atomic_file

_SCHEMA = 1
_MANIFEST = "index.json"


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


def has_manifest(folder: Path) -> bool:
    """Whether an index was saved in ``folder``."""
    return (folder / _MANIFEST).exists()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the index in ``folder``.

    Raises:
        FileNotFoundError: The folder holds no index.
        ValueError: The manifest is of another version, or has unknown or missing fields.
    """
    if not has_manifest(folder):
        raise FileNotFoundError(
            f"an index is a folder with {_MANIFEST}; {folder} has none. "
            "Pass the folder that Index.save wrote, or make one with Index.create."
        )
    found = json.loads((folder / _MANIFEST).read_text())
    if found.get("schema") != _SCHEMA:
        raise ValueError(
            f"{folder / _MANIFEST} must have schema {_SCHEMA}; got {found.get('schema')!r}. "
            "Read it with the version of this package that wrote it, or rebuild the index."
        )
    known = {field.name for field in fields(Manifest)}
    if set(found) != known:
        raise ValueError(
            f"{folder / _MANIFEST} must have the fields {sorted(known)}; got {sorted(found)}. "
            "Restore it from a copy, or rebuild the index."
        )
    check_side(found["side"])
    return Manifest(**found)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in ``folder`` by ``manifest``, whole or not at all."""
    with atomic_file(folder / _MANIFEST) as scratch:
        scratch.write_text(json.dumps(asdict(manifest), indent=1))


def write_segment(folder: Path, ids: list[str], vectors: Tensor) -> str:
    """Write ``ids`` and their ``vectors``, ``(n, d)``, to ``folder`` under a new name; the name."""
    name = uuid.uuid4().hex
    with atomic_file(folder / "segments" / f"{name}.safetensors") as scratch:
        save_file({"vectors": vectors.detach().cpu().contiguous()}, scratch)
    with atomic_file(folder / "segments" / f"{name}.json") as scratch:
        scratch.write_text(json.dumps(ids))
    return name


def read_segment(folder: Path, name: str, rows: int) -> tuple[list[str], Tensor]:
    """Ids and vectors ``(rows, d)`` of the segment ``name``; vectors stay on disk until read.

    Raises:
        FileNotFoundError: A file of the segment is missing.
        ValueError: The segment does not hold ``rows`` items.
    """
    ids = json.loads((folder / "segments" / f"{name}.json").read_text())
    with safe_open(folder / "segments" / f"{name}.safetensors", framework="pt") as file:
        vectors = file.get_tensor("vectors")
    if not len(ids) == len(vectors) == rows:
        raise ValueError(
            f"segment {name} of {folder} must hold {rows} items; got {len(ids)} ids and "
            f"{len(vectors)} vectors. Restore the folder from a copy, or rebuild the index."
        )
    return ids, vectors
