"""``align fit``."""

from __future__ import annotations

from typing import Annotated

import typer

from align.cli.inputs import encode, read_pairs
from align.cli.options import (
    DEFAULT_STORE,
    AdapterOut,
    AsJson,
    Column,
    GroupColumn,
    IdColumn,
    PairsFile,
    Seed,
    Skip,
    Spec,
    StoreFolder,
)
from align.cli.printing import console, print_json, table, working


def fit(
    pairs: PairsFile,
    source: Column,
    target: Column,
    source_encoder: Spec,
    target_encoder: Spec,
    out: AdapterOut,
    id: IdColumn = None,
    group: GroupColumn = None,
    query_only: Annotated[
        bool, typer.Option("--query-only", help="Leave target vectors, and their index, as is.")
    ] = False,
    seed: Seed = 0,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Fit an adapter on pairs; every setting is cross-validated among them.

    Example: `align fit pairs.csv --source caption --target image
    --source-encoder text:sentence-transformers/all-MiniLM-L6-v2
    --target-encoder image:facebook/dinov2-small -o my-adapter`
    """
    from dataclasses import replace

    from align.encoders.spec import from_spec
    from align.selection import fit as fit_adapter

    encoders = from_spec(source_encoder), from_spec(target_encoder)
    data = encode(read_pairs(pairs, source, target, id, group, skip_bad), *encoders, store)
    with working(f"cross-validating maps on {len(data):,} pairs"):
        adapter = fit_adapter(data, side="source" if query_only else "both", seed=seed)
    specs = {"source": source_encoder, "target": target_encoder}
    adapter.card = replace(adapter.card, encoders=specs)
    adapter.save(out)
    card = adapter.card
    if as_json:
        print_json({"adapter": str(out), "card": card.to_dict()})
        return
    best = sorted((c for c in card.candidates if c.chosen), key=lambda c: c.mrr)
    shown = table(
        f"chosen on held-out folds of {card.fold_gallery:,}", "stage", "what", "MRR", "R@10"
    )
    for entry in best:
        half = 100 * (entry.high - entry.low) / 2
        shown.add_row(
            entry.stage, entry.name, f"{100 * entry.mrr:.1f} ± {half:.1f}",
            f"{100 * entry.recall_at_10:.1f}",
        )  # fmt: skip
    console().print(shown)
    console().print(f"{card.verdict}.\nsaved to {out}", highlight=False)
