"""The comparison of similarities on a small planted task: three tables, and the record."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from experiments import compare_similarities, record
from experiments.compare_similarities import EQUAL, OTHER, SAME, Config, compare_on, mapped
from experiments.tasks import Task
from experiments.trials import draw
from probes.similarity import comparison as similarity_comparison
from probes.similarity.standard import cosine, match_ranks
from probes.similarity.training import bilinear_plans, mlp_plans

CONFIG = Config("planted", n=80, draws=2)


def short(plans):
    """The same plans, the first of them only, with hardly any updates."""
    return lambda *widths: (replace(plans(*widths)[0], steps=10),)


def fit(train, *, seed):
    """One closed form in place of the search over all of them, which takes seconds."""
    return rcca(train.source, train.target, ridge=(1.0, 1.0))


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity_comparison, "mlp_plans", short(mlp_plans))
        patch.setattr(similarity_comparison, "bilinear_plans", short(bilinear_plans))
        patch.setattr(compare_similarities, "bilinear_plans", short(bilinear_plans))
        patch.setattr(compare_similarities, "fit", fit)
        yield


@pytest.fixture(scope="module")
def task():
    rng = torch.Generator().manual_seed(0)
    latent = torch.randn(160, 5, generator=rng)
    sides = [
        latent @ torch.randn(5, d, generator=rng) + torch.randn(160, d, generator=rng)
        for d in (10, 14)
    ]
    pairs = PairedEmbeddings.from_arrays(*sides)
    return Task(pairs.take(range(120)), pairs.take(range(120, 160)))


@pytest.fixture(scope="module")
def result(task, quick):
    return compare_on(task, CONFIG)


def test_there_are_three_tables_over_one_gallery_and_every_draw(result):
    assert list(result.tables) == [SAME, OTHER, EQUAL]
    assert len(result.drawn) == CONFIG.draws
    for table in result.tables.values():
        assert table.reference == "cosine" and table.gallery == 40
        assert all(ranks.shape == (40, 2 * CONFIG.draws) for ranks in table.ranks.values())


def test_the_last_table_holds_all_that_was_learned_beside_the_cosine_with_all_pairs(result):
    same, other, equal = (result.tables[name].ranks for name in (SAME, OTHER, EQUAL))
    assert torch.equal(equal["cosine"], same["cosine"])
    assert not torch.equal(equal["cosine"], other["cosine"])
    for name in ("MLP on the pair", "low-rank bilinear"):
        assert torch.equal(equal[f"{name}, same pairs"], same[name])
        assert torch.equal(equal[f"{name}, other half"], other[name])
    assert len(equal) == 6


def test_the_cosine_is_that_of_the_fitted_adapter_on_the_gallery(task, result):
    adapter = fit(draw(task.pool, 80, seed=1), seed=1)
    gallery = mapped(adapter, task.gallery)
    wanted = match_ranks(cosine, gallery.source, gallery.target, torch.arange(40))
    assert torch.equal(result.tables[SAME].ranks["cosine"][:, 2:], wanted)


def test_similarities_learn_from_the_half_that_the_adapter_has_not_seen(task, monkeypatch):
    seen = {"fit": [], "learned": []}

    def fitting(train, **options):
        seen["fit"].append(set(train.ids))
        return fit(train, **options)

    def comparing(train, test, **options):
        seen["learned"].append(set(train.ids))
        return compare(train, test, **options)

    compare = compare_similarities.compare_similarities
    monkeypatch.setattr(compare_similarities, "fit", fitting)
    monkeypatch.setattr(compare_similarities, "compare_similarities", comparing)
    compare_similarities.one_draw(task, 80, seed=0)
    (whole, half), (same, other) = seen["fit"], seen["learned"]
    assert same == whole and len(whole) == 80
    assert half | other == whole and not half & other and len(half) == 40
    assert not whole & set(task.gallery.ids)


def test_a_run_prints_its_tables_and_is_recorded(result, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        compare_similarities, "write_record", partial(record.write_record, folder=tmp_path)
    )
    monkeypatch.setattr(compare_similarities, "load_task", lambda name: name)
    monkeypatch.setattr(compare_similarities, "compare_on", lambda task, config: result)
    compare_similarities.main(["--n", "80", "--draws", "2"])
    found = json.loads((tmp_path / "compare_similarities-emoji-80.json").read_text())
    assert found["config"] == {"data": "emoji", "n": 80, "draws": 2}
    assert list(found["result"]["tables"]) == [SAME, OTHER, EQUAL]
    assert found["result"]["tables"][EQUAL]["conclusion"] == result.tables[EQUAL].conclusion
    chosen = found["result"]["drawn"][1]["learned"][EQUAL]["low-rank bilinear, no adapter"]
    assert chosen["chosen"]["plan"] == "rank 10 from random"
    printed = capsys.readouterr().out
    assert "emoji, 80 training pairs, equal pairs" in printed
    assert all(table.conclusion in printed for table in result.tables.values())


def test_more_pairs_than_the_pool_has_are_refused(task):
    with pytest.raises(ValueError, match=r"n must lie in \[1, 120\].*got 121"):
        compare_on(task, Config("planted", n=121))
