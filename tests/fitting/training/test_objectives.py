import math
from functools import partial

import pytest
import torch

from align.fitting.losses.contrastive import info_nce, n_pairs, sigmoid
from align.fitting.losses.matryoshka import matryoshka
from align.fitting.losses.modality_aware import mac, mamcl
from align.fitting.losses.structure import structure
from align.fitting.training.objectives import (
    Batch,
    contrastive,
    contrastive_with_structure,
    mind_the_gap,
    modality_aware,
    name_of,
    prefixes,
    siglip,
    softly_modality_aware,
)
from tests.helpers.planted import unit


def batch_of(rng, *, step=0, modality=True):
    return Batch(
        torch.randn(8, 5, generator=rng),
        torch.randn(8, 4, generator=rng),
        torch.randn(8, 3, generator=rng),
        torch.randn(8, 3, generator=rng),
        torch.tensor(0.2),
        torch.arange(8) // 2,
        torch.arange(8) % 3 if modality else None,
        torch.arange(8) % 2 if modality else None,
        step,
    )


def test_a_batch_normalises_what_the_maps_gave(rng):
    batch = batch_of(rng)
    torch.testing.assert_close(batch.source, unit(batch.source_projected))
    torch.testing.assert_close(batch.target, unit(batch.target_projected))


def test_each_objective_is_its_loss_of_the_batch(rng):
    batch = batch_of(rng)
    sides, common = (batch.source, batch.target), {"temperature": 0.2, "groups": batch.groups}
    raw = batch.source_projected, batch.target_projected
    modality = {"source_modality": batch.source_modality, "symmetric": True}
    for found, expected in (
        (contrastive(batch), info_nce(*sides, **common)),
        (
            contrastive(batch, positives="sum", symmetric=False),
            info_nce(*sides, **common, positives="sum", symmetric=False),
        ),
        (prefixes(batch, dims=[3]), info_nce(*sides, **common)),
        (
            prefixes(batch, dims=[2, 3], weights=[0.5, 1.0]),
            matryoshka(partial(info_nce, **common), *raw, [2, 3], [0.5, 1.0]),
        ),
        (mind_the_gap(batch, l2=0.1), n_pairs(*raw, l2=0.1)),
        (siglip(batch), sigmoid(*sides, scale=5.0, bias=-math.log(8), groups=batch.groups)),
        (siglip(batch, bias=-3.0), sigmoid(*sides, scale=5.0, bias=-3.0, groups=batch.groups)),
        (modality_aware(batch), mamcl(*sides, batch.target_modality, **common)),
        (
            modality_aware(batch, symmetric=True, positives="mean"),
            mamcl(*sides, batch.target_modality, **common, **modality, positives="mean"),
        ),
        (
            softly_modality_aware(batch, across=3.0),
            mac(*sides, batch.target_modality, within=0.2, across=0.6, groups=batch.groups),
        ),
    ):
        torch.testing.assert_close(found, expected)


def test_structure_comes_in_over_its_warm_up(rng):
    for step, share in ((0, 0.0), (25, 0.25), (100, 1.0), (900, 1.0)):
        batch = batch_of(rng, step=step)
        kept = structure(batch.source_input, batch.source)
        kept = (kept + structure(batch.target_input, batch.target)) / 2
        torch.testing.assert_close(
            contrastive_with_structure(batch, weight=4.0, warmup=100),
            contrastive(batch) + 4.0 * share * kept,
        )
    at_once = contrastive_with_structure(batch_of(rng), warmup=0)
    assert at_once > contrastive(batch_of(rng))


@pytest.mark.parametrize("objective", [modality_aware, softly_modality_aware])
def test_pairs_without_modality_are_refused(objective, rng):
    with pytest.raises(ValueError, match=r"the pairs have none. Pass target_modality"):
        objective(batch_of(rng, modality=False))


def test_a_loss_is_named_with_its_settings():
    assert name_of(contrastive) == "contrastive"
    assert name_of(partial(mind_the_gap, l2=0.1)) == "mind_the_gap(l2=0.1)"
    assert name_of(partial(max, 3)) == "max(3)"

    class Callable:
        def __call__(self, batch):
            return batch

    assert "Callable" in name_of(Callable())
