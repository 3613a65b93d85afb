"""The files of an embedding store: each holds the vectors of one batch, and never changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from align.atomic import atomic_file

SCHEMA = "isthmus-store-1"
SUFFIX = ".safetensors"
KEY_BYTES = 32  # SHA-256

Kind = Literal["pooled", "tokens"]
StoreDtype = Literal["float32", "float16"]
TORCH_DTYPE: dict[StoreDtype, torch.dtype] = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Label:
    """What a shard holds: vectors of one encoder, pooled or of tokens, in one dtype."""

    fingerprint: str
    kind: Kind
    dtype: StoreDtype

    def folder(self, root: Path) -> Path:
        """Where shards with this label live under ``root``."""
        return encoder_folder(root, self.fingerprint) / f"{self.kind}-{self.dtype}"


def encoder_folder(root: Path, fingerprint: str) -> Path:
    """The folder of one encoder: a readable start of its fingerprint, and a hash of all of it."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", fingerprint)[:48].strip("-.")
    return root / f"{readable}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}"


def _checksum(label: Label, tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the label and every tensor's name, dtype, shape and bytes, in hexadecimal."""
    digest = hashlib.sha256(json.dumps([SCHEMA, asdict(label)], sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


class Shard:
    """One open shard. The vectors are memory-mapped: only what is read leaves the disk.

    Attributes:
        path: The file.
        size: Its bytes.
        label: What it holds.
        keys: Content keys of its ``n`` items, ``(n, 32)`` uint8.
        vectors: ``(n, d)``, or for tokens ``(total_tokens, d)``, in the stored dtype.
        offsets: For tokens, item ``i`` owns rows ``offsets[i]:offsets[i + 1]``; else ``None``.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``; what can be seen without reading the vectors is checked.

        Raises:
            ValueError: The file is truncated, not a shard, or contradicts itself.
            OSError: The file cannot be opened.
        """
        with path.open("rb") as file:
            self.size = os.fstat(file.fileno()).st_size
        try:
            # A mapping outlives its file, so a pruned shard stays readable while this lives.
            handle: Any = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise ValueError(f"not a whole safetensors file ({error})") from error
        metadata: dict[str, str] = handle.metadata() or {}
        if metadata.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {metadata.get('schema')!r}, not {SCHEMA!r}")
        tensors: dict[str, Tensor] = {name: handle.get_tensor(name) for name in handle.keys()}
        self.path = path
        try:
            self.label = Label(**{name: metadata[name] for name in Label.__slots__})  # type: ignore[arg-type]
            self._sha256 = metadata["sha256"]
            self.keys = tensors["keys"]
            self.vectors = tensors["vectors"]
            self.offsets: Tensor | None = (
                tensors["offsets"] if self.label.kind == "tokens" else None
            )
            wanted = TORCH_DTYPE[self.label.dtype]
        except KeyError as error:
            raise ValueError(f"it lacks or does not know {error}") from error
        rows = len(self.vectors)
        if self.offsets is not None:
            ends = self.offsets
            ordered = ends.ndim == 1 and len(ends) > 1 and int(ends[0]) == 0
            if not (ordered and int(ends[-1]) == rows and bool((ends.diff() > 0).all())):
                raise ValueError("its offsets do not fit its tokens")
            rows = len(ends) - 1
        if (
            self.label.kind not in ("pooled", "tokens")
            or self.keys.dtype != torch.uint8
            or tuple(self.keys.shape) != (rows, KEY_BYTES)
            or self.vectors.ndim != 2
            or self.vectors.dtype != wanted
        ):
            raise ValueError("its keys do not fit its vectors")

    @staticmethod
    def write(
        folder: Path,
        label: Label,
        keys: Sequence[bytes],
        vectors: Tensor,
        offsets: Tensor | None,
    ) -> Path:
        """Write one shard into ``folder`` so that it appears whole or not at all; its path.

        Names start with the time, so that shards sort by age and of two that hold the same item
        the older one is read, by every process alike.
        """
        flat = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8)
        tensors = {"keys": flat.view(-1, KEY_BYTES), "vectors": vectors.contiguous()}
        if offsets is not None:
            tensors["offsets"] = offsets.contiguous()
        path = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}{SUFFIX}"
        metadata = {"schema": SCHEMA, **asdict(label), "sha256": _checksum(label, tensors)}
        with atomic_file(path) as scratch:
            scratch.write_bytes(save(tensors, metadata))
        return path

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def names(self) -> list[bytes]:
        """Content keys of the items, in order."""
        flat = self.keys.numpy().tobytes()
        return [flat[at : at + KEY_BYTES] for at in range(0, len(flat), KEY_BYTES)]

    def check_payload(self) -> None:
        """Read everything and raise ``ValueError`` if a byte differs from what was written."""
        tensors = {"keys": self.keys, "vectors": self.vectors}
        if self.offsets is not None:
            tensors["offsets"] = self.offsets
        if _checksum(self.label, tensors) != self._sha256:
            raise ValueError("its content differs from its checksum")

    def tokens(self, row: int) -> Tensor:
        """Token vectors of the item at ``row``, ``(t_i, d)``, a view of the file."""
        if self.offsets is None:
            raise ValueError(f"{self.path} must hold tokens; it holds pooled vectors. Use vectors.")
        return self.vectors[int(self.offsets[row]) : int(self.offsets[row + 1])]


def shard_paths(folder: Path) -> list[Path]:
    """The shards in ``folder``, oldest first; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix == SUFFIX and p.name[0] != ".")


def shelf_folders(root: Path) -> Iterator[Path]:
    """Every folder of shards under ``root``: ``root/<encoder>/<kind>-<dtype>``."""
    if root.is_dir():
        yield from sorted(p for p in root.glob("*/*") if p.is_dir())


def leftovers(root: Path, *, older_than: float) -> Iterable[Path]:
    """Scratch files under ``root`` last written over ``older_than`` seconds ago, by a dead writer.

    A younger one may belong to a writer that is still alive.
    """
    now = time.time()
    for path in sorted(root.glob(f"*/*/.*{SUFFIX}.*.tmp")):
        try:
            if now - path.stat().st_mtime > older_than:
                yield path
        except FileNotFoundError:  # its writer has just finished
            continue
