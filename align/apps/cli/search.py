"""``align search``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from align.apps.cli.inputs import encoder_of, instruction_encoder_of, taken
from align.apps.cli.options import AsJson, InstructionSpec, MaybeSpec
from align.apps.cli.printing import console, print_json, table


def search(
    index: Annotated[Path, typer.Argument(help="Folder that `align index` wrote.")],
    query: Annotated[str, typer.Argument(help="Text, or the path of an image.")],
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
    encoder: MaybeSpec = None,
    instruction_encoder: InstructionSpec = None,
    as_json: AsJson = False,
) -> None:
    """The best items for one query from the other side.

    Example: `align search idx "a dog on a beach" -k 5`
    """
    from align.adapters.adapter import Adapter
    from align.data.encoding import MIXED
    from align.data.multi_vector import MultiVector
    from align.data.picture_names import names_picture
    from align.data.sides import other_side
    from align.retrieval.embedder import Embedder
    from align.retrieval.index.index import Index

    opened = Index.open(index)
    adapter = opened.adapter
    if not isinstance(adapter, Adapter):
        raise ValueError(
            "to search with words or images, an index must hold an adapter that maps one vector "
            f"per item; {index} holds {type(adapter).__name__}. Search it in Python."
        )
    asking = other_side(opened.side)
    frozen = encoder_of(adapter, asking, encoder)
    told = instruction if asking == "target" else taken(adapter, instruction)
    teller = None
    if told is not None and asking == "source":
        teller = instruction_encoder_of(adapter, instruction_encoder) or frozen
    kind = modality
    if kind is None and frozen.modality == MIXED and not names_picture(query):
        kind = "text"
    item = Path(query) if frozen.modality == "image" or kind == "image" else query
    wanted = filter_of(where or ())
    embedder = Embedder(
        adapter,
        source=frozen if asking == "source" else None,
        target=frozen if asking == "target" else None,
        instructions=teller,
    )
    vector = embedder.queries([item], side=asking, modality=kind, instruction=told)
    asked = MultiVector.from_equal(vector[:, None])
    hits = opened.search(asked, k=min(k, len(opened)), where=wanted)[0]
    if as_json:
        print_json(
            [
                {
                    "id": hit.id,
                    "score": hit.score,
                    "modality": hit.modality,
                    "metadata": dict(hit.metadata),
                }
                for hit in hits
            ]
        )
        return
    shown = table("", "", "score", "modality", "item")
    for place, hit in enumerate(hits, start=1):
        name = str(hit.id)
        item = hit.metadata.get("text") or hit.metadata.get("path") or name
        if item != name:
            name = f"{name}: {item}"
        shown.add_row(str(place), f"{hit.score:.3f}", hit.modality or "", name)
    console().print(shown)


def filter_of(typed: Sequence[str]) -> dict[str, list[str] | Callable[[Any], bool]]:
    """``FIELD=VALUE`` as a filter; of a field that is named twice either value will do.

    Values of other fields than the modality are compared as they are written, so that ``2020`` is
    the number or the text.

    Raises:
        ValueError: There is no field, or no ``=``.
    """
    wanted: dict[str, set[str]] = {}
    for each in typed:
        field, sign, value = each.partition("=")
        if not field or not sign:
            raise ValueError(
                f"--where must be FIELD=VALUE; got {each!r}. Write, for example, modality=image."
            )
        wanted.setdefault(field, set()).add(value)

    def one_of(values: set[str]) -> Callable[[Any], bool]:
        return lambda held: (held if isinstance(held, str) else json.dumps(held)) in values

    return {
        field: sorted(values) if field == "modality" else one_of(values)
        for field, values in wanted.items()
    }
