"""``align info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from align.apps.cli import options
from align.apps.cli.printing import print_json, say


def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PATH]",
            help="Folder of an adapter, head, index or store; or a report as .json, a checkpoint, "
            "a study or a MultiVector. None for this machine.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a file or folder of isthmus is, what made it, and how large it is.

    Without a path: versions, devices, and how vectors are multiplied on this machine.

    Example: `align info my-adapter`
    """
    from align.apps.cli.inspection import inspect, lines_of, lines_of_facts

    if path is None:
        from align.apps.cli.machine import machine

        facts = machine()
        if as_json:
            print_json(facts)
        else:
            say(*lines_of_facts(facts))
        return
    found = inspect(path)
    if as_json:
        print_json(found.to_dict())
    else:
        say(*lines_of(found))
