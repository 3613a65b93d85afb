"""``align index``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from align.apps.cli import options
from align.apps.cli.index_changes import (
    check_ids_new,
    delete_items,
    index_to_fill,
    items_of,
    mode_of,
    put,
    vectors_of,
)
from align.apps.cli.inputs import EncoderChoice, check_nothing_named, is_archive
from align.apps.cli.outputs import check_folder
from align.apps.cli.printing import print_json, say

CHANGES = "Changes to an index that is there"


def index(
    adapter: Annotated[
        Path | None,
        typer.Argument(metavar="ADAPTER", help="Folder that `align fit` wrote."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Argument(
            metavar="ITEMS",
            help="Folder of images and videos, .txt of lines, a table, or .npz of embeddings with "
            "an array named after the side and, if you like, ids.",
        ),
    ] = None,
    *,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of the index.", rich_help_panel=options.WRITING),
    ],
    add: Annotated[
        bool, typer.Option("--add", help="Add items with new ids.", rich_help_panel=CHANGES)
    ] = False,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Add items, in the place of those with their ids.",
            rich_help_panel=CHANGES,
        ),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Make it anew; the old one stays until then.",
            rich_help_panel=CHANGES,
        ),
    ] = False,
    delete: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Delete an item, or those of the lines of @FILE; repeatable.",
            rich_help_panel=CHANGES,
        ),
    ] = None,
    side: Annotated[
        str | None,
        typer.Option(help="Side of the items: target or source.", show_default="target"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, float16, bfloat16 or int8.", show_default="float32"),
    ] = None,
    column: options.ItemsColumn = None,
    id: options.IdColumn = None,
    modality: options.SideModality = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            help="To store with each item; needs --id; repeatable.",
            rich_help_panel=options.COLUMNS,
        ),
    ] = None,
    encoder: options.MaybeSpec = None,
    device: options.Device = "auto",
    trust: options.Trust = False,
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Encode, adapt and index items, so that they can be searched from the other side.

    An index that is there is changed only on request: by --add, --update, --replace or --delete.
    Side and dtype of an index that is changed are its own.

    Examples:

    `align index my-adapter photos/ -o idx`

    `align index my-adapter photos/ -o idx --update`

    `align index -o idx --delete photos/1.jpg --delete @gone.txt`
    """
    mode = mode_of(add=add, update=update, replace=replace, delete=bool(delete))
    if delete:
        if given := [str(path) for path in (adapter, items) if path is not None]:
            raise typer.BadParameter(
                f"--delete takes ids, and neither ADAPTER nor ITEMS; got {' '.join(given)}. "
                "Write: align index -o INDEX --delete ID"
            )
        gone, left = delete_items(out, delete)
        if as_json:
            print_json({"index": str(out), "items": left, "deleted": gone})
        else:
            say(f"{gone:,} deleted; {left:,} items left in {out}")
        return
    if adapter is None or items is None:
        raise typer.BadParameter(
            "an index is made of ADAPTER and ITEMS. Write: align index ADAPTER ITEMS -o INDEX"
        )
    if taken := sorted({"path", "text"} & set(metadata or ())):
        raise ValueError(
            f"the fields path and text hold the item itself; got --metadata {taken[0]}. "
            "Leave it out, or name the column differently."
        )
    columns = {"column": column, "id": id, "modality": modality}
    if is_archive(items):
        on = None if device == "auto" else device
        beside = {**columns, "metadata": metadata, "encoder": encoder, "device": on}
        check_nothing_named(items, beside)
    with index_to_fill(out, adapter, mode, side=side, dtype=dtype) as built:
        check_folder(out)
        if is_archive(items):
            new = vectors_of(items, built.side)
        else:
            new = items_of(items, columns, metadata or (), skip_bad)
        if mode == "add":
            check_ids_new(built, new, out)
        chosen = EncoderChoice({built.side: encoder}, device, trust)
        changes = put(built, new, chosen, store)
        count = len(built)
    numbers = asdict(changes)
    if as_json:
        print_json({"index": str(out), "items": count, "repeats": new.repeats, **numbers})
        return
    again = f" ({new.repeats:,} repeats taken once)" if new.repeats else ""
    if mode in ("new", "replace"):
        say(f"{count:,} items{again} indexed in {out}")
    else:
        words = ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number)
        say(f"{words}{again}; {count:,} items in {out}")
