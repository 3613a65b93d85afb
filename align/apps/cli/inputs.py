"""From words of the command line to pairs, vectors, encoders and the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.apps.cli.printing import complain

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter
    from align.adapters.multi_vector.meta_tokens import MetaTokens
    from align.data.embeddings import PairedEmbeddings
    from align.data.encoding import Encoder
    from align.data.pairs import Pairs
    from align.data.sides import Side
    from align.data.validation import Columns
    from align.encoders.cache.store import EmbeddingStore


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """Which encoders a command was told to use, and how it may build them.

    Attributes:
        specs: Those that were named, by ``"source"``, ``"target"`` and ``"instruction"``; the
            others are those of the adapter's card.
        device: Where networks run.
        trust: Whether Python code that the card names may be run.
    """

    specs: Mapping[str, str | None]
    device: str = "auto"
    trust: bool = False


def read_pairs(path: Path, columns: Columns, skip_bad: bool) -> Pairs:
    """The pairs in a table or folder; rows that were skipped are listed on standard error."""
    from dataclasses import asdict

    from align.data.pairs import Pairs

    pairs = Pairs.read(path, **asdict(columns), on_error="skip" if skip_bad else "raise")
    report_skipped(pairs.skipped)
    return pairs


def load_adapter(folder: Path) -> Adapter | MetaTokens:
    """The adapter, or the head of meta tokens, in a folder."""
    from align.adapters.adapter import load
    from align.adapters.multi_vector.files import CONFIG
    from align.adapters.multi_vector.meta_tokens import load_meta_tokens

    path = folder.expanduser()
    return load_meta_tokens(path) if (path / CONFIG).exists() else load(str(folder))


def columns_of(
    path: Path, named: Mapping[str, str | None], adapter: Adapter | None = None
) -> Columns:
    """The columns of a table of pairs, by the names of the fields of ``Columns``.

    Where none are named, those that the adapter was fitted on are taken, if it knows them; and a
    folder of captioned images has its own, ``caption`` and ``image``.
    """
    from align.data.sides import SIDE_NAMES
    from align.data.validation import Columns

    source, target = named["source"], named["target"]
    if adapter is not None and adapter.card.side_names != SIDE_NAMES and not (source or target):
        source, target = adapter.card.side_names
    if path.is_dir():
        source, target = source or "caption", target or "image"
    if source is None or target is None:
        raise ValueError(
            "a table needs --source and --target, the columns of the two sides; got "
            f"{source!r} and {target!r} for {path}. Name both, or pass an .npz of embeddings."
        )
    others = {field: name for field, name in named.items() if field not in ("source", "target")}
    return Columns(source, target, **others)


def labels_of(
    path: Path, column: str | None, ids: Sequence[str], id: str | None
) -> list[str] | None:
    """What a column of a table says of each of these pairs, or ``None`` where none is named.

    Args:
        path: The table, or an ``.npz``, which has no columns.
        column: Its name.
        ids: Of the pairs.
        id: The column of their ids; without one an id is the number of the row, from 0.
    """
    if column is None:
        return None
    if is_archive(path) or path.is_dir():
        raise ValueError(
            f"--by names a column of a table of pairs; {path} has no columns of that kind. "
            "Pass the table, or evaluate(pairs, adapter, by=labels) in Python."
        )
    from align.data.readers import read_table
    from align.data.validation import columns_advice

    table = read_table(path, [column, *([id] if id else [])])
    if table.columns and column not in table.columns:
        raise ValueError(
            f"{path} must have the column {column!r} of --by; it has none. "
            f"{columns_advice([column], table.columns)}"
        )
    cells = {
        (str(row.cells.get(id)) if id else row.name or str(place)): row.cells.get(column)
        for place, row in enumerate(table.rows)
    }
    empty = [name for name in ids if cells[name] is None or not str(cells[name]).strip()]
    if empty:
        raise ValueError(
            f"--by {column} must say of every pair what it is; {len(empty)} of {len(ids)} cells "
            f"are empty, the first of pair {empty[0]!r}. Fill them, or leave these pairs out."
        )
    return [str(cells[name]).strip() for name in ids]


def is_adapter(path: Path) -> bool:
    """Whether a folder holds the files of an adapter; they are not read."""
    folder = path.expanduser()
    return all((folder / name).is_file() for name in ("config.json", "card.json"))


def is_archive(path: Path) -> bool:
    """Whether pairs come encoded, as arrays in an ``.npz``."""
    return path.suffix.lower() == ".npz"


def check_nothing_named(path: Path, named: Mapping[str, object]) -> None:
    """Raise ``ValueError`` if anything is named that an archive of embeddings does not take."""
    if words := [f"--{name.replace('_', '-')} {value}" for name, value in named.items() if value]:
        raise ValueError(
            f"an .npz holds embeddings, ids and groups by itself, not columns or items to encode; "
            f"got {', '.join(words)} beside {path}. Leave them out, or pass the table."
        )


def embedded_pairs(
    path: Path,
    columns: Mapping[str, str | None],
    chosen: EncoderChoice,
    store: Path,
    skip_bad: bool,
    adapter: Adapter | None = None,
) -> tuple[Pairs | None, PairedEmbeddings]:
    """The pairs of a table as ``encode_pairs`` gives them, or the embeddings of an archive.

    Args:
        path: A table, a folder of images, or an ``.npz``, which has no items and takes no words.
        columns: By the names of ``Columns``; both sides are needed for a table.
        chosen: As for ``encode_pairs``.
        store: Likewise.
        skip_bad: Likewise.
        adapter: Likewise.
    """
    if not is_archive(path):
        named = columns_of(path, columns, adapter)
        return encode_pairs(path, named, chosen, store, skip_bad, adapter)
    from align.adapters.instructions import pairs_for
    from align.data.archives import read_npz

    encoders = {f"{role}_encoder": spec for role, spec in chosen.specs.items()}
    device = None if chosen.device == "auto" else chosen.device
    check_nothing_named(path, {**columns, **encoders, "device": device})
    data = read_npz(path)
    return None, data if adapter is None else pairs_for(adapter, data)


def encode_pairs(
    path: Path,
    columns: Columns,
    chosen: EncoderChoice,
    store: Path,
    skip_bad: bool,
    adapter: Adapter | None = None,
) -> tuple[Pairs, PairedEmbeddings]:
    """The pairs of a file, and both sides encoded, each item once for all runs with this store.

    All encoders are built and compared with the adapter before the first item goes through any.
    """
    if adapter is None:
        check_encoders_named(path, chosen.specs)
    pairs = read_pairs(path, columns, skip_bad)
    return pairs, encoded(pairs, chosen, store, adapter)


def encoded(
    pairs: Pairs, chosen: EncoderChoice, store: Path, adapter: Adapter | None = None
) -> PairedEmbeddings:
    """Both sides of pairs that were read, encoded as ``encode_pairs`` says."""
    from dataclasses import replace

    from align.adapters.instructions import pairs_for

    source = encoder_of(adapter, "source", chosen)
    target = encoder_of(adapter, "target", chosen)
    check_encoder(adapter, "source", source)
    check_encoder(adapter, "target", target)
    instructions = None
    if pairs.instructions is not None:
        instructions = instruction_encoder_of(adapter, chosen)
    if instructions is not None:
        check_encoder(None, "source", instructions)
    data = pairs.encode(source, target, instruction_encoder=instructions, store=open_store(store))
    if adapter is not None:
        return pairs_for(adapter, data)
    # Python code is named too: it is run from a card with --trust, and refused with its name else.
    specs = chosen.specs
    roles = {**specs, "instruction": specs.get("instruction") or specs.get("source")}
    if pairs.instructions is None:
        del roles["instruction"]
    named = {role: spec for role, spec in roles.items() if spec is not None}
    return replace(data, encoders={**named, **data.encoders})


def check_encoders_named(path: Path, specs: Mapping[str, str | None]) -> None:
    """Raise ``ValueError`` unless both sides have an encoder, where no adapter remembers them."""
    missing = [f"--{side}-encoder" for side in ("source", "target") if not specs.get(side)]
    if missing:
        raise ValueError(
            f"items are encoded by an encoder of each side; got none by {' and '.join(missing)} "
            f"for {path}. Name it, for example {missing[0]} "
            "text:sentence-transformers/all-MiniLM-L6-v2, or pass an .npz of embeddings."
        )


def check_encoder(adapter: Adapter | None, side: Side, encoder: Encoder) -> None:
    """Raise an error if an encoder is not there, or is not the one of an adapter's side."""
    fingerprint = encoder.fingerprint  # reads its files, and loads nothing yet
    if adapter is not None:
        adapter.check_fingerprint(side, fingerprint)


