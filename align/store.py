"""A disk cache of embeddings, keyed by content, that survives a kill at any moment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align import upkeep
from align.embeddings import CompositeEncoder, Encoder, TokenEncoder
from align.multivector import MultiVector
from align.shards import TORCH_DTYPE, Label, StoreDtype
from align.shelf import Shelf
from align.upkeep import StoreProblem as StoreProblem
from align.upkeep import StoreStat as StoreStat

STALE_SECONDS = 3600.0  # no writer takes an hour over one scratch file

Encode = Callable[[list[Any]], tuple[Tensor, Tensor | None]]


class EmbeddingStore:
    """Encodes each distinct item once ever, and keeps the vectors on disk.

    An item is known by its content: the bytes of a file, a text, or an array, or the pixels of a
    picture. An encoder is known by its fingerprint. Missing items are encoded in batches, and each
    batch becomes one file that appears whole or not at all. So a kill loses at most the batch in
    flight; several processes may read and write one store at once, at worst encoding an item
    twice; and a vector is never wrong. One store object serves one thread.

    Not covered: an encoder whose vectors depend on the *name* of a file, and files that change
    while they are being encoded.

    Args:
        root: Folder of the store; made when first written to. ``~`` is expanded.
        dtype: How vectors are kept. ``"float16"`` halves the disk space and rounds each value to
            11 significant bits (relative error up to 5e-4); values below 6e-8 become 0. The two
            dtypes are kept apart, and both are returned as float32.
        batch: Items encoded and written at a time; also the most that a kill loses.

    Raises:
        ValueError: ``dtype`` or ``batch`` is out of range.
    """

    def __init__(
        self, root: str | Path, *, dtype: StoreDtype = "float32", batch: int = 256
    ) -> None:
        if dtype not in TORCH_DTYPE:
            raise ValueError(
                f"dtype must be one of {list(TORCH_DTYPE)}; got {dtype!r}. "
                "Use float32 unless disk space is short."
            )
        if batch < 1:
            raise ValueError(
                f"batch must be at least 1 item; got {batch}. 256 suits most encoders."
            )
        self.root = Path(root).expanduser()
        self.dtype: StoreDtype = dtype
        self.batch = batch
        self._shelves: dict[Label, Shelf] = {}

    def encode(self, encoder: Encoder, items: Sequence[Any], *, progress: bool = False) -> Tensor:
        """Pooled vectors of ``items``, from disk where they are known; ``(n, dim)`` float32, CPU.

        The vectors equal those of ``encoder.encode`` up to what the make-up of a batch changes in
        its round-off, and up to the rounding of a float16 store.

        Args:
            encoder: Anything with ``modality``, ``dim``, ``fingerprint`` and ``encode``.
            items: ``str``, ``pathlib.Path``, ``bytes``, ``PIL.Image.Image`` or NumPy arrays. A
                ``Path``, or for an image encoder a ``str``, names a file.
            progress: Show one bar over the items that are missing.

        Raises:
            TypeError: An item is of another type.
            ValueError: The encoder gave the wrong shape or dtype, or values that are not finite or
                beyond the range of float16; that batch is not stored.
            FileNotFoundError: A file is missing; nothing is encoded.
        """

        if isinstance(encoder, CompositeEncoder):
            return encoder.compose(items, partial(self.encode, progress=progress))

        def vectors(batch: list[Any]) -> tuple[Tensor, None]:
            found = encoder.encode(batch)
            _check_vectors(found, encoder.dim, encoder.fingerprint)
            _check_count(len(found), len(batch), encoder.fingerprint)
            return found, None

        keys = _keys(encoder.modality, items)
        label = Label(encoder.fingerprint, "pooled", self.dtype)
        wanted = dict(zip(keys, items, strict=True))
        shelf = self._filled(label, encoder.dim, wanted, vectors, progress)
        return shelf.pooled(keys) if keys else torch.empty(0, encoder.dim)

    def encode_tokens(
        self, encoder: TokenEncoder, items: Sequence[Any], *, progress: bool = False
    ) -> MultiVector:
        """Token vectors of ``items``, from disk where they are known; as ``encode`` otherwise."""

        def vectors(batch: list[Any]) -> tuple[Tensor, Tensor]:
            found = encoder.encode_tokens(batch)
            _check_vectors(found.tokens, encoder.token_dim, encoder.fingerprint)
            _check_count(len(found), len(batch), encoder.fingerprint)
            return found.tokens, found.offsets

        keys = _keys(encoder.modality, items)
        label = Label(encoder.fingerprint, "tokens", self.dtype)
        wanted = dict(zip(keys, items, strict=True))
        shelf = self._filled(label, encoder.token_dim, wanted, vectors, progress)
        if not keys:
            return MultiVector(torch.empty(0, encoder.token_dim), torch.zeros(1, dtype=torch.int64))
        return shelf.tokens(keys)

    def stat(self) -> list[StoreStat]:
        """What the store holds, one entry per encoder, kind and dtype; reads headers and keys."""
        return upkeep.stat(self.root)

    def verify(self) -> list[StoreProblem]:
        """Read every byte, and list shards that are unreadable or differ from their checksum.

        Scratch files over an hour old, left by writers that were killed, are listed too. An empty
        list means that all is well. ``prune`` removes what is listed.
        """
        return upkeep.verify(self.root, older_than=STALE_SECONDS)

    def prune(self, *, drop: Collection[str] = ()) -> int:
        """Make the store smaller without losing a good vector; returns the bytes freed.

        Removes what ``verify`` lists, keeps one copy of each item, and merges the small shards of
        an encoder. Other processes may go on reading and writing; at worst they encode an item
        again. Only an encoder named in ``drop`` should not be in use.

        Args:
            drop: Fingerprints, as ``stat`` gives them, of encoders to remove altogether.

        Raises:
            ValueError: The store does not know a fingerprint in ``drop``; nothing is removed.
        """
        return upkeep.prune(self.root, drop=drop, older_than=STALE_SECONDS)

    def _filled(
        self, label: Label, width: int, wanted: dict[bytes, Any], encode: Encode, progress: bool
    ) -> Shelf:
        """The shelf of ``label``, after encoding and writing whatever it lacks of ``wanted``."""
        shelf = self._shelves.setdefault(label, Shelf(self.root, label))
        shelf.refresh()
        if shelf.width not in (None, width):
            raise ValueError(
                "an encoder must keep its width as long as its fingerprint; the store has vectors "
                f"of width {shelf.width} for {label.fingerprint!r}, and now the encoder says "
                f"{width}. Put whatever changed into the fingerprint."
            )
        missing = [key for key in wanted if key not in shelf]
        if not missing:
            return shelf
        from tqdm import tqdm

        with tqdm(total=len(missing), unit="item", disable=not progress) as bar:
            for at in range(0, len(missing), self.batch):
                keys = missing[at : at + self.batch]
                vectors, offsets = encode([wanted[key] for key in keys])
                shelf.write(keys, _stored(vectors, self.dtype), offsets)
                bar.update(len(keys))
        shelf.refresh()
        lost = sum(key not in shelf for key in missing)
        if lost:
            raise OSError(
                f"what is written to {shelf.folder} must stay there; {lost} of {len(missing)} "
                "vectors are gone already. Check the disk, and that nobody empties the store."
            )
        return shelf


def _keys(modality: str, items: Sequence[Any]) -> list[bytes]:
    if isinstance(items, str | bytes):
        raise TypeError(
            f"items must be a sequence of items; got one {type(items).__name__}. Pass [item]."
        )
    return [item_key(item, modality) for item in items]


def item_key(item: object, modality: str) -> bytes:
    """SHA-256 of what an encoder of ``modality`` sees of ``item``; 32 bytes.

    Kinds of item are told apart: a text never has the key of a file with the same bytes.

    Raises:
        TypeError: The item is not a text, path, bytes, picture or plain NumPy array.
        FileNotFoundError: The file is missing.
    """
    if isinstance(item, Path) or (isinstance(item, str) and modality == "image"):
        with open(item, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.sha256(b"file\0")).digest()
    if isinstance(item, str):
        return hashlib.sha256(b"text\0" + item.encode("utf-8", "surrogatepass")).digest()
    if isinstance(item, bytes):
        return hashlib.sha256(b"bytes\0" + item).digest()
    if isinstance(item, np.ndarray) and not item.dtype.hasobject:
        header = repr((item.dtype.descr, item.shape))
        return hashlib.sha256(f"array\0{header}\0".encode() + item.tobytes()).digest()
    from PIL import Image

    if isinstance(item, Image.Image):
        pixels = item.tobytes()
        orientation = item.getexif().get(0x0112)  # encoders turn the picture by it
        seen = (item.mode, item.size, item.getpalette(None), item.info.get("transparency"))
        return hashlib.sha256(f"image\0{seen!r}{orientation!r}\0".encode() + pixels).digest()
    raise TypeError(
        "an item must be a str, pathlib.Path, bytes, PIL.Image.Image or NumPy array without "
        f"objects; got {type(item).__name__}. Convert it, or call the encoder without a store."
    )


def _check_vectors(vectors: Tensor, width: int, fingerprint: str) -> None:
    """Raise unless an encoder gave what it promised."""
    if (
        vectors.ndim != 2
        or vectors.shape[1] != width
        or vectors.dtype != torch.float32
        or vectors.device.type != "cpu"
    ):
        raise ValueError(
            f"an encoder must give float32 vectors of width {width} on the CPU; {fingerprint!r} "
            f"gave {vectors.dtype} of shape {tuple(vectors.shape)} on {vectors.device}. "
            "Correct its encode method or the width it names. Nothing of this batch was stored."
        )
    bad = (~vectors.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"an encoder must give finite values; {fingerprint!r} gave NaN or infinity in "
            f"{len(bad)} of {len(vectors)} rows of a batch, the first at {bad[:5]}. "
            "Encode in float32, or drop those items. Nothing of this batch was stored."
        )


def _check_count(given: int, wanted: int, fingerprint: str) -> None:
    if given != wanted:
        raise ValueError(
            f"an encoder must give one entry per item; {fingerprint!r} gave {given} "
            f"for {wanted} items. Correct its encode method. Nothing of this batch was stored."
        )


def _stored(vectors: Tensor, dtype: StoreDtype) -> Tensor:
    """``vectors`` in the dtype of the store; raises where that cannot hold a value."""
    stored = vectors.detach().to(TORCH_DTYPE[dtype])
    if not stored.isfinite().all():
        raise ValueError(
            f"a {dtype} store holds values up to 65504; the largest here is "
            f"{vectors.abs().max().item():.6g}. Use EmbeddingStore(..., dtype='float32')."
        )
    return stored
