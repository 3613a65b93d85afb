"""``align gap``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from align.apps.cli.inputs import (
    encode,
    encoder_of,
    instruction_encoder_of,
    read_columns,
    say_unknown,
    taken,
)
from align.apps.cli.options import (
    DEFAULT_STORE,
    AsJson,
    GroupColumn,
    IdColumn,
    Instruction,
    InstructionSpec,
    MaybeColumn,
    MaybeSpec,
    Skip,
    SourceModality,
    StoreFolder,
    TargetModality,
)
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import console, print_json, say

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter
    from align.data.embeddings import PairedEmbeddings
    from align.data.pairs import Pairs


def gap(
    pairs: Annotated[
        Path, typer.Argument(help="Pairs as for `align fit`, or .npz with arrays source, target.")
    ],
    adapter: Annotated[
        Path | None, typer.Argument(help="Folder that `align fit` wrote; raw only without.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help=".html, .md, .json or .txt to write; may repeat."),
    ] = None,
    source: MaybeColumn = None,
    target: MaybeColumn = None,
    id: IdColumn = None,
    group: GroupColumn = None,
    source_modality: SourceModality = None,
    target_modality: TargetModality = None,
    instruction: Instruction = None,
    source_encoder: MaybeSpec = None,
    target_encoder: MaybeSpec = None,
    instruction_encoder: InstructionSpec = None,
    test: Annotated[
        float | None,
        typer.Option(help="Measure only this share of the pairs, held out by group."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples, draws and nulls.")] = 0,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Measure the modality gap: offset, distribution, pairing, structure, pathologies.

    Every value comes with a 95 % interval and with what it would be by chance. Measure pairs that
    the adapter was not fitted on.

    Example: `align gap test.csv my-adapter --source caption --target image -o report.html`
    """
    from align.adapters.adapter import load
    from align.metrics.evaluation import seen_in_training
    from probes.reporting.document import check_format
    from probes.reporting.report import report

    for path in out or ():
        check_format(path)
        check_file(path)
    loaded = None if adapter is None else load(str(adapter))
    columns = {
        "source": source,
        "target": target,
        "id": id,
        "group": group,
        "source_modality": source_modality,
        "target_modality": target_modality,
        "instruction": None if loaded is None else taken(loaded, instruction),
    }
    specs = source_encoder, target_encoder, instruction_encoder
    items, data = _measured_pairs(pairs, columns, skip_bad, loaded, specs, store)
    if test is not None:
        _, data = data.split(test=test, seed=seed)
    if loaded is not None:
        say_unknown(loaded)
        seen_in_training(loaded, data, stacklevel=1)
    partial = out[0].with_name(f".{out[0].name}.partial") if out else None
    found = report(data, loaded, seed=seed, progress=True, resume=partial)
    for path in out or ():
        found.save(path, items)
    if as_json:
        print_json(json.loads(found.to_json()))
        return
    if console().is_terminal:
        console().print(found)
    else:
        say(*str(found).split("\n"))  # a file is as wide as it needs to be
    for path in out or ():
        say(f"written to {path}")


def _measured_pairs(
    path: Path,
    columns: Mapping[str, str | None],
    skip_bad: bool,
    adapter: Adapter | None,
    specs: tuple[str | None, str | None, str | None],
    store: Path,
) -> tuple[Pairs | None, PairedEmbeddings]:
    """Embeddings as they stand in an .npz, or items and their embeddings."""
    if path.suffix.lower() == ".npz":
        from align.data.embeddings import read_npz

        told = [word for word in (*columns.values(), *specs) if word]
        if told:
            raise ValueError(
                f"an .npz holds embeddings, ids and groups by itself; got {told} beside {path}. "
                "Leave out columns and encoders."
            )
        return None, read_npz(path)
    from align.adapters.instructions import pairs_for
    from align.data.validation import Columns

    source, target = columns["source"], columns["target"]
    if source is None or target is None:
        raise ValueError(
            f"a table needs --source and --target, the columns of the two sides; got {source!r} "
            f"and {target!r} for {path}. Name both, or pass an .npz of embeddings."
        )
    rest = {name: column for name, column in columns.items() if name not in ("source", "target")}
    items = read_columns(path, Columns(source, target, **rest), skip_bad)
    teller = None
    if adapter is not None and columns["instruction"] is not None:
        teller = instruction_encoder_of(adapter, specs[2])
    sides = encoder_of(adapter, "source", specs[0]), encoder_of(adapter, "target", specs[1])
    data = encode(items, *sides, store, teller, adapter)
    return items, data if adapter is None else pairs_for(adapter, data)
