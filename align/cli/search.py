"""``align search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from align.cli.inputs import encoder_of
from align.cli.options import AsJson, MaybeSpec
from align.cli.printing import console, print_json, table


def search(
    index: Annotated[Path, typer.Argument(help="Folder that `align index` wrote.")],
    query: Annotated[str, typer.Argument(help="Text, or the path of an image.")],
    k: Annotated[int, typer.Option("-k", help="How many items to show.", min=1)] = 10,
    encoder: MaybeSpec = None,
    as_json: AsJson = False,
) -> None:
    """The best items for one query from the other side.

    Example: `align search idx "a dog on a beach" -k 5`
    """
    from align.embeddings import Embeddings
    from align.retrieval.index import Index

    opened = Index.open(index)
    asking = "source" if opened.side == "target" else "target"
    frozen = encoder_of(opened.adapter, asking, encoder)
    item = Path(query) if frozen.modality == "image" else query
    vector = Embeddings(frozen.encode([item]), frozen.fingerprint, (query,))
    hits = opened.search(vector, k=min(k, len(opened)))[0]
    if as_json:
        print_json([{"id": hit.id, "score": hit.score} for hit in hits])
        return
    shown = table("", "", "score", "item")
    for place, hit in enumerate(hits, start=1):
        shown.add_row(str(place), f"{hit.score:.3f}", hit.id)
    console().print(shown)
