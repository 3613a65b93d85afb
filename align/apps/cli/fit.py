"""``align fit``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from align.apps.cli import options
from align.apps.cli.inputs import EncoderChoice, check_better, embedded_pairs
from align.apps.cli.outputs import check_adapter_folder
from align.apps.cli.printing import console, print_json, say, table
from align.apps.cli.token_states import token_pairs


def fit(
    pairs: options.PairsFile,
    out: options.AdapterOut,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
    source_modality: options.SideModality = None,
    target_modality: options.SideModality = None,
    instruction: options.Instruction = None,
    source_encoder: options.SourceSpec = None,
    target_encoder: options.TargetSpec = None,
    instruction_encoder: options.InstructionSpec = None,
    effort: Annotated[
        Literal["fast", "best"], typer.Option(help="fast: closed forms; best: trained maps too.")
    ] = "best",
    query_only: Annotated[
        bool, typer.Option("--query-only", help="Leave target vectors, and their index, as is.")
    ] = False,
    updatable: Annotated[
        bool,
        typer.Option(
            "--updatable", help="Keep what `align update` needs to add pairs later; closed forms."
        ),
    ] = False,
    vectors: Annotated[
        int | None,
        typer.Option(
            help="Fit a head of this many vectors per item, from token states: more is dearer.",
            min=2,
        ),
    ] = None,
    require_better_than_chance: options.RequireBetter = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Fit an adapter on pairs; every setting is cross-validated among them.

    With a column of instructions it also learns what they ask for, if that helps on held-out pairs.

    With --vectors a query has up to four vectors and an item that many, compared by late
    interaction: for items that say several things. They are used only if they help.

    Example: `align fit pairs.csv --source caption --target image
    --source-encoder text:sentence-transformers/all-MiniLM-L6-v2
    --target-encoder image:facebook/dinov2-small -o my-adapter`

    Example: `align fit embeddings.npz -o my-adapter`
    """
    from functools import partial

    from align.fitting.instructions.fit import instruct
    from align.fitting.model_selection.fit import fit as fit_adapter
    from align.fitting.multi_vector.fit import fit_meta_tokens

    if updatable and (vectors is not None or instruction is not None):
        raise ValueError(
            "--updatable is for closed forms, which have neither --vectors nor --instruction; got "
            "both. Leave one of them out."
        )
    check_adapter_folder(out)
    columns = {
        "source": source, "target": target, "id": id, "group": group,
        "source_modality": source_modality, "target_modality": target_modality,
        "instruction": instruction,
    }  # fmt: skip
    specs = {"source": source_encoder, "target": target_encoder, "instruction": instruction_encoder}
    encoders = EncoderChoice(specs, device)
    side: Literal["source", "both"] = "source" if query_only else "both"
    if vectors is not None:
        fit_maps = partial(fit_adapter, side=side, effort=effort, seed=seed)
        tokens = token_pairs(pairs, columns, encoders, store, skip_bad)
        head = fit_meta_tokens(
            tokens, asking=min(4, vectors), vectors=vectors, fit_adapter=fit_maps, seed=seed
        )  # fmt: skip
        check_better(head, require_better_than_chance, out)
        head.save(out)
        if as_json:
            shape = {"query": head.asking, "item": head.vectors}
            print_json({"head": str(out), "vectors": shape, "card": head.card})
        else:
            say(
                f"{head.card['verdict']}.",
                f"{head.asking} vectors of a query, {head.vectors} of an item; saved to {out}",
            )
        return
    _, data = embedded_pairs(pairs, columns, encoders, store, skip_bad)
    adapter = fit_adapter(data, side=side, effort=effort, updatable=updatable, seed=seed)
    check_better(adapter, require_better_than_chance, out)
    if instruction is not None:
        fold_fit = partial(fit_adapter, side=side, effort="fast", seed=seed)
        adapter = instruct(adapter, data, side=side, fit_adapter=fold_fit, seed=seed)
    adapter.save(out)
    card = adapter.card
    if as_json:
        print_json({"adapter": str(out), "card": card.to_dict()})
        return
    # What instructions gained is about other galleries and stands in the verdict.
    chosen = (c for c in card.candidates if c.chosen and c.stage != "instructions")
    best = sorted(chosen, key=lambda c: c.mrr)
    grid = table(
        f"chosen on held-out folds of {card.fold_gallery:,}", "stage", "what", "MRR", "R@10"
    )
    for entry in best:
        half = 100 * (entry.high - entry.low) / 2
        grid.add_row(
            entry.stage, entry.name, f"{100 * entry.mrr:.1f} ± {half:.1f}",
            f"{100 * entry.recall_at_10:.1f}",
        )  # fmt: skip
    at_random = next((c for c in best if c.chance_mrr is not None), None)
    if at_random is not None and at_random.chance_at_10 is not None:
        grid.add_row(
            "chance", "a random order", f"{100 * (at_random.chance_mrr or 0):.1f}",
            f"{100 * at_random.chance_at_10:.1f}",
        )  # fmt: skip
    console().print(grid)
    say(f"{card.verdict}.", f"saved to {out}")
