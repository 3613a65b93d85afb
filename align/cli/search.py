"""``align search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from align.cli.inputs import encoder_of, instruction_encoder_of, taken
from align.cli.options import AsJson, InstructionSpec, MaybeSpec
from align.cli.printing import console, print_json, table


def search(
    index: Annotated[Path, typer.Argument(help="Folder that `align index` wrote.")],
    query: Annotated[str, typer.Argument(help="Text, or the path of an image.")],
    k: Annotated[int, typer.Option("-k", help="How many items to show.", min=1)] = 10,
    instruction: Annotated[
        str | None, typer.Option(help="What to look for, if the adapter takes instructions.")
    ] = None,
    modality: Annotated[
        str, typer.Option(help="What the query is, where the side that asks is mixed.")
    ] = "text",
    encoder: MaybeSpec = None,
    instruction_encoder: InstructionSpec = None,
    as_json: AsJson = False,
) -> None:
    """The best items for one query from the other side.

    Example: `align search idx "a dog on a beach" -k 5`
    """
    from align.embeddings import Embeddings
    from align.encoding import MIXED, encode_instructions, items_for
    from align.instructing import sources_for
    from align.retrieval.index import Index

    opened = Index.open(index)
    asking = "source" if opened.side == "target" else "target"
    frozen = encoder_of(opened.adapter, asking, encoder)
    kind = modality if frozen.modality == MIXED else frozen.modality
    item = Path(query) if kind == "image" else query
    vector = frozen.encode(items_for(frozen, [item], [kind], side=asking))
    if asking == "source":
        told = None
        if taken(opened.adapter, instruction) is not None:
            teller = instruction_encoder_of(opened.adapter, instruction_encoder) or frozen
            told = encode_instructions(teller, [str(instruction)], store=None, progress=False)
        vector = sources_for(opened.adapter, vector, told)
    elif instruction is not None:
        raise ValueError(
            "an instruction belongs to a source; this index is of sources and targets ask; got "
            f"{instruction!r}. Leave --instruction out."
        )
    asked = Embeddings(vector, frozen.fingerprint, (query,))
    hits = opened.search(asked, k=min(k, len(opened)))[0]
    if as_json:
        print_json([{"id": hit.id, "score": hit.score} for hit in hits])
        return
    shown = table("", "", "score", "item")
    for place, hit in enumerate(hits, start=1):
        shown.add_row(str(place), f"{hit.score:.3f}", str(hit.id))
    console().print(shown)
