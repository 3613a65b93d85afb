"""Commands on embeddings that were made elsewhere: no encoder, no columns."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import align
from align.apps import cli
from align.data.embeddings import read_npz


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Planted pairs: both sides are turned and noisy views of six hidden numbers."""
    rng_numpy = np.random.default_rng(0)
    turns = rng_numpy.standard_normal((6, 12)), rng_numpy.standard_normal((6, 9))
    for name, n in (("train", 90), ("test", 40)):
        shared = rng_numpy.standard_normal((n, 6))
        np.savez(
            tmp_path / f"{name}.npz",
            source=shared @ turns[0],
            target=shared @ turns[1],
            ids=np.array([f"{name} {i}" for i in range(n)]),
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder):
    def call(*words, code=0):
        result = CliRunner().invoke(cli.app, [str(word) for word in words])
        if code == 0 and result.exception is not None:
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def fitted(run):
    run("fit", "train.npz", "-o", "adapter", "--effort", "fast")
    return "adapter"


def test_fit_and_evaluate_take_an_archive(run, fitted, folder):
    adapter = align.load(folder / fitted)
    assert adapter.card.n_pairs == 90 and adapter.card.encoders == {}
    scores = json.loads(run("evaluate", fitted, "test.npz", "--json").stdout)
    expected = align.evaluate(read_npz(folder / "test.npz"), adapter)
    assert scores == json.loads(json.dumps(expected.to_dict()))
    assert scores["source_to_target"]["recall_at_10"]["value"] > 0.9


@pytest.mark.usefixtures("fitted")
def test_the_adapter_stands_before_the_pairs_and_may_follow_where_that_is_plain(run):
    first, second = (
        json.loads(run("gap", *words, "--json").stdout)
        for words in (("adapter", "test.npz"), ("test.npz", "adapter"))
    )
    assert "aligned" in json.dumps(first["headline"])
    first.pop("provenance"), second.pop("provenance")
    assert first == second
    assert list(first)[1:3] == ["caution", "verdict"]


@pytest.mark.usefixtures("folder")
def test_three_paths_to_gap_are_a_usage_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["align", "gap", "a", "b", "c"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "got 3 paths" in said
    assert "gap [OPTIONS] [ADAPTER] PAIRS\n" in said


@pytest.mark.parametrize("command", [("fit",), ("evaluate", "adapter"), ("gap",)])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "caption"), "--source caption"),
        (("--source-encoder", "text:a"), "--source-encoder text:a"),
    ],
)
def test_columns_and_encoders_beside_an_archive_are_refused(run, fitted, command, words, said):
    out = ("-o", "other") if command == ("fit",) else ()
    with pytest.raises(ValueError, match=f"got {said} beside train.npz"):
        run(*command, "train.npz", *words, *out)


def test_a_table_without_encoders_says_which_option_names_them(run, folder):
    (folder / "a.csv").write_text("x,y\na,b\n")
    columns = ("--source", "x", "--target", "y")
    with pytest.raises(ValueError, match=r"got none by --target-encoder for a\.csv"):
        run("fit", "a.csv", *columns, "--source-encoder", "text:a", "-o", "b")


def test_python_m_align_is_the_command(folder):
    words = [sys.executable, "-m", "align", "--version"]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"isthmus {align.__version__}"
