"""Planted wrong partners and near copies are as told, are found, and recall is as without them."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from experiments import unite_curation
from experiments.tasks import Task
from experiments.unite_curation import (
    ALL,
    COPIED,
    CURATED,
    DISTINCT,
    NOISE,
    RANDOM,
    TRUE,
    Config,
    measured,
    repeated,
    spoiled,
)


def planted(n, seed=0, noise=0.4):
    rng = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, 20, generator=rng)
    sides = [
        latent @ torch.randn(20, d, generator=rng) + noise * torch.randn(n, d, generator=rng)
        for d in (24, 32)
    ]
    return PairedEmbeddings.from_arrays(*sides)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_every_chosen_pair_loses_its_partner_and_no_other_does(share):
    pairs = planted(40)
    found, wrong = spoiled(pairs, share, seed=3)
    assert int(wrong.sum()) == round(40 * share)
    moved = (found.target != pairs.target).any(dim=1)
    assert torch.equal(moved, wrong)
    assert torch.equal(found.source, pairs.source)
    assert sorted(map(tuple, found.target.tolist())) == sorted(map(tuple, pairs.target.tolist()))


def test_nothing_is_spoiled_at_a_share_of_nothing():
    pairs = planted(40)
    found, wrong = spoiled(pairs, 0.0, seed=0)
    assert found is pairs and not wrong.any()


@pytest.fixture(scope="module")
def line():
    pairs = planted(480, noise=3.0)
    task = Task(pairs.take(range(180)), pairs.take(range(180, 480)))
    return measured(task, "planted", 0.4, Config(("planted",), 150, (0.4,), 1))


def test_most_of_what_was_planted_is_found_and_recall_comes_back(line):
    assert line.found is not None and line.found > 0.4
    assert line.lost < 0.05
    recall = {way: each.value for way, each in line.recall.items()}
    assert recall[TRUE] >= recall[CURATED] > recall[ALL]
    assert line.gain[ALL].value == 0
    assert line.gain[CURATED].value == pytest.approx(recall[CURATED] - recall[ALL])
    assert line.chance == pytest.approx(10 / 300)


def test_the_page_and_the_figure_show_every_way(line, monkeypatch, tmp_path):
    content = json.loads(json.dumps({"result": [dataclasses.asdict(line)]}))
    monkeypatch.setattr(unite_curation, "read_record", lambda name: content)
    head, _, row = unite_curation.curation().splitlines()
    assert all(way in head for way in (ALL, RANDOM, CURATED, TRUE))
    assert row.startswith("| `planted`, 40 % exchanged | ")
    unite_curation.figure([line], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_copy_is_near_a_pair_that_stays_and_takes_the_place_of_another(share):
    pairs = planted(40)
    found, origin = repeated(pairs, share, seed=3)
    copies = origin != torch.arange(40)
    assert int(copies.sum()) == round(40 * share)
    assert not copies[origin].any()
    assert found.ids == pairs.ids and found.groups == pairs.groups
    for new, old in ((found.source, pairs.source), (found.target, pairs.target)):
        assert torch.equal(new[~copies], old[~copies])
        away = (new - old[origin])[copies].norm(dim=1) / old[origin][copies].norm(dim=1)
        torch.testing.assert_close(away, torch.full_like(away, NOISE))


def test_nothing_is_copied_at_a_share_of_nothing():
    pairs = planted(40)
    found, origin = repeated(pairs, 0.0, seed=0)
    assert found is pairs and torch.equal(origin, torch.arange(40))


@pytest.fixture(scope="module")
def copied():
    pairs = planted(480, noise=3.0)
    task = Task(pairs.take(range(180)), pairs.take(range(180, 480)))
    return measured(task, "planted", 0.5, Config(("planted",), 150, (0.5,), 1, COPIED))


def test_every_copy_is_found_and_what_is_left_finds_as_much_as_the_distinct_pairs(copied):
    assert copied.found == 1.0 and copied.lost == 0.0
    recall = {way: each.value for way, each in copied.recall.items()}
    assert recall[CURATED] == pytest.approx(recall[DISTINCT], abs=0.02)
    assert recall[CURATED] > recall[RANDOM]
    assert copied.gain[CURATED].value == pytest.approx(recall[CURATED] - recall[ALL])


def test_pairs_that_were_alike_before_count_as_lost_and_not_as_found():
    pairs = planted(200, noise=3.0)
    twice = torch.arange(100).repeat(2)  # every pair two times, before any copy is planted
    jitter = 1e-3 * torch.randn(200, 24, generator=torch.Generator().manual_seed(1))
    sides = pairs.source[twice] + jitter, pairs.target[twice] + jitter[:, :1]
    pool = PairedEmbeddings.from_arrays(*sides)
    task = Task(pool, pairs.take(range(100, 200)))
    line = measured(task, "planted", 0.0, Config(("planted",), 200, (0.0,), 1, COPIED))
    assert line.found is None and line.lost == 0.5


def test_the_page_of_copies_shows_every_way_or_says_that_there_is_no_record(
    copied, monkeypatch, tmp_path
):
    content = json.loads(json.dumps({"result": [dataclasses.asdict(copied)]}))
    records = {"unite_duplicates": content}
    monkeypatch.setattr(unite_curation, "read_record", records.__getitem__)
    head, _, row = unite_curation.duplicates().splitlines()
    assert all(way in head for way in (ALL, RANDOM, CURATED, DISTINCT))
    assert row.startswith("| `planted`, 50 % copied | ") and row.endswith(" | 100 % | 0 % |")
    unite_curation.figure([copied], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")

    def missing(name):
        raise FileNotFoundError(name)

    monkeypatch.setattr(unite_curation, "read_record", missing)
    assert unite_curation.duplicates() == "Not recorded yet."
