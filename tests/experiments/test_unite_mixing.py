"""Mixtures of kinds: exact shares, even ones first, and the page."""

from __future__ import annotations

import dataclasses
import json

import pytest

from align.adapters.closed_form.rcca import rcca
from experiments import unite_mixing
from experiments.mixed import KINDS
from experiments.tasks import Task
from experiments.unite_mixing import CLOSED, MASKED, MEAN, MIXTURES, Config, counts_of, run
from experiments.unite_systems import Training
from tests.experiments.test_unite import planted

TINY = Training(random_steps=2, batch_size=50)


def test_counts_sum_to_the_budget_whatever_rounding_does():
    for shares in MIXTURES:
        for budget in (100, 101, 1200):
            counts = counts_of(shares, budget)
            assert sum(counts.values()) == budget
            assert all(abs(counts[k] - budget * s) <= 1 for k, s in zip(KINDS, shares, strict=True))


def test_the_even_mixture_is_first_and_every_kind_has_its_turn():
    assert len(MIXTURES) == len(set(MIXTURES)) == 10
    assert set(MIXTURES[0]) == {1 / 3}
    for at in range(3):
        assert max(shares[at] for shares in MIXTURES) == 0.75


@pytest.fixture(scope="module")
def result():
    task = Task(planted(50, seed=1), planted(20, seed=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unite_mixing, "fit", lambda pairs, effort: rcca(pairs.source, pairs.target))
        return run(task, Config(60, MIXTURES[:3], 2, TINY))


def test_each_mixture_stands_beside_the_even_one(result):
    even, *others = result.lines
    for system in (CLOSED, MASKED):
        assert even.gain[system][MEAN].value == 0
        for line in others:
            for kind in (*KINDS, MEAN):
                wanted = line.recall[system][kind].value - even.recall[system][kind].value
                assert line.gain[system][kind].value == pytest.approx(wanted)
    assert [line.counts["image"] for line in result.lines] == [20, 30, 15]
    assert even.recall[CLOSED][MEAN].value > 0.5 > result.chance


def test_the_page_and_the_figure_show_every_mixture(result, monkeypatch, tmp_path):
    content = json.loads(json.dumps({"result": dataclasses.asdict(result)}))
    monkeypatch.setattr(unite_mixing, "read_record", lambda name: content)
    table = unite_mixing.mixtures().splitlines()
    assert [row.split(" | ")[0] for row in table[2:]] == [
        "| 20 / 20 / 20", "| 30 / 15 / 15", "| 15 / 30 / 15",
    ]  # fmt: skip
    unite_mixing.figure(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
