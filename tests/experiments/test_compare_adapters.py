"""The comparison on a small planted task: every system, exact averages, and the record."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from rich.console import Console

from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs
from align.metrics.comparison.compare import compare
from align.metrics.evaluation import evaluate
from experiments import compare_adapters, record, tasks
from experiments.compare_adapters import OURS, Config, compare_on, render
from experiments.tasks import Task, load_task
from experiments.trials import METRICS, draw, summarise, trial

CONFIG = Config("planted", n=60, draws=2, steps=2)


def planted(d_target, rng):
    """120 pairs to draw from and 40 held out, both sides linear in a 5-d latent, with noise."""
    latent = torch.randn(160, 5, generator=rng)
    sides = [
        latent @ torch.randn(5, d, generator=rng) + torch.randn(160, d, generator=rng)
        for d in (10, d_target)
    ]
    pairs = PairedEmbeddings.from_arrays(*sides)
    return Task(pairs.take(range(120)), pairs.take(range(120, 160)))


@pytest.fixture(scope="module")
def task():
    return planted(14, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def result(task):
    return compare_on(task, CONFIG)


def test_every_system_has_a_row_and_ours_is_last(result):
    names = [row.system for row in result.rows]
    assert len(names) == len(set(names)) == 13
    assert names[-1] == OURS
    assert "raw cosine" not in names
    assert len(result.chosen) == CONFIG.draws


def test_the_raw_cosine_is_compared_where_widths_agree(rng):
    task = planted(10, rng)
    assert "raw cosine" in compare_adapters.systems(CONFIG, task.pool)


def test_only_gradient_descent_counts_as_training(result):
    trained = {row.system for row in result.rows if row.trained > 0}
    assert trained == {
        "linear heads, InfoNCE",
        "MLP heads, InfoNCE",
        "MLP heads, FuseMix",
        "ReLU projection, N-pairs",
    }
    sizes = {row.system: (row.trained, row.stored) for row in result.rows}
    heads = (10 + 1) * 512 + (14 + 1) * 512
    assert sizes["linear heads, InfoNCE"] == (heads, heads + 10 + 14)
    assert sizes["RCCA, k = 1"][1] == (10 + 14) + (10 + 14) * 10
    reference_sets = 2 * 60 * 10
    assert sizes["RCCA, k = 1, NNN(32, 0.5)"][1] == sizes["RCCA, k = 1"][1] + reference_sets


def test_a_row_is_the_mean_of_the_evaluations_of_its_draws(task, result):
    row = next(row for row in result.rows if row.system == "Procrustes")
    system = compare_adapters.systems(CONFIG, task.pool)["Procrustes"]
    found = [
        evaluate(task.gallery, system(draw(task.pool, 60, seed=seed), seed)) for seed in (0, 1)
    ]
    for name in METRICS:
        mean = sum(each.mean[name].value for each in found) / 2
        assert row.metrics[name].value == pytest.approx(mean)
        assert row.metrics[name].low <= mean <= row.metrics[name].high


def test_gains_are_differences_of_the_rows_and_nothing_for_ours(result):
    ours = result.rows[-1]
    for row in result.rows:
        for name in METRICS:
            wanted = ours.metrics[name].value - row.metrics[name].value
            assert row.gain[name].value == pytest.approx(wanted)
    assert all((each.low, each.high) == (0.0, 0.0) for each in ours.gain.values())


def test_with_one_draw_a_gain_and_its_interval_are_those_of_compare(task):
    systems = compare_adapters.systems(replace(CONFIG, draws=1), task.pool)
    train = draw(task.pool, 60, seed=0)
    here, there = (
        trial(systems[name], train, task.gallery, seed=0) for name in ("plain CCA", "RCCA, k = 3")
    )
    row = summarise("plain CCA", [here], [there])
    both = compare({"here": here.evaluation, "there": there.evaluation})
    paired = both.row("mean_reciprocal_rank").differences["there"]
    gain = row.gain["mean_reciprocal_rank"]
    assert gain.value == pytest.approx(paired.value)
    # Two bootstraps of 1,000 resamples each: bounds agree to about a twentieth of the width.
    slack = (paired.high - paired.low) / 10
    assert gain.low == pytest.approx(paired.low, abs=slack)
    assert gain.high == pytest.approx(paired.high, abs=slack)


def test_an_interval_spans_draws_that_disagree(task):
    systems = compare_adapters.systems(CONFIG, task.pool)
    train = draw(task.pool, 60, seed=0)
    good, bad = (
        trial(systems[name], train, task.gallery, seed=0)
        for name in ("RCCA, k = 3", "MLP heads, FuseMix")
    )
    found = summarise("one good draw, one bad", [good, bad], [good, good])
    # A quarter of the resamples holds the good draw alone, another quarter the bad one.
    both, high, low = (
        each["recall_at_10"] for each in (found.metrics, good.evaluation.mean, bad.evaluation.mean)
    )
    assert both.low <= low.value < low.high < high.low < high.value <= both.high
    assert both.value == pytest.approx((low.value + high.value) / 2)


def test_a_draw_repeats_itself_and_takes_no_pair_twice(task):
    first, again, other = (draw(task.pool, 50, seed=seed).ids for seed in (3, 3, 4))
    assert first == again != other
    assert len(set(first)) == 50


def test_more_pairs_than_the_pool_has_are_refused(task):
    with pytest.raises(ValueError, match=r"n must lie in \[1, 120\].*got 121"):
        draw(task.pool, 121, seed=0)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match=r"task must be one of flickr8k, .*got 'flicker'"):
        load_task("flicker")


def test_the_printed_table_shows_every_system_and_intervals_in_brackets(result):
    page = io.StringIO()
    Console(file=page, width=170).print(render(CONFIG, result))
    printed = page.getvalue()
    assert all(row.system in printed for row in result.rows)
    mrr = result.rows[-1].metrics["mean_reciprocal_rank"]
    bounds = [f"{100 * each:.1f}" for each in (mrr.value, mrr.low, mrr.high)]
    assert "{} [{}, {}]".format(*bounds) in printed
    assert "[low, high]: 95 %" in " ".join(printed.split())


def test_a_record_names_settings_code_versions_and_machine(result, tmp_path):
    path = record.write_record(
        "small", config=asdict(CONFIG), result=asdict(result), folder=tmp_path
    )
    found = json.loads(path.read_text())
    assert path.name == "small.json"
    assert found["config"] == {"data": "planted", "n": 60, "draws": 2, "steps": 2}
    assert {"isthmus", "torch", "python"} <= set(found["versions"])
    assert found["commit"] and "threads" in found["device"]
    assert found["result"]["rows"][-1]["system"] == OURS


def test_a_record_is_written_where_git_is_missing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert record.commit() == "unknown"


def test_a_quick_run_is_small_and_leaves_no_record(result, monkeypatch, capsys):
    monkeypatch.setattr(compare_adapters, "write_record", lambda *_, **__: pytest.fail("written"))
    configs = []
    monkeypatch.setattr(compare_adapters, "run", lambda config: configs.append(config) or result)
    compare_adapters.main(["--data", "emoji", "--n", "5000", "--quick"])
    assert configs == [Config("emoji", 300, draws=1, steps=5)]
    assert "emoji: 300 training pairs, 40 in the gallery" in capsys.readouterr().out


def test_a_full_run_is_recorded_under_its_data_and_size(result, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        compare_adapters, "write_record", partial(record.write_record, folder=tmp_path)
    )
    monkeypatch.setattr(compare_adapters, "run", lambda config: result)
    compare_adapters.main(["--data", "emoji", "--n", "900", "--draws", "2"])
    found = json.loads((tmp_path / "compare_adapters-emoji-900.json").read_text())
    assert found["config"] == {"data": "emoji", "n": 900, "draws": 2, "steps": None}
    assert "draw 1: " in capsys.readouterr().out


def test_the_standard_library_task_holds_out_whole_modules(monkeypatch, rng):
    modules = [f"module{i % 10}" for i in range(200)]

    def encoded(pairs):
        rows = torch.randn(len(pairs), 4, generator=rng)
        return PairedEmbeddings.from_arrays(rows, rows, ids=pairs.ids, groups=pairs.groups)

    words = [f"words {i}" for i in range(200)]
    monkeypatch.setattr(
        tasks, "stdlib_code", lambda: Pairs.from_lists(words, words, groups=modules)
    )
    monkeypatch.setattr(Pairs, "encode", lambda pairs, *_, **__: encoded(pairs))
    monkeypatch.setattr(tasks, "load_encoder", lambda spec: None)
    task = load_task("stdlib_code")
    trained, held_out = ({modules[int(i)] for i in part.ids} for part in (task.pool, task.gallery))
    assert len(held_out) == 2 and not trained & held_out
    assert task.gallery.groups == task.gallery.ids
    assert task.pool.groups == task.pool.ids
    assert task.pool.domains == tuple(modules[int(i)] for i in task.pool.ids)
