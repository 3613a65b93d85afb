"""Products of a title and a photo on the command line, from a CSV to a search."""

import csv
import json

import pytest
from PIL import Image
from typer.testing import CliRunner

import align
from align.apps import cli

WORDS = "dog cat beach red blue runs sits under bridge".split()


def run(*words):
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Forty products; every third lacks its photo, and every third its title."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    rows = [["id", "query", "title", "photo"]]
    for number in range(40):
        words = f"{WORDS[number % 9]} {WORDS[number // 9]}"
        Image.new("RGB", (32, 32), (6 * number, 255 - 6 * number, 99)).save(f"{number}.png")
        title, photo = (f"the {words}", f"{number}.png")
        rows.append([f"p{number}", words, title * (number % 3 != 1), photo * (number % 3 != 0)])
    with open("products.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


@pytest.mark.filterwarnings("ignore::align.NoBetterThanChance")
def test_products_are_fitted_indexed_and_found(folder, sbert, vit):
    spec = f"title=text:{sbert}+photo=image:{vit}"
    run(
        "fit", "products.csv", "--source", "query", "--target", "title+photo", "--id", "id",
        "--source-encoder", f"text:{sbert}", "--target-encoder", spec, "--effort", "fast",
        "-o", "adapter", "--store", "store",
    )  # fmt: skip
    card = align.load("adapter").card
    assert card.encoders["target"] == spec and card.side_names == ("query", "title+photo")
    products = ("products.csv", "--column", "title+photo", "--id", "id", "--store", "store")
    assert "40 items" in run("index", "adapter", *products, "-o", "idx")
    hits = json.loads(run("search", "idx", "dog cat", "-k", "3", "--json"))
    assert len(hits) == 3
    held = align.Index.open("idx").get(["p0", "p1", "p2"]).metadata
    assert [sorted(each) for each in held] == [["text"], ["path"], ["path", "text"]]
    assert align.Retriever.open("idx").explain("dog cat", "p2").score is not None
    # The columns of the adapter are those of the table again.
    assert "R@" in run("evaluate", "adapter", "products.csv", "--id", "id", "--store", "store")


@pytest.mark.filterwarnings("ignore::align.NoBetterThanChance")
def test_products_like_a_picture_or_text_are_found_and_changed_by_a_query(folder, sbert, vit):
    run(
        "fit", "products.csv", "--source", "query", "--target", "title+photo", "--id", "id",
        "--source-encoder", f"text:{sbert}",
        "--target-encoder", f"title=text:{sbert}+photo=image:{vit}", "--effort", "fast",
        "-o", "adapter", "--store", "store",
    )  # fmt: skip
    products = ("products.csv", "--column", "title+photo", "--id", "id", "--store", "store")
    run("index", "adapter", *products, "-o", "idx")

    def found(*words):
        return [hit["id"] for hit in json.loads(run("search", "idx", *words, "-k", "5", "--json"))]

    retriever = align.Retriever.open("idx")
    photo = align.Composite({"photo": folder / "7.png"})
    for words, expected in [
        (("--like", "7.png"), retriever.search_like([photo], k=5)),
        (
            ("red", "--like", "7.png", "--weight", "0.3"),
            retriever.search_like([photo], modification=["red"], weight=0.3, k=5),
        ),
    ]:
        assert found(*words) == [hit.id for hit in expected[0]]
    for words, message in [
        ((), "a search needs QUERY"),
        (("red", "--weight", "0.5"), "--weight shares a query out"),
        (("--like", "7.png", "--weight", "0.5"), "--weight shares a query out"),
        (("red", "--like", "7.png", "--explain"), "beside --like"),
    ]:
        with pytest.raises(ValueError, match=message):
            run("search", "idx", *words)
