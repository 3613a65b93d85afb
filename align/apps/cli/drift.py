"""``align drift``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from align.apps.cli import options
from align.apps.cli.index_changes import items_of
from align.apps.cli.inputs import (
    EncoderChoice,
    check_encoder,
    check_nothing_named,
    encoder_of,
    is_archive,
    load_adapter,
    open_store,
)
from align.apps.cli.printing import print_json, say

DRIFTED = 3
"""Exit code of ``--exit-code`` where the items have moved."""


def drift(
    adapter: options.AdapterFolder,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS",
            help="New items: folder of images, .txt of lines, a table, or .npz of embeddings with "
            "an array named after the side.",
        ),
    ],
    side: Annotated[str, typer.Option(help="Side of the items: source or target.")] = "source",
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="ITEMS",
            help="Training items, in any form that ITEMS has; what the adapter remembers of them "
            "if left out, which is 8 numbers each.",
        ),
    ] = None,
    level: Annotated[
        float, typer.Option(help="How often items that did not move may be said to have.")
    ] = 0.05,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 3 if the items have moved.")
    ] = False,
    column: options.ItemsColumn = None,
    modality: options.SideModality = None,
    encoder: options.MaybeSpec = None,
    device: options.Device = "auto",
    trust: options.Trust = False,
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Say whether a stream of queries or documents has moved since training, and what to do.

    Give a random part of the stream, not several lines of one document: items are taken for
    independent draws.

    Examples:

    `align drift my-adapter queries.txt`

    `align drift my-adapter photos/ --side target --exit-code`
    """
    from align._checks import check_side
    from align.adapters.multi_vector.meta_tokens import MetaTokens
    from align.data.archives import read_side
    from align.data.embeddings import Embeddings
    from align.data.encoding import encode_items, items_for
    from align.data.sides import Side
    from probes.distribution.drift import drift as measure

    check_side(side)
    found = load_adapter(adapter)
    loaded = found.adapter if isinstance(found, MetaTokens) else found
    chosen = EncoderChoice({side: encoder}, device, trust)

    def vectors(path: Path, side: Side) -> Embeddings:
        if is_archive(path):
            on = None if device == "auto" else device
            beside = {"column": column, "modality": modality, "encoder": encoder, "device": on}
            check_nothing_named(path, beside)
            return read_side(path, side)
        columns = {"column": column, "id": None, "modality": modality}
        new = items_of(path, columns, (), skip_bad)
        made_by = encoder_of(loaded, side, chosen)
        check_encoder(loaded, side, made_by)
        items = items_for(made_by, new.items or (), new.modality, side=side)
        raw = encode_items(made_by, items, store=open_store(store), progress=None)
        return Embeddings(raw, made_by.fingerprint, new.ids)

    at = cast(Side, side)
    before = None if reference is None else vectors(reference, at)
    result = measure(loaded, vectors(items, at), side=at, reference=before, level=level, seed=seed)
    if as_json:
        print_json(result.to_dict())
    else:
        say(*str(result).split("\n"))
    if exit_code and result.drifted:
        raise typer.Exit(DRIFTED)
