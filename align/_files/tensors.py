"""Tensors in one safetensors file whose header holds a digest of all that it says."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from align._files.atomic import atomic_file
from align._files.codec import Schema
from align._files.strict_json import check_regular, unreadable

DIGEST, SCHEMA = "sha256", "schema"


def digest_of(tensors: Mapping[str, Tensor | None], words: Mapping[str, str] | None = None) -> str:
    """SHA-256 over words and over each tensor's name, dtype, shape and bytes, in hexadecimal.

    Args:
        tensors: By name, on any device; ``None`` differs from every tensor.
        words: By name.
    """
    digest = hashlib.sha256(json.dumps(dict(words or {}), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        if tensor is None:
            digest.update(f"\0{name} none\0".encode())
            continue
        rows = tensor.detach().cpu().contiguous()
        digest.update(f"\0{name} {rows.dtype} {tuple(rows.shape)}\0".encode())
        digest.update(rows.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, schema: Schema, words: Mapping[str, str]
) -> None:
    """Write or replace a file of tensors, whole or not at all, with a digest of all of it.

    ``words`` are other texts of the header. ``OSError`` is raised where it cannot be written.
    """
    header = {**words, SCHEMA: str(schema)}
    with atomic_file(path) as scratch:
        save(tensors, scratch, {**header, DIGEST: digest_of(tensors, header)})


def save(tensors: Mapping[str, Tensor], path: Path, words: Mapping[str, str]) -> None:
    """``safetensors.torch.save_file`` for tensors anywhere; system errors are ``OSError``."""
    plain: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        rows = tensor.detach().cpu().contiguous()
        memory = rows.untyped_storage()
        # safetensors refuses tensors that share memory.
        alone = memory.nbytes() == rows.nbytes and memory.data_ptr() not in places
        plain[name] = rows if alone else rows.clone()
        places.add(memory.data_ptr())
    try:
        save_file(plain, path, metadata=dict(words))
    except SafetensorError as error:
        raise (_system_error(error, path) or error) from error


def open_tensors(
    path: Path, *, again: str, mapped: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of any safetensors file, on the CPU, and all words of its header.

    The arguments and what is raised are those of ``read_tensors``.
    """
    check_regular(path)
    try:
        with path.open("rb"):  # errors of the system come from here, not from safetensors
            pass
        with safe_open(path, framework="pt") as file:
            words: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    # safetensors opens the file, then torch maps it by name, and says so with a RuntimeError
    # where another process has moved it away in between.
    except (SafetensorError, RuntimeError) as error:
        if system_error := _system_error(error, path):
            raise unreadable(path, system_error, again) from error
        raise ValueError(
            f"{str(path)!r} must be a whole safetensors file; reading it failed with: {error}. "
            f"{again}"
        ) from error
    except OSError as error:
        raise unreadable(path, error, again) from error
    if not mapped:
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return tensors, words


def read_tensors(
    path: Path, *, schema: Schema, again: str, mapped: bool = False, check: bool = True
) -> tuple[dict[str, Tensor], dict[str, str], bool]:
    """What ``write_tensors`` wrote, on the CPU.

    Args:
        path: The file.
        schema: What it must be.
        again: What to do where it is not whole, for messages.
        mapped: Leave tensors on disk until they are read; else they are copied out of the file.
        check: Compare the tensors and words with their digest, for which all of it is read.

    Returns:
        The tensors, the other words of the header, and whether the file is of a newer minor
        version of its schema.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be read.
        ValueError: It is damaged, or of another kind or version.
    """
    tensors, words = open_tensors(path, again=again, mapped=mapped)
    newer = schema.is_newer(words.get(SCHEMA), repr(str(path)), again)
    digest = words.pop(DIGEST, None)
    if check and digest != digest_of(tensors, words):
        raise ValueError(
            f"{str(path)!r} must hold the bytes that were written; its digest is another, so it "
            f"was damaged or changed. {again}"
        )
    del words[SCHEMA]
    return tensors, words, newer


def _system_error(error: Exception, path: Path) -> OSError | None:
    """The error of the system behind one of safetensors or torch, where its text ends with one."""
    number = re.search(r"\((?:os error )?(\d+)\)$", str(error))
    if number is None:
        return None
    code = int(number[1])
    return OSError(code, os.strerror(code), str(path))
