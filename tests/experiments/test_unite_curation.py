"""Planted wrong partners are all wrong, are found, and recall comes back without them."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from experiments import unite_curation
from experiments.tasks import Task
from experiments.unite_curation import ALL, CURATED, RANDOM, TRUE, Config, measured, spoiled


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
