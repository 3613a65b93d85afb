"""``align scout``, run as a user runs it."""

from __future__ import annotations

import json
from itertools import product

import pytest
from typer.testing import CliRunner

import align
from align.apps import cli

WORDS = ("dog", "cat", "beach", "bridge", "red", "blue", "sits", "runs")


@pytest.fixture
def run(tmp_path, monkeypatch, bert, sbert):
    lines = ["a,b"]
    lines += [f"{one} {two},{two} {one} {two}" for one, two in product(WORDS, WORDS)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)

    def call(*words, pairs="pairs.csv", code=0):
        asked = [
            "scout", pairs, "--source", "a", "--target", "b", "--most-parts", "1",
            "--source-encoder", f"text:{bert}?pooling=mean", "--source-encoder", f"text:{sbert}",
            "--target-encoder", f"text:{bert}?pooling=max", "--store", "store", *words,
        ]  # fmt: skip
        result = CliRunner().invoke(cli.app, asked)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return call


def test_the_table_ends_with_words_that_fit_takes(run, bert, sbert, tmp_path):
    said = run("--figure", "scout.png").stdout
    assert "behind the best" in said and "chance: a random order" in said
    assert (tmp_path / "scout.png").read_bytes().startswith(b"\x89PNG")
    best = next(line for line in said.split("\n") if line.startswith("the best, for align fit:"))
    words = best.partition(":     ")[2].replace("'", "").split()
    fitted = CliRunner().invoke(
        cli.app,
        ["fit", "pairs.csv", "--source", "a", "--target", "b", "-o", "out", *words, "--store", "s"],
    )
    assert fitted.exit_code == 0, fitted.output


def test_json_has_every_candidate_and_layers_can_be_left_out(run, sbert):
    found = json.loads(run("--json").stdout)
    few = json.loads(run("--no-layers", "--json").stdout)
    assert found["pairs"] == 64
    assert len(few["candidates"]) == 2  # those that were named
    named = align.load_encoder(f"text:{sbert}").variants()
    assert len(found["candidates"]) == 1 + len(named)  # the other has a pooling already
    assert found["best"] == found["candidates"][0]


def test_an_archive_of_vectors_is_refused(run, tmp_path):
    (tmp_path / "pairs.npz").write_bytes(b"")
    result = run(pairs="pairs.npz", code=1)
    assert "holds vectors that were encoded before" in str(result.exception)
