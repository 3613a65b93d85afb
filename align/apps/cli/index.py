"""``align index``."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from align.apps.cli import options
from align.apps.cli.inputs import check_encoder, open_store, report_skipped
from align.apps.cli.outputs import check_folder
from align.apps.cli.printing import print_json, say

if TYPE_CHECKING:
    from align.retrieval.index.index import Index
    from align.retrieval.storage.adapter_files import AnyAdapter


def index(
    adapter: Annotated[
        Path, typer.Argument(help="Folder that `align fit` or `head.save` of meta tokens wrote.")
    ],
    items: options.ItemsFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the index to.")],
    column: options.ItemsColumn = None,
    id: options.IdColumn = None,
    modality: options.SideModality = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="Column of a table to store with each item; needs --id; repeatable."),
    ] = None,
    side: Annotated[str, typer.Option(help="Side the items are on: source or target.")] = "target",
    dtype: Annotated[
        str, typer.Option(help="How to store vectors: float32, float16, bfloat16 or int8.")
    ] = "float32",
    add: Annotated[bool, typer.Option("--add", help="Add to the index that is there.")] = False,
    encoder: options.MaybeSpec = None,
    device: options.Device = "auto",
    trust: options.Trust = False,
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Encode, adapt and index items, so that they can be searched from the other side.

    Example: `align index my-adapter photos/ -o idx`
    """
    from align._checks import check_side
    from align.data.items import read_items
    from align.encoders.spec import load_encoder
    from align.retrieval.index.index import Index
    from align.retrieval.retriever import Retriever

    check_side(side)
    loaded = load_adapter(adapter)
    if add:
        built = Index.open(out)
        check_same(built, loaded, side, dtype)
    else:
        built = Index.create(out, loaded, side=side, dtype=dtype)  # type: ignore[arg-type]
    check_folder(out)
    if taken := sorted({"path", "text"} & set(metadata or ())):
        raise ValueError(
            f"the fields path and text hold the item itself; got --metadata {taken[0]}. "
            "Leave it out, or name the column differently."
        )
    on_error: Literal["skip", "raise"] = "skip" if skip_bad else "raise"
    contents = read_items(
        items, column=column, id=id, modality=modality, keep=metadata or (), on_error=on_error
    )
    report_skipped(contents.skipped)
    given = {} if encoder is None else {side: load_encoder(encoder, device=device)}
    retriever = Retriever(built, **given, store=open_store(store), device=device, trust=trust)
    embedder = retriever.embedder
    check_encoder(embedder.adapter, built.side, embedder.encoder(built.side))
    retriever.add(
        contents.ids,
        contents.items,
        metadata=[
            fields if isinstance(item, Path) else {**fields, "text": item}
            for item, fields in zip(contents.items, contents.kept or repeat({}), strict=False)
        ],
        modality=contents.modality,
        progress=True,
    )
    built.save()
    if as_json:
        print_json({"index": str(out), "items": len(built), "repeats": contents.repeats})
    else:
        again = f" ({contents.repeats:,} repeats taken once)" if contents.repeats else ""
        say(f"{len(built):,} items{again} indexed in {out}")


def load_adapter(folder: Path) -> AnyAdapter:
    """The adapter, or the head of meta tokens, in a folder."""
    from align.adapters.adapter import load
    from align.adapters.multi_vector.files import CONFIG
    from align.adapters.multi_vector.meta_tokens import load_meta_tokens

    path = folder.expanduser()
    return load_meta_tokens(path) if (path / CONFIG).exists() else load(str(folder))


def check_same(built: Index, adapter: AnyAdapter, side: str, dtype: str) -> None:
    """Raise ``ValueError`` unless an index was built with this adapter, side and dtype."""
    card = None if built.adapter is None else built.adapter.card
    if (card, built.side, built.dtype) != (adapter.card, side, dtype):
        same = "the same" if card == adapter.card else "another"
        raise ValueError(
            "--add needs the adapter, side and dtype of the index, "
            f"{built.side} and {built.dtype}; got {same} adapter, {side} and "
            f"{dtype}. Give the same ones, or make a new index."
        )
