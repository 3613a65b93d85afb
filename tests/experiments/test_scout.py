"""Scouting against a gallery, on texts through tiny networks."""

from __future__ import annotations

import json
from itertools import product
from types import SimpleNamespace

import pytest

from align.adapters.closed_form.rcca import rcca
from align.data.pairs import Pairs
from experiments import record, scout
from experiments.scout import Config, evenly, run
from tests.helpers.tiny_models import bert, sbert, sentence_folder, write  # noqa: F401  # fixtures are found by name

WORDS = ("dog", "cat", "beach", "bridge", "red", "blue", "sits", "runs")


@pytest.fixture
def planted(monkeypatch, tmp_path, bert, sbert):  # noqa: F811  # the fixtures above
    texts = [f"{one} {two}" for one, two in product(WORDS, WORDS)]
    pairs = Pairs.from_lists(texts, [f"{text} {text}" for text in texts])
    raw = SimpleNamespace(pool=pairs.take(range(44)), gallery=pairs.take(range(44, 64)))
    specs = (f"text:{bert}?pooling=mean", f"text:{sbert}?pooling=max")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    monkeypatch.setattr(scout, "TEXTS", specs)
    monkeypatch.setattr(scout, "TARGETS", {"planted": specs})
    monkeypatch.setattr(scout, "TASKS", {"planted": lambda: raw})
    monkeypatch.setattr(scout, "fit", lambda pairs, **_: rcca(pairs.source, pairs.target))
    return specs


def test_regret_is_what_the_best_judged_candidate_has_above_each_choice(planted):
    result = run(Config("planted", 40, judged=4))
    best = max(each.reciprocal_rank for each in result.judged)
    first = next(each for each in result.judged if (each.source, each.target) == planted[:1] * 2)
    assert result.regret["first named"][1] == pytest.approx(best - first.reciprocal_rank)
    assert min(rank for _, rank in result.regret.values()) >= 0
    assert result.gallery == 20
    assert [each.score for each in result.judged] == sorted(
        (each.score for each in result.judged), reverse=True
    )


def test_the_record_holds_what_was_found(planted, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(
        scout,
        "write_record",
        lambda name, **rest: record.write_record(name, folder=tmp_path, **rest),
    )
    scout.main(["--data", "planted", "--n", "40", "--judged", "2"])
    assert "regret of best" in capsys.readouterr().out
    written = json.loads((tmp_path / "scout-planted-40.json").read_text())
    assert written["result"]["candidates"] >= 4


def test_candidates_are_judged_from_first_to_last_with_those_that_have_a_name():
    assert evenly("abcdefg", 3, also="b") == ["a", "b", "d", "g"]
    assert evenly("abc", 9, also="") == ["a", "b", "c"]
    assert evenly("abc", 1, also="c") == ["a", "c"]
