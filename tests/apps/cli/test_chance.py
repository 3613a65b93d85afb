"""What the command line says of chance and of training pairs, and what it checks beforehand."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from typer.testing import CliRunner

import align
from align.apps import cli
from align.data.repeats import RepeatedItems
from align.encoders.callable import CallableEncoder
from align.metrics.chance import NoBetterThanChance
from align.metrics.evaluation import NotHeldOut
from tests.helpers.planted import shared_factors

N = 90
SIDES = shared_factors(N, (10, 8), shared=4, noise=0.3)
ENCODED: list[str] = []


def _encoder(side, version="1"):
    def encode(texts):
        ENCODED.extend(texts)
        return torch.stack([SIDES[side][int(text.split()[1])] for text in texts])

    return CallableEncoder(encode, name=f"side {side}, {version}", dim=SIDES[side].shape[1])


def source():
    return _encoder(0)


def other_source():
    return _encoder(0, version="2")


def target():
    return _encoder(1)


ENCODERS = [
    "--source-encoder", f"python:{__name__}:source",
    "--target-encoder", f"python:{__name__}:target",
]  # fmt: skip
COLUMNS = ["--source", "a", "--target", "b"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    ENCODED.clear()
    monkeypatch.chdir(tmp_path)
    rows = {
        "train": [(row, row) for row in range(60)],
        "test": [(row, row) for row in range(60, N)],
        "mixed": [(row, row) for row in range(40, N)],
        "shuffled": [(row, (7 * row + 3) % 60) for row in range(60)],
    }
    for name, pairs in rows.items():
        lines = ["a,b,c", *(f"item {one},item {two},x" for one, two in pairs)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))

    def call(*words, code=0):
        result = CliRunner().invoke(cli.app, [str(word) for word in words])
        if code == 0 and result.exception is not None:
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


def fit(run, name="train", *words, code=0):
    return run(
        "fit", f"{name}.csv", *COLUMNS, *ENCODERS, "-o", "adapter", "--store", "store",
        "--effort", "fast", *words, code=code,
    )  # fmt: skip


def evaluate(run, name, *words):
    return run(
        "evaluate", "adapter", f"{name}.csv", *COLUMNS, *ENCODERS, "--store", "store", *words
    )


def test_the_verdict_of_fit_begins_with_chance(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = fit(run).stdout
    assert "finds pairs " in said and " times as often as chance (R@1 " in said
    assert "a random order" in said


def test_shuffled_pairs_are_warned_of_and_saved(run, tmp_path):
    with pytest.warns(NoBetterThanChance, match="are the rows matched"):
        card = json.loads(fit(run, "shuffled", "--json").stdout)["card"]
    assert card["better_than_chance"] is False and (tmp_path / "adapter").is_dir()
    assert all(0 < each["chance_at_10"] <= 1 for each in card["candidates"])


def test_a_fit_that_must_be_better_saves_nothing_and_exits_with_one(run, tmp_path):
    found = fit(run, "shuffled", "--require-better-than-chance", code=1)
    assert "--require-better-than-chance asks for" in str(found.exception)
    assert "no better than chance" in str(found.exception)
    assert not (tmp_path / "adapter").exists()
    fit(run, "train", "--require-better-than-chance")
    assert (tmp_path / "adapter").is_dir()


def test_tune_can_require_more_than_chance(run, tmp_path):
    tune = [
        "tune", "shuffled.csv", *COLUMNS, *ENCODERS, "-o", "tuned", "--study", "journal",
        "--trials", 1, "--store", "store", "--require-better-than-chance",
    ]  # fmt: skip
    assert "asks for held-out pairs" in str(run(*tune, code=1).exception)
    assert not (tmp_path / "tuned").exists()


@pytest.mark.filterwarnings("always::align.metrics.chance.NoBetterThanChance")
@pytest.mark.usefixtures("run")
def test_the_warning_is_loud_on_a_terminal_and_plain_elsewhere(capsys, monkeypatch):
    words = ["align", "fit", "shuffled.csv", *COLUMNS, *ENCODERS, "-o", "adapter"]
    monkeypatch.setattr(sys, "argv", [*words, "--effort", "fast", "--store", "store"])
    for strip in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda strip=strip: not strip)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        stderr = capsys.readouterr().err
        assert not ended.value.code
        assert "NoBetterThanChance: this adapter is no better than chance" in stderr
        assert ("\x1b[33m" in stderr) is not strip


def test_training_pairs_are_warned_of_wherever_they_are_measured(run):
    fit(run)
    with pytest.warns(NotHeldOut, match="20 of the 50 pairs were trained on; these values are not"):
        found = json.loads(evaluate(run, "mixed", "--json").stdout)
    assert (found["trained_on"], found["pairs"]) == (20, 50)
    assert found["mean"]["recall_at_1"]["chance"] == pytest.approx(1 / 50)
    found = json.loads(evaluate(run, "test", "--json").stdout)
    assert found["trained_on"] == 0
    with pytest.warns(NotHeldOut, match="60 of the 60 pairs were trained on"):
        run("gap", "adapter", "train.csv", *COLUMNS, *ENCODERS, "--store", "store")


def test_chance_stands_in_the_table_of_evaluate(run):
    fit(run)
    said = evaluate(run, "test").stdout
    assert said.count("chance") == 3 and "3.3" in said


def test_an_adapter_without_training_ids_is_noted(run):
    fit(run)
    adapter = align.load("adapter")
    adapter.training_items = None
    adapter.save("adapter")
    result = evaluate(run, "train", "--json")
    assert "does not remember its training pairs" in result.stderr
    assert json.loads(result.stdout)["trained_on"] is None


def test_repeated_items_without_a_group_are_warned_of(run, tmp_path):
    lines = ["a,b", *(f"item {row},item {row // 5}" for row in range(60))]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    with pytest.warns(RepeatedItems, match="60 of 60 pairs whose target item"):
        fit(run, "captions")


PLACES = {
    "fit": ("fit", "train.csv", *COLUMNS, *ENCODERS, "-o"),
    "tune": ("tune", "train.csv", *COLUMNS, *ENCODERS, "--study", "journal", "-o"),
    "upgrade": (
        "upgrade", f"python:{__name__}:source", f"python:{__name__}:target", "train.csv",
        "--column", "a", "-o",
    ),
    "curate": ("curate", "train.csv", *COLUMNS, *ENCODERS, "-o"),
    "gap": ("gap", "adapter", "train.csv", *COLUMNS, *ENCODERS, "-o"),
    "index": (
        "index", "adapter", "train.csv", "--column", "b", "--encoder",
        f"python:{__name__}:target", "-o",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_encoded(name, run, tmp_path):
    if "adapter" in PLACES[name]:
        fit(run)
        ENCODED.clear()
    (tmp_path / "file").write_text("kept")
    ending = ".html" if name == "gap" else ""
    found = run(*PLACES[name], f"file/inside{ending}", "--store", "other", code=1)
    assert isinstance(found.exception, NotADirectoryError), found.exception
    assert "Choose another place, or remove the file" in str(found.exception)
    taken = f"taken{ending}"
    if name in ("gap", "curate"):
        (tmp_path / taken).mkdir()
    else:
        (tmp_path / taken).write_text("kept")
    found = run(*PLACES[name], taken, "--store", "other", code=1)
    assert isinstance(found.exception, OSError), found.exception
    assert ENCODED == []


def test_a_folder_of_something_else_is_refused_before_anything_is_encoded(run, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/thesis.tex").write_text("kept")
    assert isinstance(fit(run, code=1).exception, FileExistsError)
    assert ENCODED == []


@pytest.mark.parametrize("words", [["--figures", "file"], ["--study", "folder"]])
def test_the_other_places_of_tune_are_looked_at_too(words, run, tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    asked = ["tune", "train.csv", *COLUMNS, *ENCODERS, "-o", "tuned", "--study", "journal"]
    found = run(*asked, *words, "--store", "store", code=1)
    assert isinstance(found.exception, OSError) and ENCODED == []


def test_a_second_encoder_that_is_not_there_is_found_before_the_first_encodes(run):
    words = [*COLUMNS, ENCODERS[0], ENCODERS[1], "--target-encoder", "text:no/such/folder"]
    found = run("fit", "train.csv", *words, "-o", "adapter", "--store", "store", code=1)
    assert found.exception is not None and ENCODED == []
    found = run("curate", "train.csv", *words, "-o", "out.csv", "--store", "store", code=1)
    assert found.exception is not None and ENCODED == []
    found = run(
        "upgrade", ENCODERS[1], "text:no/such/folder", "train.csv", "--column", "a", "-o", "up",
        "--store", "store", code=1,
    )  # fmt: skip
    assert found.exception is not None and ENCODED == []


def test_an_encoder_of_another_adapter_is_refused_before_anything_is_encoded(run):
    fit(run)
    ENCODED.clear()
    other = ["--source-encoder", f"python:{__name__}:other_source", *ENCODERS[2:]]
    for command in (
        ["evaluate", "adapter", "test.csv", *COLUMNS, *other],
        ["gap", "adapter", "test.csv", *COLUMNS, *other],
        ["index", "adapter", "test.csv", "--column", "a", "--side", "source", "--encoder",
         f"python:{__name__}:other_source", "-o", "idx"],
    ):  # fmt: skip
        found = run(*command, "--store", "other", code=1)
        assert "source side was fitted on vectors of" in str(found.exception)
    assert ENCODED == []


def test_columns_that_are_not_there_are_found_before_anything_is_encoded(run):
    fit(run, "train", "--group", "nothing", code=1)
    fit(run, "train", "--id", "nothing", code=1)
    assert ENCODED == []