def encoder_of(adapter: Adapter | None, role: str, chosen: EncoderChoice) -> Encoder:
    """The encoder of a side or of instructions: the one named, or that of the adapter's card."""
    from align.encoders.spec import from_card, load_encoder

    spec = chosen.specs.get(role)
    if spec is not None:
        return load_encoder(spec, device=chosen.device)
    remembered = {} if adapter is None else adapter.card.encoders
    return from_card(remembered, role, device=chosen.device, trust=chosen.trust)


def instruction_encoder_of(adapter: Adapter | None, chosen: EncoderChoice) -> Encoder | None:
    """The encoder of instructions, or ``None`` where it is that of the sources."""
    remembered = {} if adapter is None else adapter.card.encoders
    same = remembered.get("instruction") == remembered.get("source")
    if chosen.specs.get("instruction") is None and same:
        return None
    return encoder_of(adapter, "instruction", chosen)


def taken_instruction(adapter: Adapter, instruction: str | None) -> str | None:
    """The instruction, or the column of them, if the adapter takes any; else a note says so."""
    from align.adapters.instructions import takes_instructions

    if instruction is None or takes_instructions(adapter):
        return instruction
    complain("note: this adapter takes no instructions; they change nothing")
    return None


def note_unknown_training(adapter: Adapter) -> None:
    """A note where an adapter cannot tell whether it was fitted on the pairs of a measurement."""
    if adapter.training_items is None:
        complain(
            "note: this adapter does not remember its training pairs; whether these are held out "
            "is not known"
        )


def open_store(path: Path) -> EmbeddingStore:
    """The cache in a folder; ``~`` is expanded."""
    from align.encoders.cache.store import EmbeddingStore

    return EmbeddingStore(path.expanduser())


def check_better(fitted: Adapter | MetaTokens, required: bool, out: Path) -> None:
    """Raise ``ValueError`` if what was fitted had to be better than chance and is not shown to."""
    card: Any = fitted.card
    said = card if isinstance(card, Mapping) else asdict(card)
    if required and not said["better_than_chance"]:
        raise ValueError(
            "--require-better-than-chance asks for held-out pairs that are found more often than "
            f"by chance; {said['verdict']}. Nothing was saved to {out}: look at whether the "
            "rows are matched, or leave the option out."
        )


def report_skipped(skipped: tuple[str, ...]) -> None:
    """One line on standard error for each row that a reader dropped."""
    for line in skipped:
        complain(f"skipped: {line}")
