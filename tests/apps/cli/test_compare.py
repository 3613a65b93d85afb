"""``align compare`` on embeddings that were made elsewhere, and on what it refuses."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import align
from align.apps import cli
from align.data.archives import read_npz


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Planted pairs, and two adapters: one of 90 pairs and one of 30."""
    rng_numpy = np.random.default_rng(0)
    turns = rng_numpy.standard_normal((6, 12)), rng_numpy.standard_normal((6, 9))
    parts = {}
    for name, n in (("train", 90), ("test", 120)):
        shared = rng_numpy.standard_normal((n, 6))
        noise = rng_numpy.standard_normal((n, 12)), rng_numpy.standard_normal((n, 9))
        sides = (shared @ turns[0] + noise[0], shared @ turns[1] + noise[1])
        ids = np.array([f"{name} {i}" for i in range(n)])
        np.savez(tmp_path / f"{name}.npz", source=sides[0], target=sides[1], ids=ids)
        parts[name] = read_npz(tmp_path / f"{name}.npz")
    align.fit(parts["train"], effort="fast").save(tmp_path / "many")
    align.fit(parts["train"].take(range(30)), effort="fast").save(tmp_path / "few")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, code=0):
    result = CliRunner().invoke(cli.app, ["compare", *map(str, words)])
    if code == 0 and result.exception is not None:
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_adapters_are_compared_as_by_the_function_and_called_by_their_folders(folder):
    said = json.loads(run("few", "many", "test.npz", "--json").stdout)
    test = read_npz(folder / "test.npz")
    wanted = align.compare({name: align.load(folder / name) for name in ("few", "many")}, test)
    assert said == json.loads(wanted.to_json())
    assert said["baseline"] == "few"
    assert wanted.row("mean_reciprocal_rank").differences["many"].value != 0


def test_what_is_printed_fits_and_every_file_is_written(folder):
    said = run("few", "many", "test.npz", "-o", "out.html", "-o", "out.md", "-o", "out.png").stdout
    assert max(map(len, said.split("\n"))) <= 100
    assert "many finds more partners than few" in said or "No difference" in said
    assert "written to out.html" in said
    assert all((folder / f"out.{ending}").is_file() for ending in ("html", "md", "png"))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("few", "test.npz"), "at least two adapters are compared; got 1"),
        (("few", "few", "test.npz"), "each adapter is named once"),
    ],
)
def test_a_wrong_call_is_a_usage_error(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["align", "compare", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and message in said
    assert "ADAPTER ADAPTER... PAIRS" in said


@pytest.mark.usefixtures("folder")
def test_an_ending_that_is_not_known_is_refused_before_anything_is_read():
    result = run("few", "nowhere", "test.npz", "-o", "out.pdf", code=1)
    assert "can be saved as" in str(result.exception)


def test_folders_of_one_name_are_called_by_their_paths(folder):
    (folder / "old").mkdir()
    (folder / "few").rename(folder / "old" / "many")
    said = json.loads(run("old/many", "many", "test.npz", "--json").stdout)
    assert said["systems"] == ["old/many", "many"]
