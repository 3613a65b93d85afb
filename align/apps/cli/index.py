"""``align index``."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from align.apps.cli.inputs import check_encoder, encoder_of, open_store, report_skipped
from align.apps.cli.options import (
    DEFAULT_STORE,
    AdapterFolder,
    AsJson,
    IdColumn,
    ItemsColumn,
    ItemsFile,
    MaybeSpec,
    Skip,
    StoreFolder,
)
from align.apps.cli.outputs import check_folder
from align.apps.cli.printing import print_json, say

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter
    from align.data.encoding import Encoder
    from align.retrieval.index.index import Index


def index(
    adapter: AdapterFolder,
    items: ItemsFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the index to.")],
    column: ItemsColumn = None,
    id: IdColumn = None,
    modality: Annotated[
        str | None, typer.Option(help="Column of each item's modality: text, image, code, ...")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="Column of a table to keep with each item; needs --id; repeatable."),
    ] = None,
    side: Annotated[str, typer.Option(help="Side the items are on: source or target.")] = "target",
    dtype: Annotated[
        str, typer.Option(help="How to store vectors: float32, float16, bfloat16 or int8.")
    ] = "float32",
    add: Annotated[bool, typer.Option("--add", help="Add to the index that is there.")] = False,
    encoder: MaybeSpec = None,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Encode, adapt and index items, so that they can be searched from the other side.

    Example: `align index my-adapter photos/ -o idx`
    """
    from align._checks import check_side
    from align.adapters.adapter import load
    from align.data.items import read_items
    from align.data.multi_vector import MultiVector
    from align.retrieval.embedder import Embedder
    from align.retrieval.index.index import Index

    check_side(side)
    loaded = load(str(adapter))
    if add:
        made = Index.open(out)
        check_same(made, loaded, side, dtype)
    else:
        made = Index.create(out, loaded, side=side, dtype=dtype)  # type: ignore[arg-type]
    check_folder(out)
    on_error: Literal["skip", "raise"] = "skip" if skip_bad else "raise"
    kept = metadata or []
    if taken := sorted({"path", "text"} & set(kept)):
        raise ValueError(
            f"the fields path and text hold the item itself; got --metadata {taken[0]}. "
            "Leave it out, or name the column differently."
        )
    found = read_items(items, column=column, id=id, modality=modality, keep=kept, on_error=on_error)
    report_skipped(found.skipped)
    frozen = encoder_of(loaded, side, encoder)
    check_encoder(loaded, made.side, frozen)
    embedder = Embedder(
        loaded,
        source=frozen if side == "source" else None,
        target=frozen if side == "target" else None,
        store=open_store(store),
    )
    vectors = embedder.gallery(found.items, side=made.side, modality=found.modality, progress=True)
    made.add(
        found.ids,
        MultiVector.from_equal(vectors[:, None]),
        metadata=[
            {**held, **shown(item)}
            for item, held in zip(found.items, found.kept or repeat({}), strict=False)
        ],
        modality=found.modality or kind_of(frozen),
    )
    made.save()
    if as_json:
        print_json({"index": str(out), "items": len(made), "repeats": found.repeats})
    else:
        again = f" ({found.repeats:,} repeats taken once)" if found.repeats else ""
        say(f"{len(made):,} items{again} indexed in {out}")


def check_same(made: Index, adapter: Adapter, side: str, dtype: str) -> None:
    """Raise ``ValueError`` unless an index was made with this adapter, side and dtype."""
    held = None if made.adapter is None else made.adapter.card
    if (held, made.side, made.dtype) != (adapter.card, side, dtype):
        same = "the same" if held == adapter.card else "another"
        raise ValueError(
            f"--add needs the adapter, side and dtype of the index, {made.side} and {made.dtype}; "
            f"got {same} adapter, {side} and {dtype}. Give the same ones, or make a new index."
        )


def shown(item: str | Path) -> dict[str, str]:
    """What a hit shows of an item."""
    return {"path": str(item)} if isinstance(item, Path) else {"text": item}


def kind_of(encoder: Encoder) -> str | None:
    """The modality of an encoder's items, where it is one that an index knows."""
    from align.data.modality import Modality

    return encoder.modality if encoder.modality.upper() in Modality.__members__ else None
