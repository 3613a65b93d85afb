"""Named tensors in one safetensors file: mapped when it is read, written block by block."""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._files.strict_json import parse
from align.retrieval.storage.folder import RESTORE, new_digest, open_file
from align.retrieval.storage.packed_strings import Array

DTYPES = {
    "I64": torch.int64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
"""Kinds of number that the file of an index may hold, by the names of safetensors."""

_LENGTH = 8
_LARGEST_HEADER = 1 << 16
_BLOCK = 1 << 23


@dataclass(frozen=True, eq=False)
class MappedFile:
    """A file that is mapped: its bytes are read when they are used."""

    path: Path  # where it was when it was opened; the mapping stays when it is removed
    tensors: Mapping[str, Tensor]  # what it holds, by name
    _bytes: mmap.mmap

    @classmethod
    def open(cls, path: Path, *, inside: Path) -> MappedFile:
        """Map a file in the folder of an index, if its header describes its bytes."""
        with open_file(path, inside=inside) as file:
            size = os.fstat(file.fileno()).st_size
            if size < _LENGTH:
                raise _damaged(path, f"it has {size} bytes")
            try:
                held = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
            except OSError as error:
                raise OSError(
                    f"{path} must be mapped to be read; the system says: {error.strerror}. "
                    "Free memory or handles of files, or compact the index."
                ) from error
        length = int.from_bytes(held[:_LENGTH], "little")
        if not 2 <= length <= min(_LARGEST_HEADER, size - _LENGTH):
            raise _damaged(path, f"its header would have {length} of {size} bytes")
        try:
            header = parse(held[_LENGTH : _LENGTH + length].decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"its header is no JSON: {error}") from error
        if not isinstance(header, dict):
            raise _damaged(path, "its header is no JSON object")
        header.pop("__metadata__", None)
        tensors, start, end = {}, _LENGTH + length, 0
        entries = sorted((_entry(path, *item) for item in header.items()), key=lambda e: e[:3])
        for first, last, name, dtype, shape in entries:
            count = math.prod(shape)
            if first != end or start + last > size or last - first != count * dtype.itemsize:
                raise _damaged(path, f"{name} would lie at {first} to {last} as {shape}")
            end = last
            tensors[name] = (
                torch.frombuffer(held, dtype=dtype, count=count, offset=start + first)
                if count
                else torch.empty(0, dtype=dtype)
            ).reshape(shape)
        if start + end != size:
            raise _damaged(path, f"its header describes {start + end} of {size} bytes")
        return cls(path, tensors, held)

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def is_whole(self) -> bool:
        """Whether the file has not been cut since, which would end a process that reads it."""
        return self._bytes.size() >= len(self._bytes)

    def digest(self) -> str:
        """The checksum of the bytes that are mapped."""
        digest = new_digest()
        for start in range(0, len(self._bytes), _BLOCK):
            digest.update(memoryview(self._bytes)[start : start + _BLOCK])
            self.release()
        return digest.hexdigest()

    def release(self) -> None:
        """Let memory go that holds bytes which were read; they are read again when needed."""
        if hasattr(self._bytes, "madvise"):
            self._bytes.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A tensor in contiguous pieces, to be written or joined."""

    dtype: torch.dtype  # a value of DTYPES
    shape: tuple[int, ...]  # of the whole
    arrays: Iterable[Array]  # its numbers or bytes in their order; read once

    @classmethod
    def of(cls, array: Array) -> Blocks:
        """One block."""
        return cls(torch.from_numpy(array[:0]).dtype, array.shape, [array])

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return math.prod(self.shape) * self.dtype.itemsize

    def join(self) -> Tensor:
        """All blocks as one tensor."""
        flat = np.concatenate([np.ascontiguousarray(array).reshape(-1) for array in self.arrays])
        return torch.from_numpy(flat).view(self.dtype).reshape(self.shape)


def write_tensors(path: Path, tensors: Mapping[str, Blocks]) -> str:
    """Write a safetensors file, holding one block at a time; the checksum of what was written."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    # Wide numbers first, so that each lies at a multiple of its size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": names[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    digest = new_digest()
    with path.open("wb") as file:

        def write(data: bytes | memoryview) -> None:
            file.write(data)
            digest.update(data)

        write(len(text).to_bytes(_LENGTH, "little") + text)
        for name in order:
            written = 0
            for array in tensors[name].arrays:
                if array.size:
                    write(np.ascontiguousarray(array).data.cast("B"))
                    written += array.nbytes
            assert written == tensors[name].nbytes, name
    return digest.hexdigest()


def _entry(
    path: Path, name: str, entry: object
) -> tuple[int, int, str, torch.dtype, tuple[int, ...]]:
    """Where a tensor begins and ends, its name, dtype and shape."""
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [first, last], **rest}:
            numbers = [*shape, first, last]
            whole = all(type(number) is int and 0 <= number < 1 << 62 for number in numbers)
            if whole and not rest and kind in DTYPES and len(shape) <= 2 and first <= last:
                return first, last, name, DTYPES[kind], tuple(shape)
    raise _damaged(path, f"its header says of {name[:40]!r}: {str(entry)[:200]}")


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} must be a whole segment of an index; {what}. {RESTORE}")
