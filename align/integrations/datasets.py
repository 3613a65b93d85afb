"""Hugging Face ``datasets``: pairs from columns, and vectors as columns."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from align.data.embeddings import Embeddings, PairedEmbeddings
from align.data.encoding import Cache, Encoder, encode_items, items_for
from align.data.pairs import Pairs
from align.data.readers import PairsError
from align.data.splits import names_of
from align.integrations.extras import extra

with extra("datasets"):
    from datasets import Dataset, Features, List, Value


def to_pairs(
    dataset: Dataset,
    *,
    source: str,
    target: str,
    id: str | None = None,
    group: str | None = None,
    source_modality: str | None = None,
    target_modality: str | None = None,
    instruction: str | None = None,
) -> Pairs:
    """Raw items of two columns; those of an ``Image`` feature are decoded, all at once.

    For more pictures than fit into memory, encode them with ``with_vectors`` instead.

    Args:
        dataset: One split.
        source: Column of the source items.
        target: Column of the target items.
        id: Column of unique ids; made from row numbers if left out.
        group: Column that ties pairs together; every pair is its own group if left out.
        source_modality: Column that names the modality of each source.
        target_modality: The same of the targets.
        instruction: Column of instructions; an empty cell is none.

    Raises:
        TypeError: ``dataset`` is no single split.
        ValueError: A column is not there, or ids repeat.
        PairsError: A cell other than an instruction is missing, or a text is blank.
    """
    named = (source, target, id, group, source_modality, target_modality, instruction)
    _check(dataset, *(name for name in named if name is not None))
    columns = [None if name is None else list(dataset[name]) for name in named]
    missing = [
        f"row {row}, {name}: the cell is empty"
        for name, items in zip(named[:-1], columns[:-1], strict=True)
        for row, item in enumerate(items or (), start=1)
        if item is None
    ]
    if missing:
        raise PairsError(
            f"every item must be there; {len(missing)} are not. Fill those cells, or drop the "
            "rows with dataset.filter:",
            missing,
        )
    sources, targets, ids, groups, source_kinds, target_kinds, instructions = columns
    assert sources is not None and targets is not None
    return Pairs.from_lists(
        sources,
        targets,
        ids=ids,
        groups=groups,
        source_modality=source_kinds,
        target_modality=target_kinds,
        instructions=None if instructions is None else [text or "" for text in instructions],
    )


def with_vectors(
    dataset: Dataset,
    column: str,
    encoder: Encoder,
    *,
    into: str,
    modality: str | None = None,
    store: Cache | None = None,
    batch_size: int = 256,
) -> Dataset:
    """The dataset with one more column, a float32 vector of each item of ``column``.

    Items are decoded and encoded batch by batch, so pictures need not fit into memory. The cache
    of ``datasets`` knows the result by the data and the fingerprint of the encoder.

    Args:
        dataset: One split.
        column: Items that the encoder takes: texts, or an ``Image`` feature.
        encoder: The encoder.
        into: Name of the new column.
        modality: Column that names the modality of each item, where the encoder is of several.
        store: Where vectors are looked up and stored besides.
        batch_size: Items decoded at a time.

    Raises:
        TypeError: ``dataset`` is no single split.
        ValueError: A column is not there, ``into`` is there already, or an item does not suit the
            encoder.
    """
    _check(dataset, *(name for name in (column, modality) if name is not None))
    if into in dataset.column_names:
        raise ValueError(
            f"vectors go into a new column; {into!r} is there already, among "
            f"{dataset.column_names}. Choose another name, or remove that column first."
        )

    def encoded(items: list[Any], kinds: list[str] | None = None) -> dict[str, Any]:
        named = items_for(encoder, items, kinds, side=column)
        vectors = encode_items(encoder, named, store=store, progress=False)
        return {into: vectors.numpy()}

    key = repr((dataset._fingerprint, encoder.fingerprint, column, modality, into))
    return dataset.map(
        encoded,
        input_columns=[column] if modality is None else [column, modality],
        batched=True,
        batch_size=batch_size,
        features=Features({**dataset.features, into: List(Value("float32"), length=encoder.dim)}),
        # Hashing the function would pickle the network, or fail to and encode anew each time.
        new_fingerprint=hashlib.sha256(key.encode()).hexdigest()[:32],
    )


def to_paired(
    dataset: Dataset,
    *,
    source: str,
    target: str,
    id: str | None = None,
    group: str | None = None,
    fingerprints: tuple[str | None, str | None] = (None, None),
) -> PairedEmbeddings:
    """Both sides from two columns of vectors, to ``fit`` and to ``evaluate``.

    Args:
        dataset: One split.
        source: Column of source vectors.
        target: Column of target vectors.
        id: As for ``to_pairs``.
        group: As for ``to_pairs``.
        fingerprints: Of the two encoders, if known; an adapter then refuses vectors of others.

    Raises:
        TypeError: ``dataset`` is no single split.
        ValueError: A column is not there or holds no vectors of one width, or ids repeat.
    """
    _check(dataset, *(name for name in (source, target, id, group) if name is not None))
    names = names_of("ids", range(len(dataset)) if id is None else dataset[id])
    return PairedEmbeddings.from_arrays(
        Embeddings(_matrix(dataset, source), fingerprints[0], names),
        Embeddings(_matrix(dataset, target), fingerprints[1], names),
        groups=None if group is None else list(dataset[group]),
    )


def _matrix(dataset: Dataset, column: str) -> Any:
    rows = dataset.with_format("numpy", columns=[column])[:][column]
    if rows.dtype == object or rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating):
        raise ValueError(
            f"column {column!r} must hold one vector of numbers per row, all of one width; got "
            f"{dataset.features[column]}. Make it with with_vectors, or cast it."
        )
    return torch.from_numpy(np.array(rows, dtype=np.float32))


def _check(dataset: Dataset, *columns: str) -> None:
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"pairs are read from one datasets.Dataset; got a {type(dataset).__name__}. Take a "
            'split, as in dataset["train"], and turn a stream into a Dataset first.'
        )
    missing = [name for name in columns if name not in dataset.column_names]
    if missing:
        raise ValueError(
            f"the columns must be among {dataset.column_names}; got {missing}. Check the spelling."
        )
