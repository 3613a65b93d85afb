"""``align evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from align.apps.cli import options
from align.apps.cli.inputs import (
    EncoderChoice,
    embedded_pairs,
    labels_of,
    load_adapter,
    note_unknown_training,
    taken_instruction,
)
from align.apps.cli.printing import console, percent, print_json, say, table
from align.apps.cli.token_states import token_pairs
from align.data.sides import directions_of

if TYPE_CHECKING:
    from rich.table import Table

    from align.metrics.evaluation import Evaluation


def evaluate(
    adapter: options.AdapterFolder,
    pairs: options.PairsFile,
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
    budget: options.VectorBudget = None,
    device: options.Device = "auto",
    trust: options.Trust = False,
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Recall and reciprocal rank of an adapter on pairs it has not seen, both directions.

    Columns that the adapter was fitted on need not be named again.

    Examples:

    `align evaluate my-adapter test.csv`

    `align evaluate my-adapter test.npz --json`

    `align evaluate my-adapter test.csv --by category`
    """
    from align.adapters.multi_vector.meta_tokens import MetaTokens
    from align.metrics.evaluation import evaluate as evaluate_adapter
    from align.metrics.multi_vector import evaluate_meta_tokens
    from align.metrics.panels import subgroup_lines

    found = load_adapter(adapter)
    head = found if isinstance(found, MetaTokens) else None
    loaded = found.adapter if isinstance(found, MetaTokens) else found
    if budget is not None and head is None:
        raise ValueError(
            f"--budget chooses among several vectors of an item; {adapter} gives one of each. "
            "Leave it out, or fit a head by align fit --vectors."
        )
    instruction = taken_instruction(loaded, instruction)
    columns = {
        "source": source, "target": target, "id": id, "group": group,
        "source_modality": source_modality, "target_modality": target_modality,
        "instruction": instruction,
    }  # fmt: skip
    specs = {"source": source_encoder, "target": target_encoder, "instruction": instruction_encoder}
    encoders = EncoderChoice(specs, device, trust)
    if head is None:
        _, data = embedded_pairs(pairs, columns, encoders, store, skip_bad, loaded)
        labels = labels_of(pairs, by, data.ids, id)
        evaluation = evaluate_adapter(data, loaded, by=labels)
    else:
        tokens = token_pairs(pairs, columns, encoders, store, skip_bad, loaded)
        labels = labels_of(pairs, by, tokens.pooled.ids, id)
        evaluation = evaluate_meta_tokens(tokens, head, budget=budget, by=labels)
    note_unknown_training(loaded)
    if as_json:
        print_json(evaluation.to_dict())
    else:
        console().print(evaluation_table(evaluation))
        if evaluation.subgroups:
            say(*subgroup_lines(evaluation.subgroups).split("\n"))


_METRICS = ("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank")


def evaluation_table(evaluation: Evaluation) -> Table:
    """Two rows per direction: per cent with half of the 95 % interval, and a random order."""
    grid = table("per cent, half of the 95 % interval", "", "gallery", "R@1", "R@5", "R@10", "MRR")
    there, again = directions_of(evaluation.side_names)
    for label, part in (
        (there, evaluation.source_to_target),
        (again, evaluation.target_to_source),
    ):
        cells = [percent(part.metrics[key]) for key in _METRICS]
        grid.add_row(label, f"{part.gallery_size:,}", *cells)
        grid.add_row("  chance", "", *_at_random(part.chance), style="dim")
    grid.add_row("mean", "", *(percent(evaluation.mean[key]) for key in _METRICS), style="bold")
    grid.add_row("  chance", "", *_at_random(evaluation.chance), style="dim")
    return grid


def _at_random(chance: Mapping[str, float]) -> list[str]:
    return [f"{100 * chance[key]:.1f}" for key in _METRICS]
