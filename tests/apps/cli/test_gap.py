"""``align gap``, run as a user runs it."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from align.apps import cli
from probes.reporting.document import Report

COLUMNS = ["--source", "caption", "--target", "image", "--group", "image"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Forty-eight pictures with a caption each, half of them for training."""
    words = ("dog", "cat", "beach", "bridge", "red", "blue", "sits")
    for part, numbers in (("train", range(24)), ("test", range(24, 48))):
        lines = ["caption,image"]
        for number in numbers:
            picture = Image.new("RGB", (32, 32), (5 * number, 255 - 5 * number, 99))
            picture.save(tmp_path / f"{number}.png")
            said = " ".join((words[number % 7], words[number // 7], "runs", f"number {number}"))
            lines.append(f"{said},{number}.png")
        (tmp_path / f"{part}.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder):
    def call(*words):
        result = CliRunner().invoke(cli.app, [str(word) for word in words])
        if result.exception is not None:
            raise result.exception
        return result

    return call


@pytest.fixture
def archive(folder):
    rng_numpy = np.random.default_rng(0)
    shared = rng_numpy.standard_normal((60, 6))
    np.savez(
        folder / "pairs.npz",
        source=shared @ rng_numpy.standard_normal((6, 12)),
        target=shared @ rng_numpy.standard_normal((6, 9)),
        groups=np.array([f"group {i // 2}" for i in range(60)]),
    )
    return folder / "pairs.npz"


def test_items_are_encoded_aligned_and_reported_with_their_pictures(run, folder, sbert, vit):
    encoders = ["--source-encoder", f"text:{sbert}", "--target-encoder", f"image:{vit}"]
    run("fit", "train.csv", *COLUMNS, *encoders, "-o", "adapter", "--store", "store")
    printed = run(
        "gap", "adapter", "test.csv", *COLUMNS, "--store", "store",
        "-o", "report.html", "-o", "report.json",
    )  # fmt: skip
    assert "Pairing:" in printed.stdout and "written to report.html" in printed.stdout
    held = Report.from_json((folder / "report.json").read_text())
    assert held.columns[:3] == ("raw", "aligned", "centred")
    assert held.provenance.pairs == 24
    page = (folder / "report.html").read_text()
    assert "number 30" in page and "data:image/" in page


@pytest.mark.usefixtures("folder")
def test_an_archive_of_embeddings_needs_no_encoder(run, archive):
    found = json.loads(run("gap", archive, "--json", "--seed", 5).stdout)
    assert found["provenance"]["groups"] == 30
    assert found["provenance"]["seed"] == 5
    assert found["provenance"]["source_dim"] == 12


def test_a_share_can_be_held_out_by_group(run, archive):
    found = json.loads(run("gap", archive, "--json", "--test", 0.8).stdout)
    assert found["provenance"]["pairs"] == 48 and found["provenance"]["groups"] == 24


def said_in_error(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["align", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    return capsys.readouterr().err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gap", "test.csv"], "a table needs --source and --target"),
        (["gap", "test.csv", *COLUMNS], "none by --source-encoder and --target-encoder"),
        (["gap", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, capsys, words, message):
    assert message in said_in_error(monkeypatch, capsys, *words)


def test_a_format_nobody_can_write_is_refused_before_anything_is_measured(
    monkeypatch, capsys, archive
):
    said = said_in_error(monkeypatch, capsys, "gap", archive, "-o", "report.pdf")
    assert ".html, .md, .json, .txt" in said and "probe" not in said.split("error:")[0]


def test_columns_beside_an_archive_are_refused_and_not_ignored(monkeypatch, capsys, archive):
    said = said_in_error(monkeypatch, capsys, "gap", archive, "--group", "photo")
    assert "got --group photo beside" in said


def test_a_page_without_matplotlib_is_refused_before_anything_is_measured(
    monkeypatch, capsys, archive
):
    monkeypatch.setattr("probes.reporting.document.find_spec", lambda name: None)
    said = said_in_error(monkeypatch, capsys, "gap", archive, "-o", "report.html")
    assert "isthmus[report]" in said and "probe/s" not in said


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"source": np.ones((30, 3))}, r"holds \['source'\]"),
        ({"source": np.ones((3, 2)), "target": np.ones((3, 2)), "y": np.ones(3)}, "'y'"),
        ({"source": np.ones((3, 2)), "target": np.ones((4, 2))}, "row-matched"),
        ({"source": np.ones((3, 2)), "target": np.array([{}] * 3)}, "allow_pickle"),
    ],
)
def test_an_archive_that_does_not_hold_pairs_is_refused(tmp_path, arrays, message):
    from align.data.archives import read_npz

    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_npz(tmp_path / "bad.npz")


@pytest.fixture
def kinds(folder):
    """The test pairs with what each is; ids of their own."""
    lines = (folder / "test.csv").read_text().splitlines()
    rows = [f"{line},p{at},{'wet' if at % 3 else 'dry'}" for at, line in enumerate(lines[1:])]
    (folder / "kinds.csv").write_text("\n".join([f"{lines[0]},name,kind", *rows]))
    return folder / "kinds.csv"


@pytest.mark.parametrize("ids", [(), ("--id", "name")])
def test_recall_of_each_kind_is_shown(run, kinds, sbert, vit, ids):
    encoders = ["--source-encoder", f"text:{sbert}", "--target-encoder", f"image:{vit}"]
    run("fit", "train.csv", *COLUMNS, *encoders, "-o", "adapter")
    shown = run("evaluate", "adapter", kinds, *ids, "--by", "kind").output
    assert "wet" in shown and "minus others" in shown
    told = run("gap", "adapter", kinds, *ids, "--by", "kind", "--probes", "recall_at_10", "--json")
    found = {each["label"]: each["pairs"] for each in json.loads(told.stdout)["subgroups"]}
    assert found == {"wet": 16, "dry": 8}


def test_a_kind_must_be_a_column_and_filled(run, kinds, sbert, vit):
    encoders = ["--source-encoder", f"text:{sbert}", "--target-encoder", f"image:{vit}"]
    run("fit", "train.csv", *COLUMNS, *encoders, "-o", "adapter")
    with pytest.raises(ValueError, match="Did you mean 'kind'"):
        run("evaluate", "adapter", kinds, "--by", "kinds")
    kinds.write_text(kinds.read_text().replace(",wet", ",", 1))
    with pytest.raises(ValueError, match="1 of 24 cells are empty, the first of pair '1'"):
        run("evaluate", "adapter", kinds, "--by", "kind")


def test_an_archive_has_no_column_of_kinds(run, archive):
    with pytest.raises(ValueError, match="has no columns"):
        run("gap", archive, "--by", "kind")
