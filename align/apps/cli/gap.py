"""``align gap``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import (
    EncoderChoice,
    embedded_pairs,
    is_adapter,
    labels_of,
    note_unknown_training,
    taken_instruction,
)
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import console, print_json, say


def gap(
    named: Annotated[
        list[Path],
        typer.Argument(
            metavar="[ADAPTER] PAIRS",
            help="Folder that `align fit` wrote, if there is one, and pairs as for `align fit`.",
        ),
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help=".html, .md, .json or .txt to write; may repeat.",
            rich_help_panel=options.WRITING,
        ),
    ] = None,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
    by: options.Subgroups = None,
    source_modality: options.SideModality = None,
    target_modality: options.SideModality = None,
    instruction: options.Instruction = None,
    source_encoder: options.MaybeSpec = None,
    target_encoder: options.MaybeSpec = None,
    instruction_encoder: options.InstructionSpec = None,
    test: Annotated[
        float | None,
        typer.Option(help="Measure only this share of the pairs, held out by group."),
    ] = None,
    probes: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Measure only this, such as recall_at_10; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples, draws and nulls.")] = 0,
    device: options.Device = "auto",
    trust: options.Trust = False,
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure the modality gap: offset, distribution, pairing, structure, pathologies.

    Every value comes with a 95 % interval and with what it would be by chance. Measure pairs that
    the adapter was not fitted on.

    With the adapter, the pairs are measured before and after it. Columns that it was fitted on need
    not be named again.

    Examples:

    `align gap embeddings.npz --json`

    `align gap my-adapter test.csv -o report.html`
    """
    from align.adapters.adapter import load
    from align.metrics.evaluation import seen_in_training
    from probes.reporting.document import check_format
    from probes.reporting.report import report
    from probes.reporting.selection import selected
    from probes.reporting.standard import STANDARD
    from probes.reporting.text import printed, renderable

    adapter, pairs = adapter_and_pairs(named)
    for path in out or ():
        check_format(path)
        check_file(path)
    chosen = selected(probes) if probes else STANDARD
    loaded = None if adapter is None else load(str(adapter))
    instruction = None if loaded is None else taken_instruction(loaded, instruction)
    columns = {
        "source": source, "target": target, "id": id, "group": group,
        "source_modality": source_modality, "target_modality": target_modality,
        "instruction": instruction,
    }  # fmt: skip
    specs = {"source": source_encoder, "target": target_encoder, "instruction": instruction_encoder}
    encoders = EncoderChoice(specs, device, trust)
    items, data = embedded_pairs(pairs, columns, encoders, store, skip_bad, loaded)
    if test is not None:
        _, data = data.split(test=test, seed=seed)
    if loaded is not None:
        note_unknown_training(loaded)
        seen_in_training(loaded, data, stacklevel=1)
    partial = out[0].with_name(f".{out[0].name}.partial") if out else None
    labels = labels_of(pairs, by, data.ids, id)
    measured = report(data, loaded, probes=chosen, by=labels, seed=seed, resume=partial)
    if items is not None:
        measured = measured.with_items(items)
    for path in out or ():
        measured.save(path)
    if as_json:
        print_json(json.loads(measured.to_json()))
        return
    rest = "All of it: --out gap.html, gap.md, gap.json or gap.txt."
    if console().is_terminal:
        console().print(renderable(measured, console().width, rest=rest))
    else:
        say(*printed(measured, rest=rest).split("\n"))
    for path in out or ():
        say(f"written to {path}")


def adapter_and_pairs(named: Sequence[Path]) -> tuple[Path | None, Path]:
    """The adapter, if one is named, and the pairs.

    The adapter comes first. The other order is understood where only the second of the two is a
    folder with the files of an adapter.
    """
    if len(named) == 1 and is_adapter(named[0]):
        raise typer.BadParameter(
            f"a gap is measured on pairs; got the adapter {named[0]} alone. Write: align gap "
            f"{named[0]} PAIRS"
        )
    if len(named) == 1:
        return None, named[0]
    if len(named) > 2:
        raise typer.BadParameter(
            f"one adapter and one file of pairs are compared at a time; got {len(named)} paths. "
            "Give ADAPTER PAIRS, or PAIRS alone for the gap before anything is fitted."
        )
    first, second = named
    return (second, first) if is_adapter(second) and not is_adapter(first) else (first, second)
