"""Training of similarities: what they learn, how plans are chosen, and that seeds decide alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from align.data.embeddings import PairedEmbeddings
from align.metrics.ranks import mean_reciprocal_rank
from probes.similarity import training as similarity_training
from probes.similarity.learned import LowRankBilinear, PairMLP
from probes.similarity.standard import cosine, match_ranks
from probes.similarity.training import Plan, bilinear_plans, learn, mlp_plans


def unit_pairs(source, target, groups=None):
    return PairedEmbeddings.from_arrays(
        normalize(source, dim=1), normalize(target, dim=1), groups=groups
    )


def through_a_matrix(rng, n=400, d=24):
    """Targets are sources times a random matrix: a bilinear form can say so, a cosine cannot."""
    x = torch.randn(n, d, generator=rng)
    return unit_pairs(x, x @ torch.randn(d, d, generator=rng))


def quality(similarity, pairs):
    found = match_ranks(similarity, pairs.source, pairs.target, torch.arange(len(pairs)))
    return mean_reciprocal_rank(found.flatten())


def bilinear(steps, learning_rate=1e-2, name="a form"):
    return Plan(
        name,
        lambda x, y, generator: LowRankBilinear.random(
            x.shape[1], y.shape[1], rank=x.shape[1], generator=generator
        ),
        learning_rate,
        batch=64,
        steps=steps,
    )


def network(steps, name="a network"):
    return Plan(
        name,
        lambda x, y, generator: PairMLP(x.shape[1], hidden=16, generator=generator),
        learning_rate=1e-2,
        batch=32,
        steps=steps,
    )


def test_a_bilinear_form_finds_a_planted_matrix_that_a_cosine_cannot_see(rng):
    pairs = through_a_matrix(rng)
    train, test = pairs.take(range(250)), pairs.take(range(250, 400))
    learned = learn(train, (bilinear(steps=150),))
    assert quality(cosine, test) < 0.1
    assert quality(learned.similarity.scores, test) > 0.9


def test_a_bilinear_form_joins_sides_of_different_widths(rng):
    x = torch.randn(300, 12, generator=rng)
    pairs = unit_pairs(x, x @ torch.randn(12, 30, generator=rng))
    learned = learn(pairs.take(range(200)), (bilinear(steps=200),))
    assert quality(learned.similarity.scores, pairs.take(range(200, 300))) > 0.9


def test_a_network_learns_matches_up_to_sign_that_no_bilinear_form_can_see(rng):
    x = torch.randn(500, 4, generator=rng)
    pairs = unit_pairs(x, x.abs())
    train, test = pairs.take(range(350)), pairs.take(range(350, 500))
    by_cosine = quality(cosine, test)
    assert quality(learn(train, (network(200),)).similarity.scores, test) > by_cosine + 0.2
    assert quality(learn(train, (bilinear(100),)).similarity.scores, test) < by_cosine + 0.05


def test_the_same_seed_gives_the_same_similarity_and_draws_nothing_global(rng):
    pairs = through_a_matrix(rng, n=80, d=6)
    state = torch.get_rng_state()
    plans = (bilinear(20), network(20))
    first, again, other = (learn(pairs, plans, seed=seed) for seed in (3, 3, 4))
    assert first.tried == again.tried
    assert torch.equal(torch.get_rng_state(), state)
    scores, same, unlike = (
        each.similarity.scores(pairs.source, pairs.target) for each in (first, again, other)
    )
    assert torch.equal(scores, same) and not torch.equal(scores, unlike)


def test_the_plan_that_ranks_held_out_pairs_best_is_trained_on_all_pairs(rng, monkeypatch):
    pairs = through_a_matrix(rng, n=200, d=12)
    sizes = []
    descent = similarity_training._descent
    monkeypatch.setattr(
        similarity_training,
        "_descent",
        lambda plan, data, seed: (
            sizes.append((plan.name, len(data.source))) or descent(plan, data, seed)
        ),
    )
    learned = learn(pairs, (bilinear(20, 1e-5, "slow"), bilinear(60, 1e-2, "fast")))
    assert [each.plan for each in learned.tried] == ["slow", "fast"]
    assert learned.chosen is learned.tried[1]
    assert learned.chosen.gallery == 40
    assert sizes == [("slow", 160), ("fast", 160), ("fast", 200)]


def test_the_refit_takes_as_many_updates_as_were_best(rng):
    pairs = through_a_matrix(rng, n=100, d=6)
    learned = learn(pairs, (bilinear(60),))
    assert learned.chosen.steps in range(0, 70, 10)
    # The whole set is walked again from the same seed, up to the update that was chosen.
    walked = similarity_training._descent(bilinear(60), similarity_training._Pairs(pairs), 0)
    for _ in range(learned.chosen.steps // 10 + 1):
        wanted = next(walked)
    for ours, theirs in zip(learned.similarity.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_start_that_training_only_harms_is_kept(rng):
    x = torch.randn(200, 6, generator=rng)
    pairs = unit_pairs(x, x)
    (plan,) = (each for each in bilinear_plans(6, 6) if each.name == "rank 6 from cosine")
    learned = learn(pairs, (replace(plan, learning_rate=1.0),))
    assert learned.chosen.steps == 0 and learned.chosen.mean_reciprocal_rank == 1
    assert torch.allclose(
        learned.similarity.scores(pairs.source, pairs.target),
        20 * cosine(pairs.source, pairs.target),
        atol=1e-4,
    )


def test_a_plan_is_given_up_when_it_stops_rising(rng, monkeypatch):
    looks = []
    monkeypatch.setattr(
        similarity_training,
        "match_ranks",
        lambda *_: looks.append(1) or torch.full((2, 2), len(looks) if len(looks) > 3 else 1),
    )
    learned = learn(through_a_matrix(rng, n=100, d=6), (bilinear(300),))
    # Three looks of rank 1, of which the first counts; then only worse ones.
    assert len(looks) == 1 + similarity_training.PATIENCE
    assert learned.chosen.steps == 0


def test_pairs_of_one_group_are_never_in_one_batch_nor_on_both_sides_of_the_split(rng):
    groups = [f"g{i // 3}" for i in range(90)]
    x = torch.arange(90.0)[:, None].repeat(1, 2)
    pairs = similarity_training._Pairs(PairedEmbeddings.from_arrays(x, -x, groups=groups))
    seen = set()
    for _ in range(60):
        source, target = pairs.batch(20, rng)
        assert torch.equal(source, -target)
        codes = source[:, 0].long() // 3
        assert len(source) == 20 == len(codes.unique())
        seen |= set(source[:, 0].tolist())
    assert len(seen) == 90
    assert len(pairs.batch(100, rng)[0]) == 30


def test_groups_are_whole_in_the_pairs_held_out(rng, monkeypatch):
    x = torch.randn(90, 5, generator=rng)
    pairs = unit_pairs(x, x, groups=[f"g{i // 3}" for i in range(90)])
    seen = []
    monkeypatch.setattr(
        similarity_training,
        "match_ranks",
        lambda *given: seen.append(given[3]) or match_ranks(*given),
    )
    learn(pairs, (bilinear(10),))
    assert seen
    assert all((codes.bincount() == 3).all() and len(codes) == 18 for codes in seen)


def test_few_of_many_pairs_are_held_out(rng, monkeypatch):
    monkeypatch.setattr(similarity_training, "GALLERY", 30)
    x = torch.randn(400, 5, generator=rng)
    assert learn(unit_pairs(x, x), (bilinear(10),)).chosen.gallery == 30


def test_plans_start_at_the_inner_product_only_where_widths_agree():
    assert [each.name for each in bilinear_plans(384, 384)] == [
        "rank 128 from random",
        "rank 128 from cosine",
        "rank 384 from random",
        "rank 384 from cosine",
    ]
    assert [each.name for each in bilinear_plans(1280, 384)] == [
        "rank 128 from random",
        "rank 384 from random",
    ]
    assert [each.name for each in bilinear_plans(20, 20)] == [
        "rank 20 from random",
        "rank 20 from cosine",
    ]


def test_the_plans_start_what_their_names_say(rng):
    x = normalize(torch.randn(30, 10, generator=rng), dim=1)
    for plan in bilinear_plans(10, 10):
        similarity = plan.start(x, x, rng)
        is_cosine = torch.allclose(similarity.scores(x, x), 20 * x @ x.T, atol=1e-4)
        assert is_cosine == ("cosine" in plan.name)
    widths = [plan.start(x, x, rng).first.weight.shape for plan in mlp_plans(10)]
    assert widths == [(16, 40), (64, 40)]


def test_what_was_tried_is_ready_for_json(rng):
    learned = learn(through_a_matrix(rng, n=60, d=5), (bilinear(10),))
    assert learned.to_dict() == {
        "chosen": {
            "plan": "a form",
            "steps": learned.chosen.steps,
            "mean_reciprocal_rank": learned.chosen.mean_reciprocal_rank,
            "gallery": 12,
        },
        "tried": [learned.to_dict()["chosen"]],
    }


def test_too_few_groups_no_plans_and_rows_that_are_not_unit_are_refused(rng):
    x = normalize(torch.randn(40, 5, generator=rng), dim=1)
    few = unit_pairs(x, x, groups=[f"g{i % 19}" for i in range(40)])
    with pytest.raises(ValueError, match="at least 20 groups of pairs; got 40 pairs in 19"):
        learn(few, (bilinear(10),))
    with pytest.raises(ValueError, match="at least one plan is needed"):
        learn(unit_pairs(x, x), ())
    with pytest.raises(ValueError, match="every row of source must have unit norm"):
        learn(PairedEmbeddings.from_arrays(2 * x, x), (bilinear(10),))
    with pytest.raises(ValueError, match="every row of target must have unit norm"):
        learn(PairedEmbeddings.from_arrays(x, 2 * x), (bilinear(10),))
