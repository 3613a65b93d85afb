"""From what was typed to pairs, vectors, encoders and the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter
    from align.embeddings import Encoder, PairedEmbeddings
    from align.pairs import Pairs
    from align.store import EmbeddingStore


def read_pairs(
    path: Path, source: str, target: str, id: str | None, group: str | None, skip_bad: bool
) -> Pairs:
    """The pairs in a table or folder; rows that were skipped are listed on standard error."""
    from align.pairs import Pairs

    found = Pairs.read(
        path, source=source, target=target, id=id, group=group,
        on_error="skip" if skip_bad else "raise",
    )  # fmt: skip
    report_skipped(found.skipped)
    return found


def encode(
    pairs: Pairs, source_encoder: Encoder, target_encoder: Encoder, store: Path
) -> PairedEmbeddings:
    """Both sides encoded, with a bar per side, each item once for all runs with this store."""
    return pairs.encode(source_encoder, target_encoder, store=open_store(store), progress=True)


def encoder_of(adapter: Adapter | None, side: str, spec: str | None) -> Encoder:
    """The encoder of a side: the one named, or the one the adapter remembers."""
    from align.encoders.spec import from_spec

    remembered = spec or (None if adapter is None else adapter.card.encoders.get(side))
    if remembered is None:
        raise ValueError(
            f"the {side} encoder must be known; no adapter that `align fit` wrote remembers it. "
            f"Name it, for example --{side}-encoder text:MODEL."
        )
    return from_spec(remembered)


def open_store(path: Path) -> EmbeddingStore:
    """The cache in a folder; ``~`` is expanded."""
    from align.store import EmbeddingStore

    return EmbeddingStore(path.expanduser())


def report_skipped(skipped: tuple[str, ...]) -> None:
    """One line on standard error for each row that a reader dropped."""
    for line in skipped:
        typer.echo(f"skipped: {line}", err=True)
