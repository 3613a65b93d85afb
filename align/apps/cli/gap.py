"""``align gap``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import encode_pairs, note_unknown_training, taken_instruction
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import console, print_json, say


def gap(
    pairs: Annotated[
        Path, typer.Argument(help="Pairs as for `align fit`, or .npz with arrays source, target.")
    ],
    adapter: Annotated[
        Path | None, typer.Argument(help="Folder that `align fit` wrote; without, raw only.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help=".html, .md, .json or .txt to write; may repeat."),
    ] = None,
    source: options.MaybeColumn = None,
    target: options.MaybeColumn = None,
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
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
    seed: Annotated[int, typer.Option(help="Seed of samples, draws and nulls.")] = 0,
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure the modality gap: offset, distribution, pairing, structure, pathologies.

    Every value comes with a 95 % interval and with what it would be by chance. Measure pairs that
    the adapter was not fitted on.

    Example: `align gap test.csv my-adapter --source caption --target image -o report.html`
    """
    from align.adapters.adapter import load
    from align.data.embeddings import read_npz
    from align.data.validation import Columns
    from align.metrics.evaluation import seen_in_training
    from probes.reporting.document import check_format
    from probes.reporting.report import report

    for path in out or ():
        check_format(path)
        check_file(path)
    loaded = None if adapter is None else load(str(adapter))
    instruction = None if loaded is None else taken_instruction(loaded, instruction)
    columns = source, target, id, group, source_modality, target_modality, instruction
    specs = {"source": source_encoder, "target": target_encoder, "instruction": instruction_encoder}
    items = None
    if pairs.suffix.lower() == ".npz":
        if words := [word for word in (*columns, *specs.values()) if word]:
            raise ValueError(
                f"an .npz holds embeddings, ids and groups by itself; got {words} beside {pairs}. "
                "Leave out columns and encoders."
            )
        data = read_npz(pairs)
    elif source is None or target is None:
        raise ValueError(
            f"a table needs --source and --target, the columns of the two sides; got {source!r} "
            f"and {target!r} for {pairs}. Name both, or pass an .npz of embeddings."
        )
    else:
        named = Columns(source, target, *columns[2:])
        items, data = encode_pairs(pairs, named, specs, store, skip_bad, loaded)
    if test is not None:
        _, data = data.split(test=test, seed=seed)
    if loaded is not None:
        note_unknown_training(loaded)
        seen_in_training(loaded, data, stacklevel=1)
    partial = out[0].with_name(f".{out[0].name}.partial") if out else None
    measured = report(data, loaded, seed=seed, progress=True, resume=partial)
    for path in out or ():
        measured.save(path, items)
    if as_json:
        print_json(json.loads(measured.to_json()))
        return
    if console().is_terminal:
        console().print(measured)
    else:
        say(*str(measured).split("\n"))  # a file is as wide as it needs to be
    for path in out or ():
        say(f"written to {path}")
