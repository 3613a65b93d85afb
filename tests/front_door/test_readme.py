"""The README's Python blocks run as they stand, beside the files that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

import align

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.fixture
def in_a_folder_of_pictures(tmp_path, monkeypatch, sbert, vit):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/text").symlink_to(sbert)
    (tmp_path / "models/image").symlink_to(vit)
    lines = ["caption,image,photo"]
    for number in range(40):
        Image.new("RGB", (32, 32), (6 * number, 255 - 6 * number, 99)).save(
            tmp_path / f"{number}.png"
        )
        lines += [f"picture {number} seen {times},{number}.png,{number}" for times in ("a", "b")]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)


def test_the_readme_has_its_six_examples():
    assert len(BLOCKS) == 6


def test_starting_from_arrays_finds_the_planted_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(BLOCKS[0], names)
    verdict, recall = capsys.readouterr().out.splitlines()
    assert "scored best" in verdict
    assert float(recall.split()[1].rstrip(",")) > 0.3
    assert len(names["best"]) == 3


@pytest.mark.usefixtures("in_a_folder_of_pictures")
def test_starting_from_items_runs_with_tiny_models(capsys):
    names: dict[str, object] = {}
    exec(BLOCKS[1], names)
    train, test, adapter = (names[name] for name in ("train", "test", "adapter"))
    ours = align.evaluate(test, adapter).mean["recall_at_10"].value
    assert float(capsys.readouterr().out) == ours
    assert adapter.card.n_pairs == len(train)


def test_a_running_retriever_answers_the_other_side(capsys):
    names: dict[str, object] = {}
    exec(BLOCKS[2], names)
    assert capsys.readouterr().out.startswith("[Hit(id=500, score=")


def test_training_starts_from_the_fitted_adapter(capsys):
    names: dict[str, object] = {}
    exec(BLOCKS[3], names)
    assert "trained on 400 pairs for 20 of 20 steps" in capsys.readouterr().out
    assert names["trained"].dim == names["adapter"].dim


def test_measuring_a_planted_gap_says_what_was_planted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(BLOCKS[4], names)
    said = capsys.readouterr().out
    assert "the centroids lie apart" in said and "The two sides are not aligned" in said
    report = names["report"]
    assert report.row("linear_cka").readings["centred"].value > 0.99
    assert "<title>" in (tmp_path / "gap.html").read_text()


def test_late_interaction_finds_the_items_that_the_queries_were_cut_from(capsys):
    exec(BLOCKS[5], {})
    printed = capsys.readouterr().out
    assert printed.startswith("tensor([[")
    assert printed.rstrip().endswith("[2]])")
