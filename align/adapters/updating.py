"""An adapter refitted with further pairs, from what it kept of the old ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from align._checks import check_matrix, check_no_zero_rows
from align.adapters.card import Card, installed_versions
from align.adapters.components import Components
from align.adapters.corrections.reference_set import MOST_PAIRS
from align.adapters.training_items import TrainingItems
from align.data.embeddings import PairedEmbeddings


def updated(components: Components, card: Card, pairs: PairedEmbeddings) -> tuple[Components, Card]:
    """The parts and the card of an adapter after an update; ``Adapter.update`` says more."""
    statistics, items = components.statistics, components.training_items
    if statistics is None or items is None:
        raise ValueError(
            "an update needs statistics of the pairs so far, which a fit keeps where it is asked "
            "to and a closed form can be made of them; this adapter holds none (method: "
            f"{card.method}). Fit all pairs together by align.fit(pairs, updatable=True); the "
            "identity and maps that were trained, tuned or given instructions have none."
        )
    device = statistics.factor.device
    source, target = (x.float().to(device) for x in (pairs.source, pairs.target))
    widths = statistics.widths
    for side, x, width in (("source", source, widths[0]), ("target", target, widths[1])):
        check_matrix(f"{side} embeddings", x, d=width)
        check_no_zero_rows(f"{side} embeddings", x)
    known = items.hold(source, target).nonzero().flatten().tolist()
    if known:
        raise ValueError(
            f"pairs of an update must be new; {len(known)} of {len(pairs)} are in training "
            f"already and would count twice, the first at rows {known[:5]}. Leave them out: "
            "adapter.training_items.hold(source, target) says which they are."
        )
    generator = torch.Generator().manual_seed((card.seed or 0) + card.n_pairs)
    whole = statistics.with_pairs(source, target, most=MOST_PAIRS, generator=generator)
    source_map, target_map = (each.to(device) for each in whole.recipe(whole.moments()))
    reference = components.reference
    if reference is not None:
        reference = reference.of_other_pairs(
            source_map(whole.source_rows), target_map(whole.target_rows)
        )
    added = TrainingItems.of(source, target)
    remembered = TrainingItems(
        torch.cat([items.source, added.source]),
        torch.cat([items.target, added.target]),
        items.widths,
    )
    groups = len(set(pairs.groups))
    alone = card.n_groups == card.n_pairs and groups == len(pairs)
    new_card = replace(
        card.of_encoders(pairs),
        n_pairs=card.n_pairs + len(pairs),
        n_groups=card.n_pairs + len(pairs) if alone else 0,  # which groups are old is not known
        n_before_updates=card.n_before_updates or card.n_pairs,
        versions=installed_versions(),
    )
    parts = replace(
        components,
        source_map=source_map,
        target_map=target_map,
        reference=reference,
        training_items=remembered,
        calibration=None,
        statistics=whole,
    )
    return parts, new_card
