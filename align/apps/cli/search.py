"""``align search``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from align.apps.cli import options
from align.apps.cli.inputs import taken_instruction
from align.apps.cli.printing import console, print_json, say, table


def search(
    index: options.IndexFolder,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Text, or the path of an image.")],
    k: Annotated[int, typer.Option("-k", help="How many items to show.", min=1)] = 10,
    instruction: Annotated[
        str | None, typer.Option(help="What to look for, if the adapter takes instructions.")
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            help="What the query is: text, image, ... If left out, the name of a picture is one, "
            "and anything else a text."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=VALUE that items must have, such as modality=image; repeatable."),
    ] = None,
    budget: options.VectorBudget = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why the first hit was found.")
    ] = False,
    encoder: options.MaybeSpec = None,
    instruction_encoder: options.InstructionSpec = None,
    device: options.Device = "auto",
    trust: options.Trust = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the best items for a query from the other side.

    Example: `align search idx "a dog on a beach" -k 5`
    """
    from align.data.encoding import MIXED
    from align.data.picture_names import names_picture
    from align.data.sides import other_side
    from align.encoders.spec import load_encoder
    from align.retrieval.hits_panel import sureness
    from align.retrieval.index.index import Index
    from align.retrieval.moments import clock
    from align.retrieval.picture_paths import FIELD, picture_path
    from align.retrieval.retriever import Retriever

    filters = filter_of(where or ())
    opened = Index.open(index)
    specs = {"instructions": instruction_encoder, other_side(opened.side): encoder}
    encoders = {
        role: load_encoder(spec, device=device) for role, spec in specs.items() if spec is not None
    }
    retriever = Retriever(opened, **encoders, store=None, device=device, trust=trust)
    if retriever.query_side == "source":
        instruction = taken_instruction(retriever.embedder.adapter, instruction)
    kind = retriever.embedder.encoder(retriever.query_side).modality
    if modality is None and kind == MIXED and not names_picture(query):
        modality = "text"
    item = Path(query) if "image" in (kind, modality) else query
    [hits] = retriever.search(
        [item],
        k=min(k, len(opened)),
        where=filters,
        modality=modality,
        instruction=instruction,
        budget=budget,
    )
    why = None
    if explain and hits:
        why = retriever.explain(item, hits[0], modality=modality, instruction=instruction)
    if as_json:
        found = [{**hit._asdict(), "metadata": dict(hit.metadata)} for hit in hits]
        if why is not None:
            found[0]["explanation"] = why.to_dict()
        print_json(found)
        return
    known = any(hit.confidence is not None for hit in hits)
    grid = table("", "", "score", *(["confidence"] if known else []), "modality", "item")
    for rank, hit in enumerate(hits, start=1):
        name = str(hit.id)
        content = hit.metadata.get("text") or name
        if isinstance(path := hit.metadata.get(FIELD), str) and "text" not in hit.metadata:
            content = str(picture_path(path, opened.folder))
        if hit.second is not None:
            content = f"{content} at {clock(hit.second)}"
        if content != name:
            name = f"{name}: {content}"
        sure = [] if hit.confidence is None else [sureness(hit.confidence)]
        grid.add_row(str(rank), f"{hit.score:.3f}", *sure, hit.modality or "", name)
    console().print(grid)
    if why is not None:
        say(*str(why).split("\n"))


def filter_of(words: Sequence[str]) -> dict[str, list[str] | Callable[[Any], bool]]:
    """``FIELD=VALUE`` as a filter; a field that is named twice may have either value.

    Values of other fields than the modality are compared as they are written, so that ``2020`` is
    the number or the text.
    """
    wanted: dict[str, set[str]] = {}
    for word in words:
        field, sign, value = word.partition("=")
        if not field or not sign:
            raise ValueError(
                f"--where must be FIELD=VALUE; got {word!r}. Write, for example, modality=image."
            )
        wanted.setdefault(field, set()).add(value)

    def one_of(values: set[str]) -> Callable[[Any], bool]:
        return lambda held: (held if isinstance(held, str) else json.dumps(held)) in values

    return {
        field: sorted(values) if field == "modality" else one_of(values)
        for field, values in wanted.items()
    }
