"""Systems of the league on planted pairs: each learns, repeats itself, and is what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from align.adapters.closed_form.ridge import ridge
from align.adapters.maps.linear import centred, mean_directions
from align.data.embeddings import PairedEmbeddings
from align.metrics.evaluation import evaluate
from experiments.league.systems import (
    bridges,
    closed_forms,
    dense,
    everyone,
    fusemix,
    info_nce,
    llama_index,
    mind_the_gap,
    sail,
    structure,
)
from experiments.league.systems.head_map import HeadMap, with_heads
from experiments.league.systems.ours import OURS
from experiments.league.systems.peer import Setting, shortened
from experiments.tasks import Task

TRAINED = (
    bridges.RESIDUAL,
    bridges.TRIPLET,
    llama_index.TUNED,
    info_nce.LINEAR,
    info_nce.MLP,
    fusemix.PEER,
    sail.PEER,
    structure.PEER,
    mind_the_gap.PEER,
)


def planted(n, d_target, seed=0):
    """Pairs of a 5-dimensional latent, through random matrices and with a little noise."""
    rng = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, 5, generator=rng)
    sides = [
        latent @ torch.randn(5, d, generator=rng) + 0.1 * torch.randn(n, d, generator=rng)
        for d in (10, d_target)
    ]
    return PairedEmbeddings.from_arrays(*sides)


def mrr(pairs, fitted):
    return evaluate(pairs, fitted).mean["mean_reciprocal_rank"].value


@pytest.fixture(scope="module")
def task():
    pairs = planted(140, 14)
    return Task(pairs.take(range(100)), pairs.take(range(100, 140)))


def test_names_differ_and_none_has_more_than_four_settings():
    names = [peer.name for peer in everyone()]
    assert len(set(names)) == len(names)
    assert names[-2:] == list(OURS)
    assert all(1 <= len(peer.settings) <= 4 for peer in everyone())


@pytest.mark.parametrize("peer", closed_forms.PEERS, ids=lambda peer: peer.name)
def test_every_closed_form_finds_planted_pairs_in_each_setting(peer):
    pairs = planted(160, 14, seed=1)
    if not peer.suits(10, 14):
        # Of one width, and a noisy copy: the encoders agree already.
        x = pairs.source
        pairs = PairedEmbeddings.from_arrays(x, x + 0.1 * x.flip(0))
    train, other = pairs.take(range(120)), pairs.take(range(120, 160))
    for setting in peer.settings:
        assert mrr(other, peer.fit(train, setting, 0)) > 0.3  # by chance 0.107


@pytest.mark.parametrize("peer", closed_forms.PEERS, ids=lambda peer: peer.name)
def test_every_closed_form_takes_few_pairs_that_repeat_items(peer):
    few = planted(40, 10)
    rows = torch.arange(40) // 2
    repeated = PairedEmbeddings.from_arrays(few.source[rows], few.target[rows])
    for setting in peer.settings:
        assert peer.fit(repeated, setting, 0).queries(few.source, side="source").isfinite().all()


def test_raw_and_centred_cosines_need_sides_of_one_width():
    suited = {peer.name for peer in closed_forms.PEERS if peer.suits(3, 3)}
    assert suited - {peer.name for peer in closed_forms.PEERS if peer.suits(3, 4)} == {
        "raw cosine",
        "centred cosine",
    }


def test_a_low_rank_map_has_its_rank_and_at_full_rank_is_ridge(task):
    train = task.pool
    low = closed_forms.low_rank(train, 3, 0).source_map.weight
    assert int(torch.linalg.matrix_rank(low, rtol=1e-4)) == 3
    whole = closed_forms.low_rank(train, 10, 0)
    plain = ridge(train.source, train.target, ridge=1.0, direction="forward")
    torch.testing.assert_close(
        whole.source(train.source), plain.source(train.source), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("peer", [bridges.RESIDUAL, bridges.TRIPLET], ids=lambda peer: peer.name)
def test_a_bridge_begins_as_the_identity_and_leaves_targets_alone(peer):
    pairs = planted(40, 10)
    found = peer.fit(pairs, Setting(1, 1e-12), 0)
    wanted = centred(pairs.source, mean_directions(pairs.source))
    torch.testing.assert_close(found.source(pairs.source), wanted, atol=1e-5, rtol=1e-4)
    wanted = centred(pairs.target, mean_directions(pairs.target))
    torch.testing.assert_close(found.target(pairs.target), wanted)


def test_a_short_peer_keeps_one_setting_and_few_steps():
    short = shortened(info_nce.LINEAR, 2)
    assert short.settings == (replace(info_nce.LINEAR.settings[0], length=2),)
    assert shortened(llama_index.SHIPPED, 2).settings == llama_index.SHIPPED.settings
    ridge_peer = closed_forms.PEERS[4]
    assert shortened(ridge_peer, 2).settings == ridge_peer.settings[:1]


@pytest.mark.parametrize("peer", TRAINED, ids=lambda peer: peer.name)
def test_every_trained_head_learns_a_planted_latent(peer):
    pairs = planted(160, 14, seed=1)
    train, other = pairs.take(range(120)), pairs.take(range(120, 160))
    length, rate = {llama_index.TUNED: (10, 1e-2), bridges.TRIPLET: (100, 1e-2)}.get(
        peer, (30, 3e-3)
    )
    fitted = peer.fit(train, Setting(length, rate), 0)
    # By chance 0.107: the mean of 1/1 ... 1/40.
    assert mrr(other, fitted) > 0.4
    assert not fitted.training


@pytest.mark.parametrize("peer", TRAINED, ids=lambda peer: peer.name)
def test_a_seed_decides_everything_and_the_global_stream_is_left_alone(peer, task):
    train = task.pool.take(range(30))
    setting = Setting(1, 1e-3)
    torch.default_generator.manual_seed(5)
    before = torch.get_rng_state()
    one = peer.fit(train, setting, 0).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.default_generator.manual_seed(6)
    again, other = (peer.fit(train, setting, seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_head_sees_centred_rows_of_unit_norm_or_only_of_unit_norm(task):
    train = task.pool
    plain, shifted = (
        with_heads(train, nn.Identity(), nn.Identity(), dim=10, centre=centre).source_map
        for centre in (False, True)
    )
    assert isinstance(plain, HeadMap) and isinstance(shifted, HeadMap)
    torch.testing.assert_close(plain.project(train.source), F.normalize(train.source, dim=1))
    mean = mean_directions(train.source)
    torch.testing.assert_close(shifted.project(train.source), centred(train.source, mean))


def test_an_adapter_of_llama_index_starts_as_the_identity_where_widths_agree():
    pairs = planted(40, 10)
    found = llama_index.SHIPPED.fit(pairs, Setting(1, 1e-12, "epochs"), 0)
    torch.testing.assert_close(found.source(pairs.source), F.normalize(pairs.source, dim=1))
    torch.testing.assert_close(found.target(pairs.target), F.normalize(pairs.target, dim=1))


def test_the_loop_of_llama_index_follows_its_schedule_and_cuts_gradients():
    """Three steps by hand: 25 pairs, the rate at 0 as it rises over no step, then 1, 2/3, 1/3."""
    pairs = planted(25, 10)
    queries, documents = (F.normalize(x, dim=1) for x in (pairs.source, pairs.target))
    layer, wanted = (nn.Linear(10, 10, bias=False) for _ in range(2))
    for each in (layer, wanted):
        nn.init.eye_(each.weight)
    llama_index.train_layer(layer, queries, documents, Setting(1, 0.1, "epochs"))
    optimizer = torch.optim.AdamW(wanted.parameters())
    for rate, start in ((0.1, 0), (0.1 * 2 / 3, 10), (0.1 / 3, 20)):
        rows = slice(start, start + 10)
        cosines = F.cosine_similarity(wanted(queries[rows])[:, None], documents[rows], dim=2)
        loss = F.cross_entropy(20 * cosines, torch.arange(len(cosines)))
        (gradient,) = torch.autograd.grad(loss, [wanted.weight])
        assert gradient.norm() > 1  # so that cutting shows
        wanted.weight.grad = gradient / gradient.norm()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    torch.testing.assert_close(layer.weight, wanted.weight, atol=1e-5, rtol=1e-4)


def test_a_block_of_fusemix_adds_to_its_input():
    block = fusemix.Block(6)
    nn.init.zeros_(block.body[-1].weight)
    nn.init.zeros_(block.body[-1].bias)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)
    assert fusemix.UnitScale()(F.normalize(x, dim=1)).square().mean() == pytest.approx(1.0)


def test_a_star_head_is_a_gated_product():
    head = sail.StarMLP(6)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    rows = F.layer_norm(x, (6,))
    gate = (rows @ head.f1.weight.T).clamp(0, 6)
    torch.testing.assert_close(head(x), (gate * (rows @ head.f2.weight.T)) @ head.g.weight.T)


def test_targets_of_a_projection_network_stay_as_they_are_but_centred(task):
    found = mind_the_gap.PEER.fit(task.pool, Setting(1, 1e-3), 0)
    wanted = centred(task.pool.target, mean_directions(task.pool.target))
    torch.testing.assert_close(found.target(task.pool.target), wanted)


def test_the_collator_hands_the_trainer_rows_of_both_sides():
    sides = {"source": torch.arange(6.0).view(3, 2), "target": -torch.arange(3.0).view(3, 1)}
    batch = dense.CachedRows(sides)([{"row": 2}, {"row": 0}])
    assert batch["source_sentence_embedding"].tolist() == [[4, 5], [0, 1]]
    assert batch["target_sentence_embedding"].tolist() == [[-2], [0]]
    assert (batch["source_task"], batch["target_task"]) == ("source", "target")


def test_the_trainer_of_sentence_transformers_learns_a_planted_latent(capfd, tmp_path, monkeypatch):
    for name in dense.NEEDED:
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    pairs = planted(160, 14, seed=1)
    train, other = pairs.take(range(120)), pairs.take(range(120, 160))
    setting = Setting(10, 1e-2, "epochs")
    one, again = (dense.TUNED.fit(train, setting, 0) for _ in range(2))
    assert mrr(other, one) > 0.4
    assert torch.equal(one.source(other.source), again.source(other.source))
    shipped = dense.SHIPPED.fit(train, Setting(1, 5e-5, "epochs"), 0)
    assert shipped.source_map.project(other.source).abs().max() < 1  # of a tanh
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""
