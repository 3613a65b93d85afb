"""From words of ``align index`` to what is put into an index, or taken out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from align.apps.cli.inputs import (
    EncoderChoice,
    check_encoder,
    load_adapter,
    open_store,
    report_skipped,
)

if TYPE_CHECKING:
    from torch import Tensor

    from align.data.composite import Composite
    from align.data.sides import Side
    from align.retrieval.index.changes import Changes
    from align.retrieval.index.index import Index
    from align.retrieval.storage.adapter_files import AnyAdapter

Mode = Literal["new", "add", "update", "replace", "delete"]


def mode_of(*, add: bool, update: bool, replace: bool, delete: bool) -> Mode:
    """What is asked for: one of four changes, or a new index."""
    asked: dict[Mode, bool] = {
        "add": add, "update": update, "replace": replace, "delete": delete,
    }  # fmt: skip
    chosen = [mode for mode, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        words = " and ".join(f"--{mode}" for mode in chosen)
        raise typer.BadParameter(
            f"one change is made at a time; got {words}. Run one after another."
        )
    return chosen[0] if chosen else "new"


@dataclass(frozen=True, slots=True)
class NewItems:
    """What is to be indexed: items for an encoder, or vectors that one gave."""

    ids: tuple[str, ...]
    items: tuple[str | Path | Composite, ...] | None
    vectors: Tensor | None = None
    modality: tuple[str, ...] | None = None
    kept: tuple[Mapping[str, object], ...] | None = None
    repeats: int = 0

    def metadata(self) -> list[dict[str, object]]:
        """What is stored beside each item: what a text says, and columns to keep."""
        from align.data.composite import Composite

        held = []
        for item, fields in zip(self.items or (), self.kept or repeat({}), strict=False):
            parts = item.values() if isinstance(item, Composite) else (item,)
            text = next((part for part in parts if isinstance(part, str)), None)
            held.append({**fields} if text is None else {**fields, "text": text})
        return held


def items_of(
    path: Path, columns: Mapping[str, str | None], keep: Sequence[str], skip_bad: bool
) -> NewItems:
    """The items of a folder, a text file or a table."""
    from align.data.items import read_items

    found = read_items(
        path,
        column=columns["column"],
        id=columns["id"],
        modality=columns["modality"],
        keep=keep,
        on_error="skip" if skip_bad else "raise",
    )
    report_skipped(found.skipped)
    return NewItems(found.ids, found.items, None, found.modality, found.kept, found.repeats)


def vectors_of(path: Path, side: Side) -> NewItems:
    """The vectors of one side in an archive; of equal ones the first is taken."""
    from align.data.archives import read_side

    items = read_side(path, side)
    vectors = items.vectors
    first: dict[bytes, int] = {}
    for row, vector in enumerate(vectors.numpy()):
        first.setdefault(vector.tobytes(), row)
    rows = list(first.values())
    ids = tuple(items.ids[row] for row in rows)
    return NewItems(ids, None, vectors[rows], repeats=len(items) - len(rows))


@contextmanager
def index_to_fill(
    out: Path, adapter: Path, mode: Mode, *, side: str | None, dtype: str | None
) -> Iterator[Index]:
    """The index that is to be filled, saved when the block ends."""
    from align._checks import check_side
    from align.retrieval.index.index import Index
    from align.retrieval.index.replacement import replaced_index
    from align.retrieval.storage.folder import has_manifest

    if side is not None:
        check_side(side)
    loaded = load_adapter(adapter)
    made: Any = {"side": side or "target", "dtype": dtype or "float32"}
    if mode == "replace":
        with replaced_index(out, loaded, **made) as built:
            yield built
        return
    if mode == "new":
        if has_manifest(out.expanduser()):
            raise FileExistsError(
                f"a new index needs a folder without one; {out} holds an index. Give --add, "
                "--update or --replace to change it, or name another folder with --out."
            )
        built = Index.create(out, loaded, **made)
    else:
        built = Index.open(out)
        check_same(built, loaded, mode, side or built.side, dtype or built.dtype)
    yield built
    built.save()


def put(built: Index, new: NewItems, chosen: EncoderChoice, store: Path) -> Changes:
    """Encode what is not encoded, and put it into the index."""
    from align.encoders.spec import load_encoder
    from align.retrieval.retriever import Retriever

    if new.items is None:
        assert new.vectors is not None
        return built.put(new.ids, new.vectors)
    spec = chosen.specs.get(built.side)
    given: Any = {} if spec is None else {built.side: load_encoder(spec, device=chosen.device)}
    retriever = Retriever(
        built, **given, store=open_store(store), device=chosen.device, trust=chosen.trust
    )
    embedder = retriever.embedder
    check_encoder(embedder.adapter, built.side, embedder.encoder(built.side))
    return retriever.put(new.ids, new.items, metadata=new.metadata(), modality=new.modality)


def delete_items(out: Path, words: Sequence[str]) -> tuple[int, int]:
    """Delete items by id; how many went, and how many are left."""
    from align.retrieval.index.index import Index

    ids = list(dict.fromkeys(id for word in words for id in _ids_in(word)))
    index = Index.open(out)
    if unknown := [id for id in ids if id not in index]:
        raise ValueError(
            f"ids to delete must be in {out}; {len(unknown):,} of {len(ids):,} are not, the first "
            f"{unknown[:5]}. Nothing was deleted: leave those out."
        )
    if ids:
        index.delete(ids)
        index.save()
    return len(ids), len(index)


def _ids_in(word: str) -> list[str]:
    """The id, or those in the lines of ``@FILE``; ``@@`` begins an id with one ``@``."""
    from align.data.readers import check_there, read_text

    if word.startswith("@@") or not word.startswith("@"):
        return [word.removeprefix("@") if word.startswith("@@") else word]
    path = Path(word[1:])
    check_there(path)
    return [line for line in read_text(path).split("\n") if line]


def check_ids_new(built: Index, new: NewItems, out: Path) -> None:
    """Raise ``ValueError`` where ``--add`` would add an id again, before anything is encoded."""
    if there := [id for id in new.ids if id in built]:
        raise ValueError(
            f"--add takes items whose ids are new; {len(there):,} of {len(new.ids):,} are in {out} "
            f"already, the first {there[:5]}. Give --update to replace those and add the others."
        )


def check_same(built: Index, adapter: AnyAdapter, mode: Mode, side: str, dtype: str) -> None:
    """Raise ``ValueError`` unless an index was built with this adapter, side and dtype."""
    card = None if built.adapter is None else built.adapter.card
    if (card, built.side, built.dtype) != (adapter.card, side, dtype):
        same = "the same" if card == adapter.card else "another"
        raise ValueError(
            f"--{mode} needs the adapter, side and dtype of the index, "
            f"{built.side} and {built.dtype}; got {same} adapter, {side} and "
            f"{dtype}. Give the same ones, or make the index anew with --replace."
        )
