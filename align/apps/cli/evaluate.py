"""``align evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
    AdapterFolder,
    AsJson,
    Column,
    GroupColumn,
    IdColumn,
    Instruction,
    InstructionSpec,
    MaybeSpec,
    PairsFile,
    Skip,
    SourceModality,
    StoreFolder,
    TargetModality,
)
from align.apps.cli.printing import console, percent, print_json, table

_KEYS = ("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank")

if TYPE_CHECKING:
    from rich.table import Table

    from align.metrics.evaluation import Evaluation


def evaluate(
    adapter: AdapterFolder,
    pairs: PairsFile,
    source: Column,
    target: Column,
    id: IdColumn = None,
    group: GroupColumn = None,
    source_modality: SourceModality = None,
    target_modality: TargetModality = None,
    instruction: Instruction = None,
    source_encoder: MaybeSpec = None,
    target_encoder: MaybeSpec = None,
    instruction_encoder: InstructionSpec = None,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Recall and reciprocal rank of an adapter on pairs it has not seen, both directions.

    Example: `align evaluate my-adapter test.csv --source caption --target image`
    """
    from align.adapters.adapter import load
    from align.adapters.instructions import pairs_for
    from align.data.validation import Columns
    from align.metrics.evaluation import evaluate as evaluate_adapter

    loaded = load(str(adapter))
    told = taken(loaded, instruction)
    columns = Columns(source, target, id, group, source_modality, target_modality, told)
    data = encode(
        read_columns(pairs, columns, skip_bad),
        encoder_of(loaded, "source", source_encoder),
        encoder_of(loaded, "target", target_encoder),
        store,
        None if told is None else instruction_encoder_of(loaded, instruction_encoder),
        loaded,
    )
    found = evaluate_adapter(pairs_for(loaded, data), loaded)
    say_unknown(loaded)
    if as_json:
        print_json(found.to_dict())
    else:
        console().print(evaluation_table(found))


def evaluation_table(found: Evaluation) -> Table:
    """Two rows per direction: per cent with half of the 95 % interval, and a random order."""
    shown = table("per cent, half of the 95 % interval", "", "gallery", "R@1", "R@5", "R@10", "MRR")
    for label, part in (
        ("source → target", found.source_to_target),
        ("target → source", found.target_to_source),
    ):
        cells = [percent(part.metrics[key]) for key in _KEYS]
        shown.add_row(label, f"{part.gallery_size:,}", *cells)
        shown.add_row("  chance", "", *_at_random(part.chance), style="dim")
    shown.add_row("mean", "", *(percent(found.mean[key]) for key in _KEYS), style="bold")
    shown.add_row("  chance", "", *_at_random(found.chance), style="dim")
    return shown


def _at_random(chance: Mapping[str, float]) -> list[str]:
    return [f"{100 * chance[key]:.1f}" for key in _KEYS]
