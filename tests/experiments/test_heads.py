"""Heads of others beside ours, on a small planted task: settings, training, table and record."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import nn

from align.adapters.closed_form.csa import csa
from align.adapters.maps.linear import centred, mean_directions
from align.data.embeddings import PairedEmbeddings
from align.metrics.evaluation import evaluate
from experiments import heads, record, trials
from experiments.heads import OURS, REFERENCE, Config, compare_on, peers, remarks, render
from experiments.peer_heads import (
    csa as csa_peer,
)
from experiments.peer_heads import (
    dense,
    fusemix,
    info_nce,
    llama_index,
    mind_the_gap,
    sail,
    structure,
)
from experiments.peer_heads.head_map import HeadMap, with_heads
from experiments.peer_heads.peer import Peer, Setting, choose_and_fit, shortened
from experiments.tasks import Task
from experiments.trials import draw

CONFIG = Config("planted", n=60, draws=2, length=2)
TRAINED = (
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


@pytest.fixture(scope="module")
def result(task):
    def fit(train, *, effort):
        adapter = csa(train.source, train.target, dim={"fast": 2, "best": 5}[effort])
        adapter.card = replace(adapter.card, verdict=f"with effort {effort}")
        return adapter

    with pytest.MonkeyPatch.context() as patch:
        # These take seconds, and have tests of their own.
        patch.setattr(heads, "fit", fit)
        patch.setattr(trials, "call_microseconds", lambda *_, **__: [1.0])
        # The trainer of sentence-transformers may be absent, and takes seconds to load if not.
        patch.setattr(dense, "missing", lambda: dense.NEEDED)
        return compare_on(task, CONFIG)


def test_every_system_has_a_row_and_ours_are_last(result):
    names = [line.row.system for line in result.lines]
    assert names == [*(peer.name for peer in peers(with_dense=False)), *OURS]
    assert names[-1] == REFERENCE
    assert len(set(names)) == len(names)


def test_gains_are_those_of_ours_with_best_effort(result):
    ours = result.lines[-1].row
    for line in result.lines:
        for name, gain in line.row.gain.items():
            wanted = ours.metrics[name].value - line.row.metrics[name].value
            assert gain.value == pytest.approx(wanted)
            assert gain.low <= gain.value <= gain.high


def test_systems_see_the_draws_of_the_other_comparisons(task, result):
    line = next(line for line in result.lines if line.row.system == "CSA")
    found = [
        mrr(task.gallery, csa(train.source, train.target, dim=10))
        for train in (draw(task.pool, 60, seed=seed) for seed in (0, 1))
    ]
    assert line.row.metrics["mean_reciprocal_rank"].value == pytest.approx(sum(found) / 2)


def test_each_draw_tells_its_setting_and_its_seconds(result):
    for line in result.lines:
        assert len(line.chosen) == (0 if line.row.system in OURS else 2)
        assert all(each.fit_seconds > 0 for each in line.chosen)
        assert heads.train_seconds(line) <= line.row.fit_seconds


def test_the_setting_that_ranks_held_out_pairs_best_is_fitted_on_all_pairs(task):
    """A peer whose quality is the setting, and which says what it was fitted on."""
    seen = []

    def fit(train, dim, seed):
        seen.append((dim, train.ids, seed))
        return csa(train.source, train.target, dim=dim)

    peer = Peer("planted", "", fit, (1, 2, 5))
    train = task.pool.take(range(60))
    fitted, chosen = choose_and_fit(peer, train, 3)
    rest, judging = train.split(test=0.2, seed=3)
    wanted = {str(dim): mrr(judging, csa(rest.source, rest.target, dim=dim)) for dim in (1, 2, 5)}
    assert chosen.held_out == pytest.approx(wanted)
    assert chosen.setting == max(wanted, key=wanted.__getitem__) == "5"
    assert [ids for _, ids, _ in seen] == [rest.ids] * 3 + [train.ids]
    assert seen[-1][0] == 5 and {seed for _, _, seed in seen} == {3}
    assert fitted.dim == csa(train.source, train.target, dim=5).dim


def test_a_setting_that_stands_alone_is_taken_without_holding_out(task):
    ids = []

    def fit(train, setting, seed):
        ids.append(train.ids)
        return csa(train.source, train.target)

    train = task.pool.take(range(30))
    _, chosen = choose_and_fit(Peer("planted", "", fit, (Setting(7, 0.1),)), train, 0)
    assert ids == [train.ids]
    assert (chosen.setting, chosen.held_out) == ("7 steps at 0.1", {})


def test_a_short_peer_keeps_one_setting_and_few_steps():
    short = shortened(info_nce.LINEAR, 2)
    assert short.settings == (replace(info_nce.LINEAR.settings[0], length=2),)
    assert shortened(llama_index.SHIPPED, 2).settings == llama_index.SHIPPED.settings
    assert shortened(csa_peer.PEER, 2).settings == csa_peer.PEER.settings[:1]


@pytest.mark.parametrize("peer", TRAINED, ids=lambda peer: peer.name)
def test_every_trained_head_learns_a_planted_latent(peer):
    pairs = planted(160, 14, seed=1)
    train, other = pairs.take(range(120)), pairs.take(range(120, 160))
    length, rate = (10, 1e-2) if peer is llama_index.TUNED else (30, 3e-3)
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


def test_rows_of_sentence_transformers_are_left_out_with_a_word_where_its_trainer_is_not(result):
    assert not any("Dense" in line.row.system for line in result.lines)
    assert "accelerate and datasets could not be found" in remarks(result)[-1]
    names = {peer.name for peer in peers(with_dense=True)}
    assert {dense.SHIPPED.name, dense.TUNED.name} <= names


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


def test_the_table_and_its_remarks_show_every_system(result):
    page = io.StringIO()
    Console(file=page, width=150).print(render(CONFIG, result))
    printed = page.getvalue()
    assert all(line.row.system in printed for line in result.lines)
    assert "60 training pairs, 40 in the gallery" in printed
    lines = remarks(result)
    linear = next(line for line in lines if line.startswith(info_nce.LINEAR.name))
    assert linear.endswith("Setting by draw: 2 steps at 0.001, 2 steps at 0.001.")
    for effort in ("fast", "best"):
        told = [line for line in lines if line.startswith(f"align.fit, {effort}, draw")]
        assert len(told) == 2
        assert all(line.endswith(f"with effort {effort}") for line in told)


def test_a_full_run_leaves_a_record_and_a_figure(result, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(heads, "write_record", partial(record.write_record, folder=tmp_path))
    monkeypatch.setattr(heads, "RESULTS", tmp_path)
    configs = []
    monkeypatch.setattr(heads, "run", lambda config: configs.append(config) or result)
    heads.main(["--data", "emoji", "--n", "900", "--draws", "2"])
    assert configs == [Config("emoji", 900, 2, None)]
    found = json.loads((tmp_path / "heads-emoji-900.json").read_text())
    assert found["config"] == {"data": "emoji", "n": 900, "draws": 2, "length": None}
    line = found["result"]["lines"][0]
    assert line["note"] == llama_index.SHIPPED.note
    assert line["chosen"][0]["setting"] == "1 epoch at 2e-05"
    assert (tmp_path / "heads-emoji-900.png").read_bytes().startswith(b"\x89PNG")
    assert "heads-emoji-900.png" in capsys.readouterr().out


def test_a_quick_run_is_small_and_leaves_no_record(result, monkeypatch, capsys):
    monkeypatch.setattr(heads, "write_record", lambda *_, **__: pytest.fail("written"))
    configs = []
    monkeypatch.setattr(heads, "run", lambda config: configs.append(config) or result)
    heads.main(["--data", "emoji", "--n", "5000", "--quick"])
    assert configs == [Config("emoji", 300, draws=1, length=2)]
    assert "emoji: 300 training pairs" in capsys.readouterr().out
