"""A disk cache of embeddings, keyed by content, that survives a kill at any moment."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from align._checks import as_list, check_at_least, check_one_of
from align._display.interruption import saying_what_is_stored
from align._display.panel import render
from align._display.progress import progress_bar
from align.data.encoding import Encoder, JoinedEncoder, LayeredEncoder, TokenEncoder
from align.data.multi_vector import MultiVector
from align.encoders.cache import maintenance
from align.encoders.cache.database import (
    NAME,
    Database,
    Label,
    StoreDtype,
    check_folder,
    read,
    write,
)
from align.encoders.panels import store_line, store_panel

logger = logging.getLogger(__name__)

_ON_DISK: dict[StoreDtype, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}


class EmbeddingStore:
    """Encodes each distinct item once ever, and stores the vectors on disk.

    An item is known by its content: the bytes of a file, a text, or an array, or the pixels of a
    picture; an encoder by its fingerprint. Missing items are encoded in batches, each written whole
    or not at all: a kill loses at most the batch in flight. Several processes may read and write
    one store at once, at worst encoding an item twice. Vectors are compared with their checksum
    whenever they are read, and encoded again if they differ. All of it is one SQLite database,
    ``store.sqlite``.

    Not covered: an encoder whose vectors depend on the *name* of a file, files that change while
    they are being encoded, and a network file system that several machines write to at once. A
    power cut may cost the last batches; what is left is whole.

    Args:
        root: Folder of the store, new, empty or a store; made when first written to. ``~`` is
            expanded.
        dtype: Of the vectors on disk. ``"float16"`` halves the space and rounds each value to 11
            significant bits (relative error up to 5e-4); values below 6e-8 become 0. The two
            dtypes are stored apart, and both are returned as float32.
        batch: Items encoded and written at a time.

    Raises:
        FileExistsError: ``root`` is a folder that holds files and is no store.
        NotADirectoryError: ``root`` is a file.
        ValueError: ``dtype`` or ``batch`` is out of range.

    Examples:
        >>> import numpy as np, align
        >>> calls = []
        >>> def encode(texts):
        ...     calls.append(len(texts))
        ...     return np.array([[len(text), 1] for text in texts], "f4")
        >>> encoder = align.CallableEncoder(encode, name="lengths-v1", dim=2)
        >>> store = align.EmbeddingStore("cache")
        >>> once = store.encode(encoder, ["red", "blue"])
        >>> again = store.encode(encoder, ["blue", "red"])
        >>> calls
        [2]
    """

    def __init__(
        self, root: str | Path, *, dtype: StoreDtype = "float32", batch: int = 256
    ) -> None:
        advice = "Use float32 unless disk space is short."
        check_one_of("dtype", dtype, get_args(StoreDtype), advice)
        check_at_least("batch", batch, 1)
        self.root = Path(root).expanduser()
        self.dtype: StoreDtype = dtype
        self.batch = batch
        check_folder(self.root)
        self._file = Database(self.root)

    def __repr__(self) -> str:
        return store_line(self.root, self.dtype)

    def _repr_html_(self) -> str:
        return render(store_panel(self.root, self.dtype, batch=self.batch, file=NAME))

    def encode(
        self, encoder: Encoder, items: Sequence[Any], *, progress: bool | None = None
    ) -> Tensor:
        """Pooled vectors of ``items``, from disk where they are known; ``(n, dim)`` float32, CPU.

        The vectors equal those of ``encoder.encode`` up to what the make-up of a batch changes in
        its round-off, and up to the rounding of a float16 store.

        Args:
            encoder: Anything with ``modality``, ``dim``, ``fingerprint`` and ``encode``.
            items: ``str``, ``pathlib.Path``, ``bytes``, ``PIL.Image.Image`` or NumPy arrays. A
                ``Path``, or for an encoder of images or videos a ``str``, names a file.
            progress: Whether to draw a bar over the items that are missing; by default in a
                terminal or notebook.

        Raises:
            TypeError: An item is of another type.
            ValueError: The encoder gave the wrong shape or dtype, or values that are not finite or
                beyond the range of float16; that batch is not stored.
            FileNotFoundError: A file is missing; nothing is encoded.
        """
        items = as_list("items", items)
        if isinstance(encoder, JoinedEncoder):
            return encoder.compose(items, partial(self.encode, progress=progress))
        label = Label(encoder.fingerprint, "pooled", self.dtype, encoder.dim)
        keys = [item_key(item, encoder.modality) for item in items]
        stored = self._complete(
            label,
            dict(zip(keys, items, strict=True)),
            lambda x: (encoder.encode(x), None),
            progress,
        )
        return _vectors([stored[key] for key in keys], label)

    def encode_variants(
        self,
        encoder: LayeredEncoder,
        variants: Sequence[Encoder],
        items: Sequence[Any],
        *,
        progress: bool | None = None,
    ) -> list[Tensor]:
        """Vectors of ``items`` by each of some ``encoder.variants()``, as ``encode`` gives them.

        What any of them lacks is encoded by one pass through the network for all, and each keeps
        its vectors under its own fingerprint, where ``encode`` finds them.
        """
        items = as_list("items", items)
        keys = [item_key(item, encoder.modality) for item in items]
        labels = [Label(each.fingerprint, "pooled", self.dtype, each.dim) for each in variants]
        known = [set(self._read(label, keys)) for label in labels]
        missing = {
            key: item
            for key, item in zip(keys, items, strict=True)
            if any(key not in each for each in known)
        }

        def encode_batch(some: Sequence[bytes]) -> None:
            vectors = encoder.encode_variants([missing[key] for key in some], variants)
            each = [
                list(zip(some, _bytes_of(one, None, len(some), label), strict=True))
                for label, one in zip(labels, vectors, strict=True)
            ]
            with self._file.opened(create=True) as db:
                assert db is not None
                for label, rows in zip(labels, each, strict=True):
                    write(db, label, rows)

        self._in_batches(list(missing), len(set(keys)), encode_batch, progress)
        return [self.encode(each, items, progress=progress) for each in variants]

    def encode_tokens(
        self, encoder: TokenEncoder, items: Sequence[Any], *, progress: bool | None = None
    ) -> MultiVector:
        """Token vectors of ``items``, from disk where they are known; as ``encode`` otherwise."""

        def encode(batch: list[Any]) -> tuple[Tensor, Tensor]:
            tokens = encoder.encode_tokens(batch)
            return tokens.tokens, tokens.offsets

        items = as_list("items", items)
        label = Label(encoder.fingerprint, "tokens", self.dtype, encoder.token_dim)
        keys = [item_key(item, encoder.modality) for item in items]
        stored = self._complete(label, dict(zip(keys, items, strict=True)), encode, progress)
        sizes = torch.tensor([0, *(len(stored[key]) for key in keys)])
        token_bytes = label.width * _ON_DISK[self.dtype].itemsize
        return MultiVector(
            _vectors([stored[key] for key in keys], label), sizes.cumsum(0) // token_bytes
        )

    def stat(self) -> list[maintenance.StoreStat]:
        """What the store holds, one entry per encoder, kind and dtype; counts, and checks nothing.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is damaged, or of another version.
        """
        return maintenance.stat(self.root)

    def verify(self) -> list[maintenance.StoreProblem]:
        """Read every byte, and list items that differ from their checksum and faults of the file.

        An empty list means that all is well. ``prune`` removes what is listed.
        """
        return maintenance.verify(self.root)

    def prune(self, *, drop: Collection[str] = ()) -> int:
        """Remove what ``verify`` lists and encoders in ``drop``; returns the bytes freed on disk.

        For that it needs the room of what stays once more meanwhile. Other processes may go on
        reading and writing, but not use an encoder in ``drop``; nor anything where the file itself
        is damaged, which is then written anew with every vector that is whole. Nothing but
        ``store.sqlite`` and what SQLite writes beside it is ever touched.

        Args:
            drop: Fingerprints, as ``stat`` gives them, of encoders to remove altogether.

        Raises:
            OSError: The disk is full, or the file cannot be read or written.
            ValueError: The store does not know a fingerprint in ``drop``; nothing is removed.
        """
        self._file.close()
        return maintenance.prune(self.root, drop=drop)

    def _complete(
        self,
        label: Label,
        items: dict[bytes, Any],
        encode: Callable[[list[Any]], tuple[Tensor, Tensor | None]],
        progress: bool | None,
    ) -> dict[bytes, bytes]:
        """Vectors of each item by its key, after encoding and writing those that are missing."""
        stored = self._read(label, list(items))
        damaged = {key for key, vectors in stored.items() if vectors is None}
        if damaged:
            logger.warning(
                "%d items in %s differ from their checksum and are encoded again. "
                "`align store verify` looks for more of them.",
                len(damaged),
                self.root / NAME,
            )
        missing = [key for key in items if stored.get(key) is None]
        if missing:

            def encode_batch(keys: Sequence[bytes]) -> None:
                vectors, offsets = encode([items[key] for key in keys])
                rows = zip(keys, _bytes_of(vectors, offsets, len(keys), label), strict=True)
                with self._file.opened(create=True) as db:
                    assert db is not None
                    write(db, label, rows, damaged=damaged.intersection(keys))

            self._in_batches(missing, len(items), encode_batch, progress)
            # What another process wrote first is what every process reads.
            stored |= self._read(label, missing)
        complete = {key: vectors for key, vectors in stored.items() if vectors is not None}
        lost = len(items) - len(complete)
        if lost:
            raise OSError(
                f"what is written to {self.root} must stay there; {lost} of {len(missing)} "
                "vectors are gone already. Check the disk, and that nobody empties the store."
            )
        return complete

    def _in_batches(
        self,
        missing: Sequence[bytes],
        total: int,
        encode_batch: Callable[[Sequence[bytes]], None],
        progress: bool | None,
    ) -> None:
        """Encode and write what is missing of ``total`` items, a batch of keys at a time."""
        done = total - len(missing)

        def stored_so_far() -> str:
            return (
                f"{done:,} of {total:,} items are stored in {self.root}; run it again to go on "
                "from there."
            )

        with (
            saying_what_is_stored(stored_so_far),
            progress_bar(progress, total=len(missing), unit="item") as bar,
        ):
            for start in range(0, len(missing), self.batch):
                keys = missing[start : start + self.batch]
                encode_batch(keys)
                done += len(keys)
                bar.update(len(keys))

    def _read(self, label: Label, keys: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """What the store has of these items; ``None`` where it is damaged."""
        with self._file.opened() as db:
            return {} if db is None or not keys else dict(read(db, label, keys))


def item_key(item: object, modality: str) -> bytes:
    """SHA-256 of what an encoder of ``modality`` sees of ``item``; 32 bytes.

    Kinds of item are told apart: a text never has the key of a file with the same bytes.

    Raises:
        TypeError: The item is not a text, path, bytes, picture or plain NumPy array.
        FileNotFoundError: The file is missing.
    """
    if isinstance(item, Path) or (isinstance(item, str) and modality in ("image", "video")):
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


def _bytes_of(vectors: Tensor, offsets: Tensor | None, n: int, label: Label) -> list[bytes]:
    """Vectors of each of ``n`` items as they are on disk; raises where the encoder is at fault."""
    name = repr(label.fingerprint)
    if (
        vectors.ndim != 2
        or vectors.shape[1] != label.width
        or vectors.dtype != torch.float32
        or vectors.device.type != "cpu"
    ):
        raise ValueError(
            f"an encoder must give float32 vectors of width {label.width} on the CPU; {name} "
            f"gave {vectors.dtype} of shape {tuple(vectors.shape)} on {vectors.device}. "
            "Correct its encode method or the width it names. Nothing of this batch was stored."
        )
    bad = (~vectors.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"an encoder must give finite values; {name} gave NaN or infinity in "
            f"{len(bad)} of {len(vectors)} rows of a batch, the first at {bad[:5]}. "
            "Encode in float32, or drop those items. Nothing of this batch was stored."
        )
    ends = range(len(vectors) + 1) if offsets is None else offsets.tolist()
    if len(ends) - 1 != n:
        raise ValueError(
            f"an encoder must give one entry per item; {name} gave {len(ends) - 1} "
            f"for {n} items. Correct its encode method. Nothing of this batch was stored."
        )
    with np.errstate(over="ignore"):
        rows = vectors.detach().numpy().astype(_ON_DISK[label.dtype])
    if not np.isfinite(rows).all():
        raise ValueError(
            f"a {label.dtype} store holds values up to 65504; the largest here is "
            f"{vectors.abs().max().item():.6g}. Use EmbeddingStore(..., dtype='float32')."
        )
    return [rows[start:stop].tobytes() for start, stop in pairwise(ends)]


def _vectors(stored: Sequence[bytes], label: Label) -> Tensor:
    """Stored vectors one after the other: float32, ``(n, width)``, a copy."""
    rows = np.frombuffer(b"".join(stored), dtype=_ON_DISK[label.dtype]).astype(np.float32)
    return torch.from_numpy(rows).view(-1, label.width)
