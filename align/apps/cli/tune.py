"""``align tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import EncoderChoice, check_better, embedded_pairs
from align.apps.cli.outputs import check_adapter_folder, check_file, check_folder
from align.apps.cli.printing import console, print_json, say, table

if TYPE_CHECKING:
    from rich.table import Table

    from align.fitting.tuning.result import Trial, Tuning


def tune(
    pairs: options.PairsFile,
    out: options.AdapterOut,
    study: Annotated[
        Path, typer.Option(help="Journal of the search; if it is there, the search goes on.")
    ],
    trials: Annotated[
        int, typer.Option(help="Trials in all, those of earlier runs included.")
    ] = 50,
    max_bytes: Annotated[
        int | None, typer.Option(help="Most bytes per gallery vector of the adapter.")
    ] = None,
    dims: Annotated[
        tuple[int, int] | None, typer.Option(help="Least and greatest width to try.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which no further trial begins.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder to write figures of the search to.")
    ] = None,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
    source_modality: options.SideModality = None,
    target_modality: options.SideModality = None,
    source_encoder: options.SourceSpec = None,
    target_encoder: options.TargetSpec = None,
    require_better_than_chance: options.RequireBetter = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Search for settings that score high with few bytes per gallery vector, and fit the best.

    The search is written to a journal as it goes. Stop it whenever you like: the same command
    takes it up where it was, and with more trials it goes further.

    Example: `align tune pairs.csv --source caption --target image
    --source-encoder text:sentence-transformers/all-MiniLM-L6-v2
    --target-encoder image:facebook/dinov2-small --study pairs.journal --max-bytes 512
    -o my-adapter`
    """
    from align._display.figure import check_matplotlib
    from align.fitting.tuning.figures import save_figures
    from align.fitting.tuning.study import tune as search

    check_adapter_folder(out)
    check_file(study)
    if figures is not None:
        check_matplotlib()
        check_folder(figures)
    columns = {
        "source": source, "target": target, "id": id, "group": group,
        "source_modality": source_modality, "target_modality": target_modality,
    }  # fmt: skip
    specs = {"source": source_encoder, "target": target_encoder}
    encoders = EncoderChoice(specs, device)
    _, data = embedded_pairs(pairs, columns, encoders, store, skip_bad)
    tuning = search(data, study=study, trials=trials, dims=dims, timeout=timeout, seed=seed)
    chosen = tuning.best(max_bytes=max_bytes)
    adapter = tuning.fit(max_bytes=max_bytes)
    check_better(adapter, require_better_than_chance, out)
    adapter.save(out)
    drawings = [] if figures is None else save_figures(tuning, figures, chosen=chosen)
    if as_json:
        print_json(
            {
                "adapter": str(out),
                "chosen": _numbers(chosen),
                "chance": {"mrr": tuning.chance_mrr, "recall_at_10": tuning.chance_at_10},
                "front": [_numbers(trial) for trial in tuning.front],
                "trials": len(tuning.trials),
                "pruned": len(tuning.trials) - len(tuning.whole),
                "importance": dict(tuning.importance),
                "figures": [str(path) for path in drawings],
                "card": adapter.card.to_dict(),
            }
        )
        return
    console().print(_front(tuning, chosen))
    say(f"{adapter.card.verdict}.", *(f"written to {path}" for path in drawings), f"saved to {out}")


def _front(tuning: Tuning, chosen: Trial) -> Table:
    """One row per trial of the front, cheapest first."""
    pruned = len(tuning.trials) - len(tuning.whole)
    title = f"the front of {len(tuning.trials)} trials, {pruned} of them pruned; chosen in bold"
    grid = table(title, "trial", "bytes", "MRR", "R@10", "setting")
    for trial in tuning.front:
        grid.add_row(
            str(trial.number), f"{trial.cost:,}",
            f"{100 * trial.mrr:.1f} ± {196 * trial.error:.1f}",
            f"{100 * trial.recall_at_10:.1f}", str(trial.setting),
            style="bold" if trial is chosen else None,
        )  # fmt: skip
    grid.add_row(
        "", "", f"{100 * tuning.chance_mrr:.1f}", f"{100 * tuning.chance_at_10:.1f}",
        "chance: a random order",
    )  # fmt: skip
    return grid


def _numbers(trial: Trial) -> dict[str, object]:
    return {
        "trial": trial.number,
        "bytes_per_item": trial.cost,
        "mrr": trial.mrr,
        "error": trial.error,
        "recall_at_10": trial.recall_at_10,
        "params": dict(trial.params),
    }
