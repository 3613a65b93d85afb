"""The trained baselines learn planted pairs, repeat themselves, and leave global state alone."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F

from align.adapters.closed_form.ridge import ridge
from align.data.embeddings import Embeddings, PairedEmbeddings
from align.metrics.evaluation import evaluate
from align.metrics.ranks import ranks, recall_at_k
from experiments import baselines

TRAINED = [
    baselines.linear_info_nce,
    baselines.mlp_info_nce,
    baselines.mlp_fusemix,
    baselines.projection_n_pairs,
]


def planted(n, rng, *, widths=(12, 16)):
    """Pairs that two linear maps of one 6-d latent make, with an offset and little noise."""
    latent = torch.randn(n, 6, generator=rng)
    sides = []
    for d in widths:
        noise = 0.05 * torch.randn(n, d, generator=rng)
        sides.append(latent @ torch.randn(6, d, generator=rng) + 1.0 + noise)
    return sides


@pytest.mark.parametrize("baseline", TRAINED, ids=lambda each: each.__name__)
def test_planted_pairs_are_found_among_unseen_ones(baseline, rng):
    x, y = planted(200, rng, widths=(200, 300))
    test = PairedEmbeddings.from_arrays(x[150:], y[150:])

    def recall(steps):
        heads = baseline(x[:150], y[:150], seed=0, steps=steps)
        return evaluate(test, heads).mean["recall_at_5"].value

    before, after = recall(0), recall(100)
    assert before < 0.4 < 0.7 < after


@pytest.mark.parametrize("baseline", TRAINED, ids=lambda each: each.__name__)
def test_a_seed_decides_everything_and_global_randomness_is_untouched(baseline, rng):
    x, y = planted(40, rng)
    state = torch.random.get_rng_state()
    first, again, other = (baseline(x, y, seed=seed, steps=3) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    maps = [each.queries(x, side="source") for each in (first, again, other)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.allclose(maps[0], maps[2])


@pytest.mark.parametrize("baseline", TRAINED, ids=lambda each: each.__name__)
def test_outputs_are_unit_norm_and_blind_to_the_length_of_inputs(baseline, rng):
    x, y = planted(40, rng)
    heads = baseline(x, y, seed=0, steps=2)
    for side, rows in (("source", x), ("target", y)):
        mapped = heads.queries(rows, side=side)
        torch.testing.assert_close(mapped.norm(dim=1), torch.ones(40))
        torch.testing.assert_close(heads.gallery(7 * rows, side=side), mapped)


def test_arrays_and_embeddings_are_taken_like_tensors(rng):
    x, y = planted(30, rng)
    heads = baselines.mlp_info_nce(x, y, seed=0, steps=1)
    wanted = heads.queries(x, side="source")
    named = Embeddings(x, "an encoder", tuple(map(str, range(30))))
    assert torch.equal(heads.queries(x.numpy(), side="source"), wanted)
    assert torch.equal(heads.queries(named, side="source"), wanted)


def test_training_ends_with_dropout_switched_off(rng):
    x, y = planted(30, rng)
    heads = baselines.mlp_fusemix(x, y, seed=0, steps=1)
    assert not any(module.training for module in heads.modules())
    assert torch.equal(heads.queries(x, side="source"), heads.queries(x, side="source"))


def test_the_projection_leaves_target_vectors_where_they_are(rng):
    x, y = planted(30, rng)
    heads = baselines.projection_n_pairs(x, y, seed=0, steps=2)
    unit = F.normalize(y, dim=1)
    wanted = F.normalize(F.normalize(unit - unit.mean(dim=0), dim=1), dim=1)
    torch.testing.assert_close(heads.gallery(y, side="target"), wanted)
    kinds = [type(module).__name__ for module in heads.source_head]
    assert kinds == ["Linear", "ReLU", "Linear"]


def test_infonce_of_coinciding_rows_is_log_n():
    rows = F.normalize(torch.ones(5, 3), dim=1)
    loss = baselines.info_nce(rows, rows, torch.tensor(0.1))
    assert loss.item() == pytest.approx(torch.tensor(5.0).log().item())


def test_n_pairs_is_the_formula_written_out(rng):
    f, g = (torch.randn(4, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    terms = []
    for i in range(4):
        others = [torch.exp(f[i] @ g[j] - f[i] @ g[i]) for j in range(4) if j != i]
        terms.append(torch.log(1 + sum(others)))
    wanted = sum(terms) / 4 + 0.3 * sum(row @ row for row in f) / 4
    torch.testing.assert_close(baselines.n_pairs(f, g, l2=0.3), wanted)


def test_mixing_puts_partners_of_the_two_halves_together():
    rows = torch.tensor([[0.0], [2.0], [10.0], [20.0], [99.0]])
    assert baselines.mix(rows, torch.tensor(0.25)).tolist() == [[7.5], [15.5]]


def test_dropout_keeps_the_expectation_and_only_acts_in_training(rng):
    dropout = baselines.Dropout(0.6, rng)
    x = torch.ones(20_000)
    dropped = dropout(x)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 2.5]))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert dropout.eval()(x) is x


def test_the_temperature_starts_where_it_should_and_stays_within_bounds():
    temperature = baselines.Temperature(0.05)
    assert temperature().item() == pytest.approx(0.05)
    with torch.no_grad():
        temperature.log.fill_(-100.0)
    assert temperature().item() == pytest.approx(baselines.COLDEST)


def test_the_tuned_ridge_is_refitted_on_all_pairs_with_a_ridge_of_the_list(rng):
    x, y = planted(80, rng)
    found = baselines.tuned_ridge(x, y, seed=0)
    assert found.card.n_pairs == 80
    assert found.card.method in {ridge(x, y, ridge=k).card.method for k in baselines.RIDGES}


def test_the_tuned_ridge_prefers_little_shrinkage_where_there_is_no_noise(rng):
    x, y = planted(400, rng)
    found = baselines.tuned_ridge(x, y, seed=0)
    hits = recall_at_k(ranks(found.source(x), found.target(y)), 1)
    strongest = ridge(x, y, ridge=max(baselines.RIDGES))
    assert hits > recall_at_k(ranks(strongest.source(x), strongest.target(y)), 1)
    assert found.card.method == ridge(x, y, ridge=min(baselines.RIDGES)).card.method


def test_default_steps_are_those_of_the_protocol():
    steps = [inspect.signature(each).parameters["steps"].default for each in TRAINED]
    assert steps == [200, 200, 400, 400]
