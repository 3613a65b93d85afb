"""From what was typed to pairs, vectors, encoders and the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from align.cli.printing import complain

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter
    from align.embeddings import Encoder, PairedEmbeddings
    from align.pairs import Pairs
    from align.rows import Columns
    from align.store import EmbeddingStore


def read_pairs(
    path: Path, source: str, target: str, id: str | None, group: str | None, skip_bad: bool
) -> Pairs:
    """The pairs in a table or folder; rows that were skipped are listed on standard error."""
    from align.rows import Columns

    return read_columns(path, Columns(source, target, id, group), skip_bad)


def read_columns(path: Path, columns: Columns, skip_bad: bool) -> Pairs:
    """The same with columns of modalities and instructions."""
    from dataclasses import asdict

    from align.pairs import Pairs

    found = Pairs.read(path, **asdict(columns), on_error="skip" if skip_bad else "raise")
    report_skipped(found.skipped)
    return found


def encode(
    pairs: Pairs,
    source_encoder: Encoder,
    target_encoder: Encoder,
    store: Path,
    instruction_encoder: Encoder | None = None,
) -> PairedEmbeddings:
    """Both sides encoded, with a bar per side, each item once for all runs with this store."""
    return pairs.encode(
        source_encoder,
        target_encoder,
        instruction_encoder=instruction_encoder,
        store=open_store(store),
        progress=True,
    )


def encoder_of(adapter: Adapter | None, side: str, spec: str | None) -> Encoder:
    """The encoder of a side: the one named, or the one the adapter remembers."""
    from align.encoders.spec import from_card, from_spec

    if spec is not None:
        return from_spec(spec)
    return from_card({} if adapter is None else adapter.card.encoders, side)


def taken(adapter: Adapter, instruction: str | None) -> str | None:
    """The instruction, or the column of them, if the adapter takes any; else a note says so."""
    from align.instructing import takes_instructions

    if instruction is None or takes_instructions(adapter):
        return instruction
    complain("note: this adapter takes no instructions; they change nothing")
    return None


def instruction_encoder_of(adapter: Adapter, spec: str | None) -> Encoder | None:
    """The encoder of instructions, or ``None`` where it is that of the sources."""
    remembered = adapter.card.encoders
    if spec is None and remembered.get("instruction") == remembered.get("source"):
        return None
    return encoder_of(adapter, "instruction", spec)


def open_store(path: Path) -> EmbeddingStore:
    """The cache in a folder; ``~`` is expanded."""
    from align.store import EmbeddingStore

    return EmbeddingStore(path.expanduser())


def report_skipped(skipped: tuple[str, ...]) -> None:
    """One line on standard error for each row that a reader dropped."""
    for line in skipped:
        complain(f"skipped: {line}")
