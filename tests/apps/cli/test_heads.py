"""Heads of several vectors per item on the command line: fit, evaluate, index, search."""

from __future__ import annotations

import json
from itertools import product

import pytest
import torch
from typer.testing import CliRunner

import align
from align.apps import cli
from align.data.token_pairs import TokenPairs
from align.encoders.spec import load_encoder

WORDS = ("dog", "cat", "beach", "bridge", "red", "blue", "sits", "runs")
COLUMNS = ("--source", "a", "--target", "b")
plain = align.CallableEncoder(
    lambda texts: torch.tensor([[float(len(text)), 1.0, float(text.count("e"))] for text in texts]),
    name="lengths", dim=3,
)  # fmt: skip
PLAIN = f"python:{__name__}:plain"


@pytest.fixture
def run(tmp_path, monkeypatch):
    lines = [f"{one} {two},query {two} under a {one}" for one, two in product(WORDS, WORDS)]
    (tmp_path / "pairs.csv").write_text("\n".join(["a,b", *lines]))
    monkeypatch.chdir(tmp_path)

    def call(*words):
        result = CliRunner().invoke(cli.app, [str(word) for word in words])
        if result.exception is not None:
            raise result.exception
        return result

    return call


@pytest.fixture
def encoders(bert, sbert):
    return ("--source-encoder", f"text:{bert}", "--target-encoder", f"text:{sbert}")


def test_a_head_is_fitted_evaluated_indexed_and_searched_at_a_budget(run, encoders, tmp_path):
    fitted = run(
        "fit", "pairs.csv", *COLUMNS, *encoders, "--vectors", 4, "--effort", "fast", "-o", "head",
        "--store", "store", "--json",
    )  # fmt: skip
    shape = json.loads(fitted.stdout)["vectors"]
    head = align.load_meta_tokens(tmp_path / "head")
    assert shape == {"query": head.asking, "item": head.vectors}

    asked = ("evaluate", "head", "pairs.csv", *COLUMNS, "--store", "store", "--json")
    pairs = align.Pairs.from_csv("pairs.csv", source="a", target="b")
    sides = [load_encoder(head.adapter.card.encoders[side]) for side in ("source", "target")]
    data = TokenPairs.encode(pairs, *sides)
    for words, budget in (((), None), (("--budget", 1, 1), (1, 1))):
        expected = align.evaluate_meta_tokens(data, head, budget=budget).to_dict()
        assert json.loads(run(*asked, *words).stdout) == json.loads(json.dumps(expected))

    run("index", "head", "pairs.csv", "--column", "b", "-o", "idx", "--store", "store")
    found = run("search", "idx", "dog sits", "-k", 3, "--budget", 1, 1, "--json")
    [hits] = align.Retriever.open(tmp_path / "idx").search(["dog sits"], k=3, budget=(1, 1))
    assert [hit["id"] for hit in json.loads(found.stdout)] == [hit.id for hit in hits]


def test_encoders_without_token_states_are_refused(run):
    named = ("--source-encoder", PLAIN, "--target-encoder", PLAIN)
    with pytest.raises(ValueError, match=r"must give some; text-callable.* give none"):
        run("fit", "pairs.csv", *COLUMNS, *named, "--vectors", 4, "-o", "head", "--store", "store")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("emb.npz", "--vectors", 4), "emb.npz holds one vector of each"),
        (("pairs.csv", *COLUMNS, "--instruction", "a", "--vectors", 4), "got --instruction a"),
    ],
)
def test_what_a_head_cannot_be_made_of_is_refused(run, encoders, words, said):
    with pytest.raises(ValueError, match=said):
        run("fit", *words, *encoders, "-o", "head")


def test_a_budget_of_an_adapter_of_one_vector_is_refused(run, encoders):
    run(
        "fit", "pairs.csv", *COLUMNS, *encoders, "--effort", "fast", "-o", "one", "--store", "store"
    )
    with pytest.raises(ValueError, match="one gives one of each"):
        run("evaluate", "one", "pairs.csv", *COLUMNS, "--budget", 1, 1, "--store", "store")
