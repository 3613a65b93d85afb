"""The encoders' own vectors of indexed items, to compare the aligned ranking with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F

from align.data.encoding import Cache, items_for
from align.retrieval.hits import Hit
from align.retrieval.index.index import Index
from align.retrieval.retriever import Retriever


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """Unit-norm vectors of the encoder of the indexed side, or one line that says why not."""

    index: Index | None
    reason: str | None = None


def raw_view(
    retriever: Retriever,
    items: Sequence[Hit],
    store: Cache | None,
    find: Callable[[str], Path],
    *,
    progress: bool | None = None,
) -> Raw:
    """Raw vectors of all items of an index, from the store, or encoded and stored there.

    ``find`` gives the file of a kept path.

    Raises:
        PermissionError: The file of an item may not be shown.
        ValueError: The encoder refuses an item.
    """
    side = retriever.index.side
    try:
        of_queries = retriever.embedder.encoder(retriever.query_side)
        of_items = retriever.embedder.encoder(side)
    except ValueError:
        return Raw(
            None,
            "The raw view needs both encoders: name them with --source-encoder, --target-encoder.",
        )
    reason = None
    unnamed = sum(not ({"path", "text"} & set(item.metadata)) for item in items)
    if of_queries.dim != of_items.dim:
        reason = (
            f"No raw cosine exists: queries have {of_queries.dim:,} dimensions, items "
            f"{of_items.dim:,}."
        )
    elif store is None:
        reason = "The raw vectors are not loaded: start with --store to have them."
    elif unnamed:
        reason = f"{unnamed:,} items name neither a path nor a text, so they cannot be encoded."
    if reason is not None or store is None:
        return Raw(None, reason)
    try:
        contents: list[str | Path] = [
            find(str(item.metadata["path"]))
            if "path" in item.metadata
            else str(item.metadata["text"])
            for item in items
        ]
    except FileNotFoundError as error:
        return Raw(None, f"The raw vectors cannot be made: {error}")
    kinds = [item.modality or of_items.modality for item in items]
    named = items_for(of_items, contents, kinds, side=side)
    vectors = F.normalize(store.encode(of_items, named, progress=progress), dim=1)
    index = Index.create("raw-vectors-in-memory", side=side)  # never saved: a name only
    for kind in dict.fromkeys(item.modality for item in items):
        rows = [row for row, item in enumerate(items) if item.modality == kind]
        index.add([str(items[row].id) for row in rows], vectors[rows], modality=kind)
    return Raw(index)
