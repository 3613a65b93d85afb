"""Embeddings that were made elsewhere, from NumPy archives: pairs, or one side of them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from align.data.arrays import dense_tensor
from align.data.embeddings import Embeddings, PairedEmbeddings
from align.data.sides import Side
from align.data.splits import names_of

Arrays = dict[str, np.ndarray[Any, Any]]
_MAY = {"source", "target", "ids", "groups"}


def read_npz(path: Path) -> PairedEmbeddings:
    """Pairs that were encoded elsewhere, from a NumPy archive.

    It has arrays ``source`` ``(n, d_source)`` and ``target`` ``(n, d_target)``, and may have
    ``ids`` and ``groups`` of ``n`` strings each.

    Raises:
        ValueError: An array is missing, unknown, or not what it has to be; pickled objects are
            refused.
        FileNotFoundError: There is no such file.
    """
    again = "Write it with numpy.savez(path, source=..., target=...)."
    arrays = _read(path, again)
    if not {"source", "target"} <= set(arrays) <= _MAY:
        raise ValueError(
            "an archive of pairs must hold the arrays source and target, and may hold ids and "
            f"groups; {path} holds {sorted(arrays)}. {again}"
        )
    texts = {name: arrays[name].tolist() for name in ("ids", "groups") if name in arrays}
    return PairedEmbeddings.from_arrays(arrays["source"], arrays["target"], **texts)


def read_side(path: Path, side: Side) -> Embeddings:
    """The embeddings of one side, from an archive of pairs or one that holds nothing else.

    It has an array ``(n, d)`` named after the side, and may have ``ids``; rows are numbered if not.

    Raises:
        ValueError: As for ``read_npz``.
        FileNotFoundError: There is no such file.
    """
    again = f"Write it with numpy.savez(path, {side}=..., ids=...)."
    arrays = _read(path, again)
    if not {side} <= set(arrays) <= _MAY:
        raise ValueError(
            f"an archive of items must hold the array {side}, and may hold ids; {path} holds "
            f"{sorted(arrays)}. {again}"
        )
    vectors = dense_tensor(arrays[side], name=side)
    ids = arrays["ids"].tolist() if "ids" in arrays else range(len(vectors))
    return Embeddings(vectors, None, names_of("ids", ids))


def _read(path: Path, again: str) -> Arrays:
    with path.open("rb") as file:  # NumPy leaves a file open that it cannot read
        try:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is one array")
            arrays = {name: archive[name] for name in archive.files}
        except (ValueError, EOFError, OSError, BadZipFile, zlib.error) as error:
            raise ValueError(
                "embeddings are read from a whole .npz archive of arrays of numbers and text; "
                f"reading {path} failed with: {error}. {again}"
            ) from error
    return {
        name: array.astype(array.dtype.newbyteorder("="), copy=False)
        for name, array in arrays.items()
    }
