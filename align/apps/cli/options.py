"""Arguments and options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PairsFile = Annotated[Path, typer.Argument(help="CSV, TSV, JSONL, Parquet, or a folder of images.")]
ItemsFile = Annotated[Path, typer.Argument(help="Folder of images, .txt of lines, or a table.")]
AdapterFolder = Annotated[Path, typer.Argument(help="Folder that `align fit` wrote.")]
IndexFolder = Annotated[Path, typer.Argument(help="Folder that `align index` wrote.")]
AdapterOut = Annotated[Path, typer.Option("--out", "-o", help="Folder to write the adapter to.")]
Column = Annotated[str, typer.Option(help="Name of the column.")]
MaybeColumn = Annotated[str | None, typer.Option(help="Name of the column.")]
ItemsColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the items.")]
IdColumn = Annotated[str | None, typer.Option("--id", help="Column of unique ids.")]
GroupColumn = Annotated[
    str | None,
    typer.Option("--group", help="Column of the group of each pair, as the photo of its captions."),
]
SideModality = Annotated[
    str | None, typer.Option(help="Column of each item's modality: text, image, code, ...")
]
Instruction = Annotated[
    str | None, typer.Option(help="Column of each source's instruction; cells may be empty.")
]
InstructionSpec = Annotated[
    str | None, typer.Option(help="Encoder of instructions; that of the sources if left out.")
]
StoreFolder = Annotated[Path, typer.Option("--store", help="Cache of encoded items.")]
Skip = Annotated[bool, typer.Option("--skip-bad", help="Drop bad rows and list them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
RequireBetter = Annotated[
    bool,
    typer.Option(
        "--require-better-than-chance",
        help="Save nothing and exit with 1 if held-out pairs are found no more often than by "
        "chance.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of folds and samples.")]
Spec = Annotated[
    str,
    typer.Option(
        help="text:MODEL, code:MODEL, image:MODEL or python:MODULE:ATTRIBUTE; several side by "
        "side as A+B; for mixed items by modality as 'image=A;code=B'."
    ),
]
MaybeSpec = Annotated[
    str | None,
    typer.Option(help="The encoder, where the adapter does not name it; it must be the same."),
]
DEFAULT_STORE = Path("~/.cache/isthmus/store")
