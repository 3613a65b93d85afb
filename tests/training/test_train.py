import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from planted import chance, mean_reciprocal_rank, shared_factors
from torch import nn

import align
from align.adapters.adapter import Adapter
from align.adapters.bank import Bank, Expansion
from align.adapters.maps import IdentityMap
from align.adapters.procrustes import procrustes
from align.adapters.projection import linear_heads, projection_network
from align.adapters.residual import ResidualMap, residual
from align.adapters.ridge import ridge
from align.card import Card
from align.embeddings import PairedEmbeddings
from align.hubness import NNN
from align.training.config import TrainConfig
from align.training.loop import train
from align.training.objectives import contrastive, mind_the_gap

QUICK = TrainConfig(steps=5, learning_rate=1e-2)


def weights_of(adapter):
    return {name: value.detach().clone() for name, value in adapter.named_parameters()}


def same(a, b):
    """Whether two adapters hold the same bits."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def closed(pairs):
    return procrustes(pairs.source, pairs.target)


def mrr(adapter, pairs):
    """One gallery item per group."""
    first = [pairs.groups.index(group) for group in dict.fromkeys(pairs.groups)]
    held = pairs.take(first)
    return mean_reciprocal_rank(adapter.source(held.source), adapter.target(held.target))


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


def settings(**changes):
    return replace(
        TrainConfig(steps=7, batch_size=16, learning_rate=1e-2, mixup=1.0, ema=0.5), **changes
    )


def mlp(pairs):
    generator = torch.Generator().manual_seed(3)
    return residual(closed(pairs), kind="mlp", size=5, dropout=0.5, generator=generator)


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_stream(pairs):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = train(mlp(pairs), pairs, config=settings())
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(2)
    two = train(mlp(pairs), pairs, config=settings())
    other = train(mlp(pairs), pairs, config=settings(seed=1))
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.parametrize("seed", [0, 5])
def test_what_is_drawn_while_training_comes_from_the_seed(pairs, seed):
    drawn = []

    def drawing(batch):
        drawn.append(torch.rand(()))
        return contrastive(batch)

    train(residual(closed(pairs)), pairs, loss=drawing, config=replace(QUICK, seed=seed))
    stream = torch.Generator().manual_seed(seed)
    assert drawn == [torch.rand((), generator=stream) for _ in range(5)]


def test_dropout_is_on_while_training_and_off_in_what_comes_back(pairs):
    start, seen = mlp(pairs), []

    def look(batch):
        seen.append(batch.source_projected.detach())
        return contrastive(batch)

    for weight in start.parameters():
        weight.data += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    found = train(start, pairs, loss=look, config=replace(QUICK, learning_rate=1e-30))
    # The same rows in another order, but for what dropout leaves out.
    norms = [each.norm(dim=1).sort().values for each in seen[:2]]
    assert (norms[0] - norms[1]).abs().max() > 0.1
    assert not any(module.training for module in found.modules())


def test_a_few_rows_at_a_time_train_to_the_same_weights(pairs):
    start = residual(closed(pairs))
    config = TrainConfig(steps=5, batch_size=30, learning_rate=1e-2, anchor=0.5)
    whole, pieces = (
        weights_of(train(start, pairs, config=replace(config, chunk=chunk))) for chunk in (None, 7)
    )
    for name, weight in whole.items():
        torch.testing.assert_close(pieces[name], weight, atol=1e-4, rtol=1e-3)


def test_the_average_follows_its_formula(pairs):
    start = residual(closed(pairs))
    flat = TrainConfig(learning_rate=1e-2, warmup=0.0, cosine=False)
    w0 = weights_of(start)
    w1, w2 = (weights_of(train(start, pairs, config=replace(flat, steps=s))) for s in (1, 2))
    averaged = weights_of(train(start, pairs, config=replace(flat, steps=2, ema=0.75)))
    for name in w0:
        after_one = 0.75 * w0[name] + 0.25 * w1[name]
        expected = 0.75 * after_one + 0.25 * w2[name]
        torch.testing.assert_close(averaged[name], expected, atol=1e-6, rtol=1e-5)


def test_weight_decay_shrinks_matrices_but_neither_biases_nor_the_temperature(pairs, rng):
    start = projection_network(8, 6, hidden=5, generator=rng)
    start.source_map.first_bias.data += 1

    def nothing(batch):
        return 0 * batch.source_projected.sum() + 0 * batch.temperature

    log = []
    config = TrainConfig(
        steps=2, learning_rate=0.1, weight_decay=0.5, warmup=0.0, cosine=False, temperature=0.1
    )
    found = train(start, pairs, loss=nothing, config=config, log=[log.append])
    torch.testing.assert_close(found.source_map.first, start.source_map.first * 0.95**2)
    assert found.source_map.first_bias.equal(start.source_map.first_bias)
    assert log[-1]["temperature"] == pytest.approx(0.1)


def test_the_rate_follows_its_schedule(pairs):
    config = TrainConfig(steps=6, learning_rate=0.1, weight_decay=0.5, warmup=0.4)
    start = linear_heads(8, 6, generator=torch.Generator().manual_seed(0))
    log = []
    found = train(
        start,
        pairs,
        loss=lambda batch: 0 * batch.source_projected.sum(),
        config=config,
        log=[log.append],
    )
    rates = [0.1 * config.rate_at(step, 6) for step in range(6)]
    assert [record["learning_rate"] for record in log] == pytest.approx(rates)
    shrunk = math.prod(1 - 0.5 * rate for rate in rates)
    torch.testing.assert_close(found.source_map.weight, start.source_map.weight * shrunk)


def test_the_temperature_is_learned_within_its_bounds(pairs):
    def hotter(batch):
        return -batch.temperature + 0 * batch.source_projected.sum()

    for learned, last in ((True, 0.06), (False, 0.05)):
        log = []
        config = TrainConfig(
            steps=20,
            temperature=0.05,
            temperature_bounds=(0.04, 0.06),
            temperature_rate=0.1,
            learn_temperature=learned,
            cosine=False,
        )
        train(residual(closed(pairs)), pairs, loss=hotter, config=config, log=[log.append])
        assert log[0]["temperature"] == pytest.approx(0.05)
        assert log[-1]["temperature"] == pytest.approx(last)


def test_an_anchor_holds_outputs_near_their_start(pairs):
    adapter = closed(pairs)
    found = {}
    for anchor in (0.0, 10.0, 1000.0):
        config = TrainConfig(steps=40, learning_rate=1e-2, anchor=anchor)
        moved = train(adapter, pairs, config=config).source(pairs.source)
        found[anchor] = (moved - adapter.source(pairs.source)).norm(dim=1).mean().item()
    assert found[1000.0] < 0.1 * found[10.0] and found[10.0] < 0.8 * found[0.0]


def test_the_anchor_is_the_mean_squared_distance_of_both_sides(pairs):
    log = []

    class Turning(nn.Module):
        """Outputs that turn by an angle, the only weight."""

        d_in = dim = 2

        def __init__(self):
            super().__init__()
            self.angle = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            turn = self.angle.cos(), self.angle.sin()
            rotation = torch.stack([turn[0], turn[1], -turn[1], turn[0]]).reshape(2, 2)
            return F.normalize(x, dim=1) @ rotation

    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    plane = PairedEmbeddings.from_arrays(x, x)
    adapter = Adapter(Turning(), IdentityMap(2), Card("turning", 10, 2, 2))

    def turn(batch):
        return -batch.source_projected[:, 0].sum()

    config = TrainConfig(
        steps=2, learning_rate=0.3, warmup=0.0, cosine=False, weight_decay=0.0, anchor=4.0
    )
    losses = []

    def recorded(batch):
        losses.append(turn(batch).item())
        return turn(batch)

    train(adapter, plane, loss=recorded, config=config, log=[log.append])
    assert log[0]["loss"] == pytest.approx(losses[0], abs=1e-5)
    # Adam's first step is the learning rate: the source has turned by 0.3, the target by nothing.
    distance = 2 - 2 * math.cos(0.3)
    assert log[1]["loss"] == pytest.approx(losses[1] + 4.0 * distance / 2, abs=1e-4)


def test_the_anchor_does_not_drop_inputs(pairs):
    start, expected, log = mlp(pairs), [], []
    for weight in start.parameters():
        weight.data += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    fixed = copy.deepcopy(start)

    def nothing(batch):
        before = fixed.source(batch.source_input), fixed.target(batch.target_input)
        apart = [
            (z - w).square().sum(dim=1).mean()
            for z, w in zip((batch.source, batch.target), before, strict=True)
        ]
        expected.append(sum(apart).item() / 2)
        return 0 * batch.source_projected.sum()

    config = replace(QUICK, anchor=1.0)
    train(start.train(), pairs, loss=nothing, config=config, log=[log.append])
    assert min(expected) > 0.1
    assert [record["loss"] for record in log] == pytest.approx(expected, rel=1e-4)


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


def test_a_bank_is_worked_out_anew_through_the_trained_maps(pairs):
    start = closed(pairs)
    sides = start.source(pairs.source), start.target(pairs.target)
    start.bank = Bank(*sides, expansion=Expansion(0.3, 20.0), hubness=NNN(5, 0.5))
    found = train(start, pairs, config=QUICK)
    torch.testing.assert_close(found.bank.source_bank, found.source(pairs.source))
    torch.testing.assert_close(found.bank.target_bank, found.target(pairs.target))
    assert (found.bank.expansion, found.bank.hubness) == (Expansion(0.3, 20.0), NNN(5, 0.5))
    assert start.bank.source_bank is sides[0]


def test_a_bank_of_fewer_rows_stays_as_small_and_keeps_partners_together(pairs):
    start = closed(pairs)
    rows = torch.arange(20)
    sides = start.source(pairs.source[rows]), start.target(pairs.target[rows])
    start.bank = Bank(*sides, expansion=None, hubness=NNN(5, 0.5))
    found = train(start, pairs, config=QUICK)
    assert len(found.bank.source_bank) == 20
    every = found.source(pairs.source), found.target(pairs.target)
    at = [
        torch.cdist(bank, all_rows).argmin(dim=1)
        for bank, all_rows in zip(
            (found.bank.source_bank, found.bank.target_bank), every, strict=True
        )
    ]
    assert at[0].equal(at[1]) and len(at[0].unique()) == 20


def test_no_bank_stays_no_bank(pairs):
    assert train(closed(pairs), pairs, config=QUICK).bank is None


def test_validation_sees_the_bank_of_the_maps_it_judges(pairs):
    start = closed(pairs)
    sides = start.source(pairs.source), start.target(pairs.target)
    start.bank = Bank(*sides, expansion=None, hubness=NNN(5, 0.5))

    def validate(adapter):
        torch.testing.assert_close(adapter.bank.source_bank, adapter.source(pairs.source))
        return 0.0

    train(start, pairs, config=replace(QUICK, validate_every=2), validate=validate)


def test_the_card_tells_what_was_done_and_claims_no_more(pairs):
    start = closed(pairs)
    start.card = replace(start.card, verdict="procrustes scored best of 3 maps", n_pairs=500)
    card = train(start, pairs, config=QUICK).card
    assert card.method == "procrustes + linear residual, trained with contrastive"
    assert card.verdict == (
        "procrustes scored best of 3 maps; trained on 60 pairs for 5 of 5 steps with contrastive, "
        "with nothing held out to judge by"
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


def test_pairs_without_weight_are_never_drawn(pairs):
    seen = []

    def look(batch):
        seen.append(batch.source_input)
        return contrastive(batch)

    weights = torch.zeros(60)
    weights[:10] = torch.arange(1.0, 11.0)
    config = TrainConfig(steps=200, batch_size=20, learning_rate=1e-6)
    train(closed(pairs), pairs, loss=look, config=config, weights=weights)
    rows = torch.cdist(torch.cat(seen), F.normalize(pairs.source, dim=1)).argmin(dim=1)
    counts = rows.bincount(minlength=60).double()
    assert counts[10:].sum() == 0
    expected = 4000 * weights[:10].double() / 55
    # Four standard deviations of a binomial count.
    assert ((counts[:10] - expected).abs() < 4 * expected.sqrt()).all()


def test_a_loss_that_is_not_finite_stops_with_step_and_value(pairs):
    def bad(batch):
        return contrastive(batch) * (math.nan if batch.step == 2 else 1)

    with pytest.raises(FloatingPointError, match=r"the loss .* at step 3 of 5 the loss was nan"):
        train(closed(pairs), pairs, loss=bad, config=QUICK)


def test_a_gradient_that_is_not_finite_stops_with_step_and_value(pairs):
    def bad(batch):
        # The root has an infinite slope at zero.
        return contrastive(batch) + (0 * batch.source_projected).square().sum().sqrt()

    with pytest.raises(FloatingPointError, match=r"every gradient must be finite; at step 1 of 5"):
        train(closed(pairs), pairs, loss=bad, config=QUICK)


def test_a_loss_of_many_numbers_is_refused(pairs):
    with pytest.raises(
        ValueError, match=r"single number; .*<lambda> gave .* shape \(60,\). Take its"
    ):
        train(
            closed(pairs), pairs, loss=lambda batch: batch.source_projected.sum(dim=1), config=QUICK
        )


def test_a_validation_that_is_not_finite_is_refused(pairs):
    with pytest.raises(ValueError, match=r"finite number; after step 0 it gave nan. Look at"):
        train(closed(pairs), pairs, config=QUICK, validate=lambda _: math.nan)


def test_an_adapter_without_a_weight_to_learn_is_refused(pairs):
    frozen = residual(closed(pairs)).requires_grad_(False)
    with pytest.raises(ValueError, match=r"all of 2 are frozen. Call requires_grad_\(\) on some"):
        train(frozen, pairs, config=QUICK)


def test_pairs_of_other_encoders_are_refused(pairs):
    start = closed(pairs)
    start.card = replace(start.card, target_fingerprint="image:a")
    other = PairedEmbeddings(
        pairs.source, pairs.target, pairs.ids, pairs.groups, "text:a", "image:b"
    )
    with pytest.raises(ValueError, match=r"target encoder .* image:a; got vectors of image:b"):
        train(start, other, config=QUICK)


def test_pairs_that_do_not_fit_the_maps_are_refused(pairs):
    wide = PairedEmbeddings.from_arrays(pairs.target, pairs.target)
    with pytest.raises(ValueError, match="source embeddings must have 8 columns"):
        train(ridge(pairs.source, pairs.target), wide, config=QUICK)
    zero = pairs.target.clone()
    zero[3] = 0
    with pytest.raises(ValueError, match="target embeddings needs a direction; 1 of 60"):
        train(closed(pairs), PairedEmbeddings.from_arrays(pairs.source, zero), config=QUICK)
    with pytest.raises(ValueError, match=r"at least 4 pairs.*got 3"):
        train(closed(pairs), pairs.take(range(3)), config=QUICK)


def test_settings_that_do_not_fit_the_pairs_are_refused(pairs):
    with pytest.raises(ValueError, match=r"batch_size must lie in \[1, 60\].*got 61"):
        train(closed(pairs), pairs, config=replace(QUICK, batch_size=61))
    with pytest.raises(ValueError, match=r"mixed precision needs a GPU.*on the CPU"):
        train(closed(pairs), pairs, config=replace(QUICK, bfloat16=True))
    for weights in (
        torch.ones(59),
        torch.ones(60, dtype=torch.int64),
        torch.zeros(60),
        -torch.ones(60),
        torch.full((60,), torch.inf),
    ):
        with pytest.raises(ValueError, match=r"one finite number per pair.*\(60,\); got torch"):
            train(closed(pairs), pairs, config=QUICK, weights=weights)


def test_patience_without_validation_is_refused(pairs):
    with pytest.raises(ValueError, match=r"got patience=3 and no validate. Pass validate"):
        train(closed(pairs), pairs, config=replace(QUICK, patience=3))


def test_progress_is_drawn_only_when_asked_for(pairs, capsys):
    train(closed(pairs), pairs, config=QUICK)
    assert capsys.readouterr().err == ""
    train(closed(pairs), pairs, config=QUICK, progress=True)
    assert "5/5" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_mixed_precision_on_a_gpu_stays_near_float32(pairs):
    start = closed(pairs).cuda()
    exact = train(start, pairs, config=QUICK)
    mixed = train(start, pairs, config=replace(QUICK, bfloat16=True))
    assert exact.source_map.delta.weight.is_cuda
    cosines = (exact.source(pairs.source.cuda()) * mixed.source(pairs.source.cuda())).sum(dim=1)
    assert cosines.min() > 0.95
