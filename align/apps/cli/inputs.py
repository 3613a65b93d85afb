"""From what was typed to pairs, vectors, encoders and the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from align.apps.cli.printing import complain

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter
    from align.data.embeddings import PairedEmbeddings
    from align.data.encoding import Encoder
    from align.data.pairs import Pairs
    from align.data.sides import Side
    from align.data.validation import Columns
    from align.encoders.cache.store import EmbeddingStore


def read_pairs(
    path: Path, source: str, target: str, id: str | None, group: str | None, skip_bad: bool
) -> Pairs:
    """The pairs in a table or folder; rows that were skipped are listed on standard error."""
    from align.data.validation import Columns

    return read_columns(path, Columns(source, target, id, group), skip_bad)


def read_columns(path: Path, columns: Columns, skip_bad: bool) -> Pairs:
    """The same with columns of modalities and instructions."""
    from dataclasses import asdict

    from align.data.pairs import Pairs

    found = Pairs.read(path, **asdict(columns), on_error="skip" if skip_bad else "raise")
    report_skipped(found.skipped)
    return found


def encode(
    pairs: Pairs,
    source_encoder: Encoder,
    target_encoder: Encoder,
    store: Path,
    instruction_encoder: Encoder | None = None,
    adapter: Adapter | None = None,
) -> PairedEmbeddings:
    """Both sides encoded, with a bar per side, each item once for all runs with this store.

    Every encoder is asked who it is before the first item goes through any, and an adapter
    whether it was fitted on them.
    """
    check_encoder(adapter, "source", source_encoder)
    check_encoder(adapter, "target", target_encoder)
    if instruction_encoder is not None:
        check_encoder(None, "source", instruction_encoder)
    return pairs.encode(
        source_encoder,
        target_encoder,
        instruction_encoder=instruction_encoder,
        store=open_store(store),
        progress=True,
    )


def naming(data: PairedEmbeddings, **typed: str | None) -> PairedEmbeddings:
    """The pairs with encoders named as they were typed, where an encoder does not say how itself.

    Python code is named too: it is not run from a card, and the refusal says what to type.
    """
    from dataclasses import replace

    named = {role: spec for role, spec in typed.items() if spec is not None}
    return replace(data, encoders={**named, **data.encoders})


def check_encoder(adapter: Adapter | None, side: Side, encoder: Encoder) -> None:
    """Raise an error if an encoder is not there, or is not the one of an adapter's side."""
    fingerprint = encoder.fingerprint  # reads its files, and loads nothing yet
    if adapter is not None:
        adapter.check_fingerprint(side, fingerprint)


def encoder_of(adapter: Adapter | None, side: str, spec: str | None) -> Encoder:
    """The encoder of a side: the one named, or the one the adapter remembers."""
    from align.encoders.spec import from_card, from_spec

    if spec is not None:
        return from_spec(spec)
    return from_card({} if adapter is None else adapter.card.encoders, side)


def taken(adapter: Adapter, instruction: str | None) -> str | None:
    """The instruction, or the column of them, if the adapter takes any; else a note says so."""
    from align.adapters.instructions import takes_instructions

    if instruction is None or takes_instructions(adapter):
        return instruction
    complain("note: this adapter takes no instructions; they change nothing")
    return None


def say_unknown(adapter: Adapter) -> None:
    """A note where an adapter cannot tell whether it was fitted on the pairs that judge it."""
    if adapter.training_items is None:
        complain(
            "note: this adapter does not remember its training pairs; whether these are held out "
            "is not known"
        )


def instruction_encoder_of(adapter: Adapter, spec: str | None) -> Encoder | None:
    """The encoder of instructions, or ``None`` where it is that of the sources."""
    remembered = adapter.card.encoders
    if spec is None and remembered.get("instruction") == remembered.get("source"):
        return None
    return encoder_of(adapter, "instruction", spec)


def open_store(path: Path) -> EmbeddingStore:
    """The cache in a folder; ``~`` is expanded."""
    from align.encoders.cache.store import EmbeddingStore

    return EmbeddingStore(path.expanduser())


def check_better(adapter: Adapter, required: bool, out: Path) -> None:
    """Raise ``ValueError`` if an adapter had to be better than chance and is not shown to be."""
    if required and not adapter.card.better_than_chance:
        raise ValueError(
            "--require-better-than-chance asks for held-out pairs that are found more often than "
            f"by chance; {adapter.card.verdict}. Nothing was saved to {out}: look at whether the "
            "rows are matched, or leave the option out."
        )


def report_skipped(skipped: tuple[str, ...]) -> None:
    """One line on standard error for each row that a reader dropped."""
    for line in skipped:
        complain(f"skipped: {line}")
