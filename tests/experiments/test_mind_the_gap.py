"""The first paper's experiment: its rows, its tables, and what is run again."""

from __future__ import annotations

import dataclasses
import json

import pytest

from align.metrics.estimates import MEANS, Estimate
from experiments import mind_the_gap as experiment
from experiments import record
from experiments.league.setting import Entry
from experiments.lexical import Overlap

ESTIMATE = Estimate(0.5, 0.4, 0.6)


def entry(system: str) -> Entry:
    four = dict.fromkeys(MEANS, ESTIMATE)
    return Entry(system, "", four, four, four, 1.0, 1.0, ("a",), ("none",), 4, {}, 1.0, 2.0,
                 3_000_000, 4, 25.0)  # fmt: skip


@pytest.fixture
def result() -> experiment.Result:
    names = [peer.name for peer in experiment.systems()]
    four = dict.fromkeys(MEANS, ESTIMATE)
    words = Overlap(ESTIMATE, ESTIMATE, ESTIMATE, 0.25, 0.01, 0.0)
    chance = dict.fromkeys(MEANS, 0.01)
    return experiment.Result(700, 9000, chance, four, tuple(map(entry, names)), words)


def test_the_network_stands_there_as_printed_tuned_and_with_two_layers():
    names = [peer.name for peer in experiment.systems()]
    assert sum(name.startswith("Mind the Gap network") for name in names) == 3
    assert names[-1] == "align.fit"


def test_tables_show_words_and_chance_beside_every_system(result, monkeypatch, tmp_path):
    content = json.loads(json.dumps({"result": dataclasses.asdict(result)}))

    def read(name):
        if name != "mind_the_gap-django_pseudocode-1000":
            raise FileNotFoundError
        return content

    monkeypatch.setattr(experiment, "read_record", read)
    table = experiment.accuracy()
    assert "| a random order | 1.0 | 1.0 | 1.0 | 1.0 |" in table
    assert "| BM25, words alone | 50.0 [40.0, 60.0] | 50.0 |" in table
    assert "| raw cosine: one shared encoder | 50.0" in table
    assert "| **align.fit** | 50.0 [40.0, 60.0] | 50.0 | 50.0 | 50.0 | 3.0 | 3.0 M | 25 |" in table
    league = {("django_pseudocode", n): content["result"] for n in (300, 1000)}
    monkeypatch.setattr(experiment, "league_records", lambda: league)
    assert "| `django_pseudocode`, align.fit | 50.0 | 50.0 |" in experiment.curve()
    assert "| 25 % (1 %) | 0 % |" in experiment.lexical()
    experiment.figure(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_settings_with_a_record_of_this_commit_are_not_run_again(result, monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(experiment, "run", lambda config, _: ran.append(config) or result)
    monkeypatch.setattr(experiment, "SETTINGS", {"one": (1, 2), "two": (1,)})
    monkeypatch.setattr(experiment, "figure", lambda path: None)
    monkeypatch.setattr(experiment.torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(experiment, "raw_task", lambda name: pytest.fail("timed again"))
    record.write_record(experiment.SPEED, config={}, result={}, folder=tmp_path)
    for name in ("write_record", "is_current"):
        own = getattr(record, name)
        monkeypatch.setattr(
            experiment, name, lambda *args, own=own, **told: own(*args, **told, folder=tmp_path)
        )
    experiment.main(["--data", "one", "--n", "2"])
    experiment.main([])
    assert [(each.data, each.n) for each in ran] == [("one", 2), ("one", 1), ("two", 1)]
