"""``align tune``, run as a user runs it, interrupted and taken up again."""

from __future__ import annotations

import json
from itertools import product

import pytest
from typer.testing import CliRunner

import align
from align.apps import cli
from align.fitting.tuning.setting import SettingScorer

WORDS = ("dog", "cat", "beach", "bridge", "red", "blue", "sits", "runs")


@pytest.fixture
def run(tmp_path, monkeypatch, bert, sbert):
    lines = ["a,b"]
    lines += [f"{one} {two},query {two} under a {one} bridge" for one, two in product(WORDS, WORDS)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)

    def call(*words, code=0):
        asked = [
            "tune", "pairs.csv", "--source", "a", "--target", "b", "-o", "tuned",
            "--source-encoder", f"text:{bert}", "--target-encoder", f"text:{sbert}",
            "--study", "study.journal", "--store", "store", *words,
        ]  # fmt: skip
        result = CliRunner().invoke(cli.app, asked)
        if code == 0 and result.exception is not None:
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


def test_an_interrupted_search_resumes(run, monkeypatch, tmp_path):
    tried = []
    on_fold = SettingScorer.on_fold

    def interrupted(judge, cv, setting, fold):
        if setting not in tried:
            tried.append(setting)
        if len(tried) == 4:
            raise KeyboardInterrupt
        return on_fold(judge, cv, setting, fold)

    with monkeypatch.context() as patch:
        patch.setattr(SettingScorer, "on_fold", interrupted)
        said = run("--trials", "12", code=130).stderr
    assert "trials are kept in study.journal; run it again to go on." in said
    assert not (tmp_path / "tuned").exists()

    left = []

    def counted(judge, cv, setting, fold):
        left.append(setting)
        return on_fold(judge, cv, setting, fold)

    monkeypatch.setattr(SettingScorer, "on_fold", counted)
    printed = json.loads(run("--trials", "12", "--json").stdout)
    assert printed["trials"] == 12
    # At the end the chosen setting is scored once more, on all 25 folds.
    assert left[0] == tried[3] and not set(tried[:3]) & set(left[:-25])


def test_the_best_within_a_budget_is_written_and_remembers_its_encoders(run, tmp_path, bert):
    with pytest.raises(ValueError, match=r"max_bytes must be at least the .* got 3"):
        run("--trials", "12", "--max-bytes", "3")
    assert not (tmp_path / "tuned").exists()
    printed = json.loads(run("--trials", "12", "--max-bytes", "40", "--json").stdout)
    assert printed["chosen"]["bytes_per_item"] <= 40
    assert printed["chosen"] == [t for t in printed["front"] if t["bytes_per_item"] <= 40][-1]
    assert printed["pruned"] + len(printed["card"]["candidates"]) == 12
    adapter = align.load(tmp_path / "tuned")
    assert adapter.card.encoders["source"] == f"text:{bert}"
    assert json.loads(json.dumps(adapter.card.to_dict())) == printed["card"]
    index = ["index", "tuned", "pairs.csv", "--column", "b", "-o", "idx", "--store", "store"]
    assert CliRunner().invoke(cli.app, index).exit_code == 0


def test_the_front_is_printed_and_figures_are_written(run, tmp_path):
    said = run("--trials", "12", "--figures", "drawn").stdout
    assert "the front of 12 trials" in said and "centering(dim" in said
    assert "written to drawn/front.png" in said and "saved to tuned" in said
    with pytest.raises(ValueError, match=r"dims must rise and lie in \[1, 16\]"):
        run("--dims", "4", "17")
    assert {"front.png", "slices.png"} <= {path.name for path in (tmp_path / "drawn").iterdir()}
