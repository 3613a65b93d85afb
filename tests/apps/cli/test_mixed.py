"""Targets of several kinds and instructions on the command line, from a CSV to a search."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import align
from align.adapters.multi_vector.aspects import Heads
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.apps import cli

COLUMNS = ["--source", "query", "--target", "answer", "--target-modality", "kind", "--id", "id"]
WORDS = "dog cat beach red blue runs sits under bridge".split()
ASKED = {"image": "a bridge", "code": "under the beach", "text": "sits"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty queries to learn from and ten others, each with a picture, a code and a text."""
    folder = tmp_path_factory.mktemp("mixed")
    for part, numbers in (("train", range(30)), ("test", range(30, 40))):
        rows = [["id", "query", "answer", "kind", "task", "what"]]
        for number in numbers:
            query = f"{WORDS[number % 9]} {WORDS[number // 9]} runs"
            picture = Image.new("RGB", (32, 32), (6 * number, 255 - 6 * number, 99))
            picture.save(folder / f"{number}.png")
            answers = {"image": f"{number}.png", "code": f"{query} sits", "text": f"the {query}"}
            for kind, answer in answers.items():
                rows.append([f"{number}/{kind}", query, answer, kind, ASKED[kind], str(number)])
        with (folder / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    def call(*words):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("ISTHMUS_CACHE", str(folder / "cache"))
            result = CliRunner().invoke(cli.app, [str(word) for word in words])
        if result.exception is not None:
            raise result.exception
        return result

    return call


@pytest.fixture(scope="module")
def fitted(run, sbert, bert, vit):
    """What `align fit` printed; the source is two encoders side by side."""
    found = run(
        "fit", "train.csv", *COLUMNS, "--group", "what", "--instruction", "task",
        "--source-encoder", f"text:{sbert}+text:{bert}",
        "--target-encoder", f"image=image:{vit};code=code:{bert};text=text:{sbert}",
        "--effort", "fast", "-o", "adapter", "--store", "store", "--json",
    )  # fmt: skip
    return json.loads(found.stdout)


@pytest.mark.filterwarnings("ignore::align.data.repeats.RepeatedItems")
def test_a_mixed_table_is_fitted_evaluated_indexed_and_searched(run, fitted, sbert, bert):
    card = fitted["card"]
    assert card["n_pairs"] == 90 and card["n_groups"] == 30
    assert card["encoders"]["instruction"] == f"text:{sbert}+text:{bert}"
    assert "a preference by instruction gained" in card["verdict"]

    asked = ("evaluate", "adapter", "test.csv", *COLUMNS, "--store", "store", "--json")
    instructed = json.loads(run(*asked, "--instruction", "task").stdout)
    plain = json.loads(run(*asked).stdout)
    first = "source_to_target", "recall_at_1", "value"
    scores = [found[first[0]][first[1]][first[2]] for found in (instructed, plain)]
    assert instructed["source_to_target"]["gallery"] == 30 and scores[0] > scores[1]

    made = run(
        "index", "adapter", "test.csv", "--column", "answer", "--modality", "kind", "--id", "id",
        "-o", "idx", "--store", "store", "--json",
    )  # fmt: skip
    assert json.loads(made.stdout)["items"] == 30
    for kind, instruction in ASKED.items():
        hits = json.loads(
            run(
                "search", "idx", "blue red runs", "-k", 3, "--instruction", instruction, "--json"
            ).stdout
        )
        assert {hit["id"].split("/")[1] for hit in hits} == {kind}
    assert "39/" in run("search", "idx", "red blue runs", "-k", 30).stdout


@pytest.mark.usefixtures("fitted")
def test_the_gap_of_mixed_items_is_measured(run):
    found = run("gap", "adapter", "test.csv", *COLUMNS, "--instruction", "task", "--store", "store")
    assert "aligned" in found.stdout


@pytest.mark.usefixtures("fitted")
def test_a_folder_of_images_goes_into_a_mixed_index_and_a_bare_table_does_not(run):
    assert "40 items" in run("index", "adapter", ".", "-o", "pictures", "--store", "store").stdout
    with pytest.raises(ValueError, match=r"told which each target item is of"):
        run("index", "adapter", "test.csv", "--column", "answer", "-o", "i", "--store", "store")


@pytest.mark.usefixtures("fitted")
def test_sources_are_indexed_without_instructions_and_searched_by_kind(run):
    table = ("index", "adapter", "test.csv", "--column", "query", "--side", "source")
    run(*table, "-o", "back", "--store", "store")
    hits = json.loads(run("search", "back", "31.png", "--modality", "image", "--json").stdout)
    assert json.loads(run("search", "back", "31.png", "--json").stdout) == hits
    assert (
        json.loads(run("search", "back", "31.png", "--modality", "text", "--json").stdout) != hits
    )
    assert len(hits) == 10
    with pytest.raises(ValueError, match="an instruction belongs to a source"):
        run("search", "back", "the dog", "--instruction", "sits")


@pytest.fixture(scope="module")
def several(run, fitted, folder):
    """Indexes of three vectors per item by their side, through meta tokens over the adapter."""
    adapter = align.load(folder / "adapter")
    rng = torch.Generator().manual_seed(0)
    widths = adapter.source_map.d_in, adapter.target_map.d_in
    aspects = [Heads(torch.zeros(d), torch.randn(2, d, 4, generator=rng)) for d in widths]
    MetaTokens(adapter, *aspects, mix=0.3, asking=2, card={}).save(folder / "head")
    for side, columns in (
        ("source", ["--column", "query"]),
        ("target", ["--column", "answer", "--modality", "kind", "--id", "id"]),
    ):
        words = ("head", "test.csv", *columns, "--side", side, "-o", f"several-{side}")
        run("index", *words, "--store", "store")
    return {side: f"several-{side}" for side in ("source", "target")}


@pytest.mark.parametrize(
    ("side", "query", "words"),
    [
        ("target", "blue red runs", {"instruction": ASKED["code"]}),
        ("target", "blue red runs", {}),
        ("source", "31.png", {"modality": "image"}),
        ("source", "31.png", {}),
        ("source", "the dog", {"modality": "code"}),
        ("source", "the dog", {}),
    ],
)
def test_an_index_of_several_vectors_is_searched_as_in_python(
    run, several, folder, side, query, words
):
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    hits = json.loads(run("search", several[side], query, "-k", 5, *options, "--json").stdout)

    retriever = align.Retriever(align.Index.open(folder / several[side]))
    assert retriever.index.get([hits[0]["id"]]).vectors.offsets.tolist() == [0, 3]
    if side == "source" and "modality" not in words:
        words = {"modality": "image" if query.endswith(".png") else "text"}
    item = folder / query if query.endswith(".png") else query
    [expected] = retriever.search([item], k=5, **words)
    assert [hit["id"] for hit in hits] == [hit.id for hit in expected]
    assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected])


@pytest.mark.usefixtures("fitted")
@pytest.mark.filterwarnings("ignore::align.data.repeats.RepeatedItems")
def test_instructions_to_an_adapter_without_any_are_noted(run, folder):
    instructed = align.load(folder / "adapter")
    card = replace(instructed.card, d_source=instructed.source_map.inner.d_in)
    plain = align.Adapter(
        instructed.source_map.inner, instructed.target_map, card, reference=instructed.reference
    )
    plain.save(folder / "plain")
    asked = ("evaluate", "plain", "test.csv", *COLUMNS, "--store", "store", "--json")
    found = run(*asked, "--instruction", "task")
    assert "takes no instructions" in found.stderr
    assert json.loads(found.stdout) == json.loads(run(*asked).stdout)
