"""``align search``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from align.apps.cli import options
from align.apps.cli.inputs import taken_instruction
from align.apps.cli.printing import console, print_json, say, table

if TYPE_CHECKING:
    from align.data.encoding import Encoder


def search(
    index: options.IndexFolder,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUERY]", help="Text, or the path of an image.", show_default=False
        ),
    ] = None,
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
    like: Annotated[
        str | None,
        typer.Option(
            metavar="ITEM",
            help="Path of a picture, or a text, of the kind that is searched: find what is like "
            "it, or like it but for what QUERY says.",
        ),
    ] = None,
    weight: Annotated[
        float | None, typer.Option(help="Share of QUERY beside --like; 0.5 if left out.")
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

    Examples:

    `align search idx "a dog on a beach" -k 5`

    `align search idx "but in red" --like shoe.jpg`
    """
    from align.data.sides import other_side
    from align.encoders.spec import load_encoder
    from align.retrieval.examples import EVEN
    from align.retrieval.hits_panel import sureness
    from align.retrieval.index.index import Index
    from align.retrieval.moments import clock
    from align.retrieval.picture_paths import FIELD, picture_path
    from align.retrieval.retriever import Retriever

    _check_question(query, like, weight, instruction, explain)
    filters = filter_of(where or ())
    opened = Index.open(index)
    specs = {"instructions": instruction_encoder, other_side(opened.side): encoder}
    encoders = {
        role: load_encoder(spec, device=device) for role, spec in specs.items() if spec is not None
    }
    retriever = Retriever(opened, **encoders, store=None, device=device, trust=trust)
    if retriever.query_side == "source":
        instruction = taken_instruction(retriever.embedder.adapter, instruction)
    k = min(k, len(opened))
    why = None
    if like is None:
        assert query is not None  # checked above
        item, modality = _query_of(
            retriever.embedder.encoder(retriever.query_side), query, modality
        )
        [hits] = retriever.search(
            [item], k=k, where=filters, modality=modality, instruction=instruction, budget=budget
        )
        if explain and hits:
            why = retriever.explain(item, hits[0], modality=modality, instruction=instruction)
    else:
        item, modality = _query_of(retriever.embedder.encoder(opened.side), like, modality)
        [hits] = retriever.search_like(
            [item], k=k, where=filters, modality=modality, budget=budget,
            modification=None if query is None else [query],
            weight=EVEN if weight is None else weight,
        )  # fmt: skip
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


def _check_question(
    query: str | None,
    like: str | None,
    weight: float | None,
    instruction: str | None,
    explain: bool,
) -> None:
    """Raise ``ValueError`` unless what was asked goes together."""
    if query is None and like is None:
        raise ValueError(
            "a search needs QUERY, a text or the path of an image, or --like ITEM; got neither. "
            'Write, for example, align search INDEX "a dog on a beach".'
        )
    if weight is not None and (query is None or like is None):
        raise ValueError(
            f"--weight shares a query out between QUERY and --like ITEM; got {weight:g} and one of "
            "them alone. Give both, or leave it out."
        )
    if like is not None and (instruction is not None or explain):
        raise ValueError(
            "--instruction and --explain are of a QUERY by itself; got one beside --like. "
            "Leave either out."
        )


def _query_of(encoder: Encoder, text: str, modality: str | None) -> tuple[Any, str | None]:
    """What is typed as an encoder takes it, and its modality where that must be said."""
    from align.data.encoding import MIXED
    from align.data.picture_names import names_picture

    if modality is None and encoder.modality == MIXED and not names_picture(text):
        modality = "text"
    is_file = not {"image", "video"}.isdisjoint((encoder.modality, modality))
    return Path(text) if is_file else text, modality


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
