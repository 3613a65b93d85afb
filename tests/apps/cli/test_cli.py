"""The command line, run as a user runs it, on tiny models and pictures made here."""

from __future__ import annotations

import json
import sqlite3
import sys
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

import align
from align.apps import cli
from align.encoders.spec import load_encoder

COLUMNS = ["--source", "caption", "--target", "image"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Sixty pictures, each with two captions, half of them for training."""
    for part, numbers in (("train", range(30)), ("test", range(30, 60))):
        lines = ["id,caption,image,photo"]
        for number in numbers:
            picture = Image.new("RGB", (32, 32), (4 * number, 255 - 4 * number, 99))
            picture.save(tmp_path / f"{number}.png")
            lines += [f"{number}{s},{s} dog {number},{number}.png,{number}" for s in ("a", "red")]
        (tmp_path / f"{part}.csv").write_text("\n".join(lines))
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
def fitted(run, sbert, vit):
    encoders = ["--source-encoder", f"text:{sbert}", "--target-encoder", f"image:{vit}"]
    found = run(
        "fit", "train.csv", *COLUMNS, *encoders, "--group", "photo", "--id", "id",
        "-o", "adapter", "--store", "store", "--json",
    )  # fmt: skip
    return json.loads(found.stdout)


def test_fit_writes_an_adapter_and_prints_its_card_as_json(fitted, folder):
    assert fitted["card"]["n_pairs"] == 60 and fitted["card"]["n_groups"] == 30
    assert fitted["card"]["encoders"]["source"].startswith("text:")
    assert (folder / "adapter/model.safetensors").exists()


@pytest.mark.usefixtures("fitted")
def test_the_commands_evaluate_index_and_search(run):
    found = run(
        "evaluate", "adapter", "test.csv", *COLUMNS, "--group", "photo", "--store", "store",
        "--json",
    )  # fmt: skip
    scores = json.loads(found.stdout)
    again = run("evaluate", "adapter", "test.csv", "--group", "photo", "--store", "store", "--json")
    assert json.loads(again.stdout) == scores  # the columns that it was fitted on
    assert scores["source_to_target"]["gallery"] == 30  # sixty captions of thirty pictures
    data = align.Pairs.from_csv("test.csv", source="caption", target="image", group="photo")
    adapter = align.load("adapter")
    encoders = (load_encoder(adapter.card.encoders[side]) for side in ("source", "target"))
    found = align.evaluate(data.encode(*encoders), adapter)
    assert scores == json.loads(json.dumps(found.to_dict()))

    indexed = run(
        "index", "adapter", "test.csv", "--column", "image", "-o", "idx", "--store", "store",
        "--json",
    )  # fmt: skip
    assert json.loads(indexed.stdout) == {
        "index": "idx", "items": 30, "repeats": 30, "added": 30, "updated": 0, "unchanged": 0,
    }  # fmt: skip
    hits = json.loads(run("search", "idx", "a dog 31", "-k", 4, "--json").stdout)
    assert len(hits) == 4 and [hit["score"] for hit in hits] == sorted(
        (hit["score"] for hit in hits), reverse=True
    )
    assert all(hit["id"].endswith(".png") for hit in hits)
    assert {hit["modality"] for hit in hits} == {"image"}
    assert all(hit["metadata"]["path"].endswith(hit["id"]) for hit in hits)
    assert "31.png" in run("search", "idx", "a dog 31", "-k", 30).stdout
    why = json.loads(run("search", "idx", "a dog 31", "--explain", "--json").stdout)
    assert why[0]["explanation"]["score"] == pytest.approx(why[0]["score"], abs=1e-5)
    assert "explanation" not in why[1]
    assert "directions add" in run("search", "idx", "a dog 31", "--explain").stdout
    path = hits[2]["metadata"]["path"]
    only = run("search", "idx", "a dog 31", "--where", f"path={path}", "--json")
    # Among fewer items it is surer.
    assert json.loads(only.stdout) == [{**hits[2], "confidence": 1.0}]
    assert 0 < hits[2]["confidence"] < hits[0]["confidence"] < 1
    none = run("search", "idx", "a dog 31", "--where", "modality=text", "--json")
    assert json.loads(none.stdout) == []
    with pytest.raises(ValueError, match=r"must be FIELD=VALUE; got 'image'"):
        run("search", "idx", "a dog 31", "--where", "image")
    with pytest.raises(ValueError, match=r"none has 'colour'. .*such as \['modality', 'path'\]"):
        run("search", "idx", "a dog 31", "--where", "colour=red")
    with pytest.raises(ValueError, match=r"a modality is one of text, image.*got 'imgae'"):
        run("search", "idx", "a dog 31", "--where", "modality=imgae")
    # This index is asked by texts, so a picture cannot ask, and its name is no text.
    for name in (path, "nowhere.JPG", "https://example.org/a.png"):
        with pytest.raises(ValueError, match=r"no encoder of pictures.*modality=.text"):
            run("search", "idx", name, "--json")
        assert json.loads(run("search", "idx", name, "--modality", "text", "--json").stdout)

    described = ("index", "adapter", "test.csv", "--column", "image", "--id", "id", "--metadata")
    with pytest.raises(ValueError, match="path and text hold the item itself; got --metadata path"):
        run(*described, "path", "-o", "described", "--store", "store")
    with pytest.raises(ValueError, match="id '30red' is of the item of row 1"):
        run(*described, "photo", "-o", "described", "--store", "store")
    first = ("photo", "--skip-bad", "--dtype", "int8")
    run(*described, *first, "-o", "described", "--store", "store")
    (hit,) = json.loads(run("search", "described", "a", "--where", "photo=41", "--json").stdout)
    assert (hit["id"], hit["metadata"]["photo"]) == ("41a", "41")

    adding = ("index", "adapter", "train.csv", "--column", "image", "-o", "idx", "--add")
    with pytest.raises(ValueError, match=r"got the same adapter, source and float32"):
        run(*adding, "--store", "store", "--side", "source")
    assert "60 items" in run(*adding, "--store", "store").stdout


@pytest.mark.usefixtures("fitted")
@pytest.mark.filterwarnings("ignore::align.data.repeats.RepeatedItems")
def test_tables_are_printed_for_people(run):
    printed = run("evaluate", "adapter", "test.csv", *COLUMNS, "--store", "store").stdout
    assert "caption → image" in printed and "R@10" in printed
    run("index", "adapter", ".", "-o", "idx", "--store", "store")
    assert "60 items" in run("index", "adapter", ".", "-o", "idx2", "--store", "store").stdout


@pytest.mark.usefixtures("fitted")
@pytest.mark.filterwarnings("ignore::align.data.repeats.RepeatedItems")
def test_a_second_run_encodes_nothing_and_the_store_can_be_looked_at(run):
    before = json.loads(run("store", "stat", "--store", "store", "--json").stdout)
    run("evaluate", "adapter", "train.csv", *COLUMNS, "--store", "store", "--json")
    after = json.loads(run("store", "stat", "--store", "store", "--json").stdout)
    assert before == after and sorted(row["items"] for row in after) == [30, 60]
    assert json.loads(run("store", "verify", "--store", "store", "--json").stdout) == []
    # Nothing is unused, so nothing may go.
    run("store", "prune", "--store", "store", "--json")
    assert json.loads(run("store", "stat", "--store", "store", "--json").stdout) == after


def test_a_damaged_store_makes_verify_exit_with_one(run, fitted, folder):
    db = sqlite3.connect(folder / "store" / "store.sqlite")
    with db:
        db.execute("UPDATE items SET sha256 = zeroblob(32) WHERE id = 1")
    db.close()
    assert "1 problems" in run("store", "verify", "--store", "store", code=1).stdout


def as_typed(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["align", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code


@pytest.mark.usefixtures("folder")
def test_an_error_is_one_message_without_a_traceback(monkeypatch, capsys):
    assert as_typed(monkeypatch, "search", "nowhere", "a dog") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said


@pytest.mark.usefixtures("folder")
def test_debug_shows_the_traceback(monkeypatch, capsys):
    assert as_typed(monkeypatch, "--debug", "search", "nowhere", "a dog") == 1
    assert capsys.readouterr().err.startswith("Traceback")


@pytest.mark.usefixtures("folder")
def test_an_unknown_option_is_a_usage_error(monkeypatch):
    assert as_typed(monkeypatch, "fit", "--what") == 2


def test_bad_rows_are_listed_and_skipped_on_request(run, sbert, vit, folder, monkeypatch, capsys):
    with (folder / "train.csv").open("a") as file:
        file.write("\nlost,a dog,lost.png,99")
    asked = [
        "fit", "train.csv", *COLUMNS, "--group", "photo", "-o", "a", "--store", "store",
        "--source-encoder", f"text:{sbert}", "--target-encoder", f"image:{vit}",
    ]  # fmt: skip
    assert as_typed(monkeypatch, *asked) == 1
    assert "lost.png" in capsys.readouterr().err
    assert "lost.png" in run(*asked, "--skip-bad").stderr


def test_an_adapter_that_names_no_encoder_needs_one(run, fitted, folder):
    adapter = align.load(folder / "adapter")
    adapter.card = replace(adapter.card, encoders={})
    adapter.save(folder / "adapter")
    with pytest.raises(ValueError, match=r"the target encoder must be known"):
        run("index", "adapter", ".", "-o", "idx", "--store", "store")


def test_vectors_of_another_encoder_are_refused_naming_both(run, fitted, bert):
    with pytest.raises(ValueError, match="fitted on vectors of"):
        run(
            "evaluate", "adapter", "test.csv", *COLUMNS, "--store", "store",
            "--source-encoder", f"code:{bert}",
        )  # fmt: skip


def test_version_is_that_of_the_package(run):
    import align

    assert run("--version").stdout.strip() == f"isthmus {align.__version__}"
