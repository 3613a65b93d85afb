"""``align learning-curve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import EncoderChoice, embedded_pairs
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import print_json, say


def learning_curve(
    pairs: options.PairsFile,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
    source_modality: options.SideModality = None,
    target_modality: options.SideModality = None,
    source_encoder: options.SourceSpec = None,
    target_encoder: options.TargetSpec = None,
    folds: Annotated[int, typer.Option(help="Parts that the pairs are dealt into.", min=3)] = 5,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps what was measured, to go on from.",
            rich_help_panel=options.WRITING,
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help=".png or .svg of the curve.", rich_help_panel=options.WRITING),
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Recall by the number of pairs, and what twice and four times as many would bring.

    The pairs alone are looked at: parts of them are fitted on, others judge, always in galleries
    of one size.

    Example: `align learning-curve pairs.csv --source caption --target image
    --source-encoder text:minilm --target-encoder image:efficientnet-lite0`
    """
    from align._display.figure import check_matplotlib
    from align.fitting.learning_curve.measure import learning_curve as measure

    if figure is not None:
        check_matplotlib()
        check_file(figure)
    columns = {
        "source": source, "target": target, "id": id, "group": group,
        "source_modality": source_modality, "target_modality": target_modality,
        "instruction": None,
    }  # fmt: skip
    specs = {"source": source_encoder, "target": target_encoder, "instruction": None}
    _, data = embedded_pairs(pairs, columns, EncoderChoice(specs, device), store, skip_bad)
    curve = measure(data, folds=folds, seed=seed, resume=resume)
    if figure is not None:
        curve.plot().savefig(figure, dpi=150, facecolor="white")
    if as_json:
        print_json({**curve.to_dict(), "figure": None if figure is None else str(figure)})
        return
    say(*str(curve).split("\n"))
    if figure is not None:
        say(f"written to {figure}")
