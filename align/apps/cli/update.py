"""``align update``."""

from __future__ import annotations

from align.apps.cli import options
from align.apps.cli.inputs import EncoderChoice, embedded_pairs
from align.apps.cli.outputs import check_adapter_folder
from align.apps.cli.printing import print_json, say


def update(
    adapter: options.AdapterFolder,
    pairs: options.PairsFile,
    out: options.AdapterOut,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
    source_modality: options.SideModality = None,
    target_modality: options.SideModality = None,
    source_encoder: options.MaybeSpec = None,
    target_encoder: options.MaybeSpec = None,
    device: options.Device = "auto",
    trust: options.Trust = False,
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Add new pairs to an adapter that `align fit --updatable` made, without the old pairs.

    The maps are those that the same closed form gives on old and new pairs together. Settings,
    centres and held-out numbers stay those of the fit. An index of the old adapter has to be built
    anew.

    Example: `align update my-adapter new-pairs.csv -o my-adapter`
    """
    from align.adapters.adapter import load

    check_adapter_folder(out)
    loaded = load(str(adapter))
    columns = {
        "source": source, "target": target, "id": id, "group": group,
        "source_modality": source_modality, "target_modality": target_modality,
        "instruction": None,
    }  # fmt: skip
    specs = {"source": source_encoder, "target": target_encoder, "instruction": None}
    encoders = EncoderChoice(specs, device, trust)
    _, data = embedded_pairs(pairs, columns, encoders, store, skip_bad, loaded)
    updated = loaded.update(data)
    updated.save(out)
    card = updated.card
    if as_json:
        print_json({"adapter": str(out), "card": card.to_dict()})
        return
    say(
        f"{len(data):,} pairs added, {card.n_pairs:,} in all; settings and held-out numbers are of "
        f"the fit of {card.n_before_updates:,}.",
        f"saved to {out}",
    )
