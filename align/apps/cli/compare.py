"""``align compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import (
    EncoderChoice,
    columns_of,
    embedded_pairs,
    encoded,
    is_archive,
    note_unknown_training,
    read_pairs,
    taken_instruction,
)
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import print_json, say

if TYPE_CHECKING:
    from align.data.pairs import Pairs
    from align.data.validation import Columns


def compare(
    adapters: Annotated[
        list[Path],
        typer.Argument(
            metavar="ADAPTER ADAPTER...",
            help="Folders that `align fit` wrote, two or more; the first is the baseline.",
        ),
    ],
    pairs: options.PairsFile,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help=".html, .md, .json or .txt to write, or .png or .svg for the figure; may repeat.",
            rich_help_panel=options.WRITING,
        ),
    ] = None,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
    source_modality: options.SideModality = None,
    target_modality: options.SideModality = None,
    instruction: options.Instruction = None,
    source_encoder: options.MaybeSpec = None,
    target_encoder: options.MaybeSpec = None,
    instruction_encoder: options.InstructionSpec = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and the random swaps.")] = 0,
    device: options.Device = "auto",
    trust: options.Trust = False,
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Recall and reciprocal rank of several adapters on the same pairs, beside the first.

    Pass pairs that none of them has seen. Each encodes them with the encoders that its card names.
    Differences from the first come with 95 % intervals, p-values that count how many are compared,
    and a verdict.

    Example: `align compare old-adapter new-adapter test.csv --source caption --target image`
    """
    from align.adapters.adapter import load
    from align.metrics.comparison.compare import System
    from align.metrics.comparison.compare import compare as compare_systems
    from align.metrics.comparison.document import check_format

    names = names_of_folders(adapters)
    for path in out or ():
        check_format(path)
        check_file(path)
    loaded = {
        name: load(str(folder)) for name, folder in zip(names, adapters, strict=True)
    }  # all of them, before the first item is encoded
    specs = {"source": source_encoder, "target": target_encoder, "instruction": instruction_encoder}
    systems: dict[str, System] = {}
    read: dict[Columns, Pairs] = {}
    for name, adapter in loaded.items():
        columns = {
            "source": source, "target": target, "id": id, "group": group,
            "source_modality": source_modality, "target_modality": target_modality,
            "instruction": taken_instruction(adapter, instruction),
        }  # fmt: skip
        encoders = EncoderChoice(specs, device, trust)
        if is_archive(pairs):
            _, data = embedded_pairs(pairs, columns, encoders, store, skip_bad, adapter)
        else:
            named = columns_of(pairs, columns, adapter)
            if named not in read:  # so that rows which are skipped are listed once
                read[named] = read_pairs(pairs, named, skip_bad)
            data = encoded(read[named], encoders, store, adapter)
        note_unknown_training(adapter)
        systems[name] = data, adapter
    comparison = compare_systems(systems, seed=seed)
    for path in out or ():
        comparison.save(path)
    if as_json:
        print_json(comparison.to_dict())
        return
    say(*str(comparison).split("\n"))
    for path in out or ():
        say(f"written to {path}")


def names_of_folders(folders: Sequence[Path]) -> list[str]:
    """What each adapter is called: its folder, or the whole path where two folders share a name."""
    if len(folders) < 2:
        raise typer.BadParameter(
            f"at least two adapters are compared; got {len(folders)}. Give ADAPTER ADAPTER PAIRS, "
            "or use `align evaluate` for one."
        )
    whole = [str(folder) for folder in folders]
    if len(set(whole)) < len(whole):
        raise typer.BadParameter(
            f"each adapter is named once; got {', '.join(whole)}. Leave the second one out."
        )
    short = [folder.expanduser().resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else whole
