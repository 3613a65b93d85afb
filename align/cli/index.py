"""``align index``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from align.cli.inputs import encoder_of, open_store, report_skipped
from align.cli.options import (
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
from align.cli.printing import console, print_json


def index(
    adapter: AdapterFolder,
    items: ItemsFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the index to.")],
    column: ItemsColumn = None,
    id: IdColumn = None,
    modality: Annotated[
        str | None, typer.Option(help="Column of each item's modality: text, image, code, ...")
    ] = None,
    side: Annotated[str, typer.Option(help="Side the items are on: source or target.")] = "target",
    encoder: MaybeSpec = None,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Encode, adapt and index items, so that they can be searched from the other side.

    Example: `align index my-adapter photos/ -o idx`
    """
    from align._checks import check_side
    from align.adapters.artifact import load
    from align.embeddings import Embeddings
    from align.encoding import items_for
    from align.instructing import sources_for
    from align.items import read_items
    from align.retrieval.index import Index

    check_side(side)
    loaded = load(str(adapter))
    on_error: Literal["skip", "raise"] = "skip" if skip_bad else "raise"
    found = read_items(items, column=column, id=id, modality=modality, on_error=on_error)
    report_skipped(found.skipped)
    frozen = encoder_of(loaded, side, encoder)
    named = items_for(frozen, found.items, found.modality, side=side)
    vectors = open_store(store).encode(frozen, named, progress=True)
    if side == "source":
        vectors = sources_for(loaded, vectors)
    made = Index.create(out, loaded, side="source" if side == "source" else "target")
    made.add(found.ids, Embeddings(vectors, frozen.fingerprint, found.ids))
    made.save()
    if as_json:
        print_json({"index": str(out), "items": len(made), "repeats": found.repeats})
    else:
        again = f" ({found.repeats:,} repeats taken once)" if found.repeats else ""
        console().print(f"{len(made):,} items{again} indexed in {out}", highlight=False)
