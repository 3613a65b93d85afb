"""What training learns, what it leaves alone, and what comes back."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.corrections.hubness import NNN
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.maps.linear import IdentityMap
from align.adapters.maps.residual import ResidualMap
from align.adapters.trainable import linear_heads, projection_network, residual
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import contrastive, mind_the_gap
from align.fitting.training.train import train
from tests.fitting.training.trained import QUICK, closed, mrr, same
from tests.helpers.planted import chance, shared_factors


@pytest.mark.parametrize("loss", [contrastive, partial(mind_the_gap, l2=1e-3)])
def test_a_hidden_layer_learns_products_that_a_linear_map_cannot(products, loss):
    learn, held = products(600, 0), products(400, 1)
    config = TrainConfig(steps=150, batch_size=200, learning_rate=1e-2, temperature=0.1)
    scores = []
    for start in (
        projection_network(
            12, 6, hidden=64, side="source", generator=torch.Generator().manual_seed(0)
        ),
        linear_heads(12, 6, side="source", generator=torch.Generator().manual_seed(0)),
    ):
        scores.append(mrr(train(start, learn, loss=loss, config=config), held))
    assert scores[0] > 0.8
    assert scores[1] < 2 * chance(64)


def test_random_heads_learn_a_linear_view_of_shared_factors(rng):
    x, y = shared_factors(400, (16, 12), shared=6, noise=0.1)
    both = PairedEmbeddings.from_arrays(x, y)
    learn, held = both.take(range(300)), both.take(range(300, 400))
    start = linear_heads(16, 12, generator=rng)
    found = train(start, learn, config=TrainConfig(steps=80, learning_rate=1e-2))
    assert mrr(start, held) < 0.15
    assert mrr(found, held) > 0.9


def test_what_came_in_stays_as_it_is(pairs):
    start = residual(closed(pairs))
    before = copy.deepcopy(start)
    found = train(start, pairs, config=QUICK)
    assert same(start, before)
    assert not same(found, start)
    assert start.card == before.card


def test_a_closed_form_becomes_its_linear_residual_first(pairs):
    adapter = closed(pairs)
    start = train(adapter, pairs, config=replace(QUICK, steps=1, learning_rate=1e-30))
    assert isinstance(start.source_map, ResidualMap) and isinstance(start.target_map, ResidualMap)
    torch.testing.assert_close(start.source(pairs.source), adapter.source(pairs.source))
    assert start.source_map.mean.equal(adapter.source_map.mean)
    found = train(adapter, pairs, config=QUICK)
    assert not found.source(pairs.source).equal(adapter.source(pairs.source))


def test_a_side_left_as_it_is_beside_a_mapped_one_stays_so(pairs):
    mapped = linear_heads(8, 6, generator=torch.Generator().manual_seed(0)).source_map
    adapter = Adapter(mapped, IdentityMap(6), Card("query only", 60, 8, 6))
    assert isinstance(train(adapter, pairs, config=QUICK).target_map, IdentityMap)
    query_only = Adapter(closed(pairs).source_map, IdentityMap(6), Card("query only", 60, 8, 6))
    found = train(query_only, pairs, config=QUICK)
    assert isinstance(found.source_map, ResidualMap)
    assert isinstance(found.target_map, IdentityMap)
    raw = Adapter(IdentityMap(6), IdentityMap(6), Card("identity", 60, 6, 6))
    square = PairedEmbeddings.from_arrays(pairs.target, pairs.target.flip(1))
    found = train(raw, square, config=QUICK)
    centre = F.normalize(square.target, dim=1).mean(dim=0)
    torch.testing.assert_close(found.target_map.mean, centre)


def test_the_best_of_all_validations_comes_back(pairs):
    start = residual(closed(pairs))
    seen = []
    values = iter([0.1, 0.3, 0.7, 0.7, 0.2, 0.1])

    def validate(adapter):
        seen.append(copy.deepcopy(adapter))
        return next(values)

    config = TrainConfig(steps=10, validate_every=2, learning_rate=1e-2)
    log = []
    found = train(start, pairs, config=config, validate=validate, log=[log.append])
    assert same(found, seen[2])
    assert [each.training for each in seen] == [False] * 6
    assert same(seen[0], start)
    told = {record["step"]: record["validation"] for record in log if "validation" in record}
    assert told == {0: 0.1, 2: 0.3, 4: 0.7, 6: 0.7, 8: 0.2, 10: 0.1}
    assert (
        "kept after step 4, where validation was 0.7000 (0.1000 at the start)" in found.card.verdict
    )


def test_the_start_comes_back_where_training_only_hurts(pairs):
    start = residual(closed(pairs))
    values = iter([0.5, 0.4, 0.3])
    config = TrainConfig(steps=4, validate_every=2, learning_rate=1e-2)
    assert same(train(start, pairs, config=config, validate=lambda _: next(values)), start)


def test_training_stops_when_patience_ends(pairs):
    log = []
    values = iter([0.1, 0.3, 0.2, 0.3])
    config = TrainConfig(steps=100, validate_every=2, patience=2)
    found = train(
        residual(closed(pairs)),
        pairs,
        config=config,
        validate=lambda _: next(values),
        log=[log.append],
    )
    assert log[-1]["step"] == 6
    assert "for 6 of 100 steps" in found.card.verdict


def test_the_average_is_what_is_validated(pairs):
    start = residual(closed(pairs))
    config = TrainConfig(steps=2, validate_every=2, learning_rate=1e-2, ema=0.9)
    seen = []
    train(start, pairs, config=config, validate=lambda a: seen.append(a) or 0.0)
    assert same(seen[-1], train(start, pairs, config=config))


def test_a_reference_is_worked_out_anew_through_the_trained_maps(pairs):
    start = closed(pairs)
    sides = start.source(pairs.source), start.target(pairs.target)
    start.reference = ReferenceSet(*sides, expansion=Expansion(0.3, 20.0), hubness=NNN(5, 0.5))
    found = train(start, pairs, config=QUICK)
    torch.testing.assert_close(found.reference.source_reference, found.source(pairs.source))
    torch.testing.assert_close(found.reference.target_reference, found.target(pairs.target))
    assert (found.reference.expansion, found.reference.hubness) == (
        Expansion(0.3, 20.0),
        NNN(5, 0.5),
    )
    assert start.reference.source_reference is sides[0]


def test_a_reference_of_fewer_rows_stays_as_small_and_keeps_partners_together(pairs):
    start = closed(pairs)
    rows = torch.arange(20)
    sides = start.source(pairs.source[rows]), start.target(pairs.target[rows])
    start.reference = ReferenceSet(*sides, expansion=None, hubness=NNN(5, 0.5))
    found = train(start, pairs, config=QUICK)
    assert len(found.reference.source_reference) == 20
    every = found.source(pairs.source), found.target(pairs.target)
    at = [
        torch.cdist(reference, all_rows).argmin(dim=1)
        for reference, all_rows in zip(
            (found.reference.source_reference, found.reference.target_reference), every, strict=True
        )
    ]
    assert at[0].equal(at[1]) and len(at[0].unique()) == 20


def test_no_reference_stays_no_reference(pairs):
    assert train(closed(pairs), pairs, config=QUICK).reference is None


def test_validation_sees_the_reference_of_the_maps_it_scores(pairs):
    start = closed(pairs)
    sides = start.source(pairs.source), start.target(pairs.target)
    start.reference = ReferenceSet(*sides, expansion=None, hubness=NNN(5, 0.5))

    def validate(adapter):
        torch.testing.assert_close(adapter.reference.source_reference, adapter.source(pairs.source))
        return 0.0

    train(start, pairs, config=replace(QUICK, validate_every=2), validate=validate)


def test_the_card_tells_what_was_done_and_claims_no_more(pairs):
    start = closed(pairs)
    start.card = replace(start.card, verdict="procrustes scored best of 3 maps", n_pairs=500)
    card = train(start, pairs, config=QUICK).card
    assert card.method == "procrustes + linear residual, trained with contrastive"
    assert card.verdict == (
        "procrustes scored best of 3 maps; trained on 60 pairs for 5 of 5 steps with contrastive, "
        "with nothing held out to evaluate it"
    )
    assert card.n_pairs == 500 and card.seconds["training"] >= 0
    fresh = projection_network(8, 6, hidden=4, generator=torch.Generator().manual_seed(0))
    named = PairedEmbeddings(
        pairs.source, pairs.target, pairs.ids, ("a",) * 30 + ("b",) * 30, "text:x", "image:y"
    )
    loss = partial(mind_the_gap, l2=0.01)
    card = train(fresh, named, loss=loss, config=QUICK).card
    assert card.method == "projection network(hidden=4), trained with mind_the_gap(l2=0.01)"
    assert (card.n_pairs, card.n_groups) == (60, 2)
    assert (card.source_fingerprint, card.target_fingerprint) == ("text:x", "image:y")


def test_a_trained_adapter_is_saved_and_loaded_to_the_last_bit(pairs, tmp_path):
    found = train(closed(pairs), pairs, config=QUICK)
    found.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert again.source(pairs.source).equal(found.source(pairs.source))
    assert again.card == found.card


def test_vectors_and_adapters_made_in_inference_mode_are_trained(pairs):
    with torch.inference_mode():
        adapter = closed(pairs)
        made = PairedEmbeddings.from_arrays(pairs.source * 1, pairs.target * 1)
    assert train(adapter, made, config=QUICK).source(pairs.source).isfinite().all()


def test_a_batch_holds_what_the_pairs_hold(pairs):
    seen = []

    def look(batch):
        seen.append(batch)
        return contrastive(batch)

    grouped = PairedEmbeddings.from_arrays(
        pairs.source,
        pairs.target,
        groups=[str(row // 2) for row in range(60)],
        source_modality=torch.arange(60) % 3 + 1,
        target_modality=torch.arange(60) % 2 + 1,
    )
    train(closed(pairs), grouped, loss=look, config=replace(QUICK, batch_size=15))
    assert [batch.step for batch in seen] == [0, 1, 2, 3, 4]
    units = F.normalize(pairs.source, dim=1)
    passed = []
    for batch in seen[:4]:
        rows = torch.cdist(batch.source_input, units).argmin(dim=1)
        passed += rows.tolist()
        torch.testing.assert_close(batch.source_input, units[rows])
        torch.testing.assert_close(batch.target_input, F.normalize(pairs.target, dim=1)[rows])
        assert batch.groups.equal(rows // 2)
        assert batch.source_modality.equal(rows % 3 + 1)
        assert batch.target_modality.equal(rows % 2 + 1)
        torch.testing.assert_close(batch.source.norm(dim=1), torch.ones(15))
        assert batch.source_projected.requires_grad
    assert sorted(passed) == list(range(60))


def test_a_blend_is_its_own_group_and_of_both_modalities(pairs):
    seen = []

    def look(batch):
        seen.append(batch)
        return contrastive(batch)

    mixed = PairedEmbeddings.from_arrays(
        pairs.source, pairs.target, groups=["a"] * 60, target_modality=2 ** (torch.arange(60) % 2)
    )
    train(closed(pairs), mixed, loss=look, config=replace(QUICK, batch_size=20, mixup=1.0))
    for batch in seen:
        assert batch.groups.tolist() == list(range(10))
        assert batch.source_modality is None
        assert set(batch.target_modality.tolist()) <= {1, 2, 3}
    assert 3 in torch.cat([batch.target_modality for batch in seen])
