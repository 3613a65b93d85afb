"""``align export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from align.apps.cli import options
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import print_json, say


def export(
    adapter: options.AdapterFolder,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File of the query map, NAME.onnx; that of the gallery is NAME.gallery.onnx.",
            rich_help_panel=options.WRITING,
        ),
    ],
    side: Annotated[str, typer.Option(help="Side that asks: source or target.")] = "source",
    as_json: options.AsJson = False,
) -> None:
    """Write an adapter as two ONNX models, for programs without torch: queries and gallery.

    Example: `align export my-adapter -o adapter.onnx`
    """
    from align.adapters.adapter import load
    from align.apps.cli.inspection import size_in_words

    check_file(out)
    asking: Any = side
    queries, gallery = load(str(adapter)).export(out, side=asking)
    if as_json:
        print_json({"queries": str(queries), "gallery": str(gallery)})
        return
    for path, what in ((queries, "maps queries"), (gallery, "maps the gallery")):
        say(f"{path} {what} ({size_in_words(path.stat().st_size)})")
