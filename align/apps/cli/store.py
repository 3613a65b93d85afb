"""``align store stat``, ``verify`` and ``prune``."""

from __future__ import annotations

from typing import Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import open_store
from align.apps.cli.printing import console, print_json, say, table


def stat(
    store: options.StoreFolder = options.DEFAULT_STORE, as_json: options.AsJson = False
) -> None:
    """What the cache holds, encoder by encoder."""
    from dataclasses import asdict

    encoders = open_store(store).stat()
    if as_json:
        print_json([asdict(encoder) for encoder in encoders])
        return
    grid = table(str(store), "encoder", "kind", "dtype", "items", "MB")
    for encoder in encoders:
        grid.add_row(
            encoder.fingerprint, encoder.kind, encoder.dtype, f"{encoder.items:,}",
            f"{encoder.bytes / 1e6:.1f}",
        )  # fmt: skip
    console().print(grid)


def verify(
    store: options.StoreFolder = options.DEFAULT_STORE, as_json: options.AsJson = False
) -> None:
    """Hash every cached vector again; exits with 1 if something is damaged."""
    problems = open_store(store).verify()
    if as_json:
        print_json([str(problem) for problem in problems])
    else:
        say(*problems, f"{len(problems)} problems in {store}")
    if problems:
        raise typer.Exit(1)


def prune(
    store: options.StoreFolder = options.DEFAULT_STORE,
    drop: Annotated[
        list[str] | None, typer.Option(help="Fingerprint to remove altogether; may repeat.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove damage, give free room back to the disk, and drop encoders by name."""
    freed = open_store(store).prune(drop=drop or ())
    if as_json:
        print_json({"freed_bytes": freed})
    else:
        say(f"{freed / 1e6:.1f} MB freed in {store}")
