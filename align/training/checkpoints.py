"""A training run on disk: one file of tensors and numbers that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from align.atomic import atomic_file

SCHEMA = "isthmus-training-1"
Identity = Mapping[str, str]
"""What a run is of, by name: its settings and digests of what it started from."""


def digest(tensors: Iterable[Tensor | None]) -> str:
    """A fingerprint of shapes, types and bytes."""
    found = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            found.update(b"none")
            continue
        rows = tensor.detach().cpu().contiguous()
        found.update(f"{rows.dtype}{tuple(rows.shape)}".encode())
        found.update(rows.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def write(
    path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], identity: Identity
) -> None:
    """Replace the file at ``path`` by these; no pickle is written.

    Args:
        path: The file.
        tensors: By name, on any device.
        numbers: Whatever JSON holds, read back equal.
        identity: What a run that wants to continue must be of.
    """
    # Cloned, as safetensors refuses tensors that share memory.
    kept = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    texts = {
        "schema": SCHEMA,
        "numbers": json.dumps(dict(numbers), allow_nan=False),
        "identity": json.dumps(dict(identity)),
    }
    with atomic_file(path) as scratch:
        save_file(kept, scratch, metadata=texts)


def read(path: Path, identity: Identity) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the numbers that ``write`` wrote for the same run.

    Raises:
        ValueError: The file is damaged, of another version, or of another run.
    """
    again = "Pass another path, or remove this file to train from the start."
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"a checkpoint must be a whole safetensors file; reading {path} failed with: {error}. "
            f"{again}"
        ) from error
    if texts.get("schema") != SCHEMA:
        raise ValueError(
            f"a checkpoint must be of schema {SCHEMA!r}; {path} is of {texts.get('schema')!r}. "
            f"{again}"
        )
    theirs = json.loads(texts["identity"])
    other = [name for name in identity if identity[name] != theirs.get(name)]
    if other:
        changes = "; ".join(
            f"{name}: {theirs.get(name)} then, {identity[name]} now" for name in other
        )
        raise ValueError(
            "a run continues from a checkpoint of the same settings, pairs and start; "
            f"{path} differs in {changes}. {again}"
        )
    return tensors, json.loads(texts["numbers"])
