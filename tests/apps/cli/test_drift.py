"""``align drift``, run as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import align
from align.apps import cli

RNG = np.random.default_rng(0)
WORDS = ("a", "dog", "cat", "beach", "red")  # that the tiny network knows
OTHERS = ("blue", "runs", "sits", "under", "bridge", "query")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An adapter fitted on vectors, the same kind of vectors again, and others."""
    path = tmp_path_factory.mktemp("drift")
    vectors = RNG.standard_normal((260, 8)).astype("f4")
    weight = RNG.standard_normal((8, 12)).astype("f4")
    align.fit(vectors[:200], vectors[:200] @ weight, effort="fast").save(path / "adapter")
    np.savez(path / "train.npz", source=vectors[:200], target=vectors[:200] @ weight)
    np.savez(path / "same.npz", source=vectors[200:], target=vectors[200:] @ weight)
    np.savez(path / "moved.npz", source=vectors[200:] + 2)
    return path


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def call(*words):
        return CliRunner().invoke(cli.app, ["drift", *words])

    return call


def test_it_says_what_to_do_and_exits_as_asked(run):
    same, moved = run("adapter", "same.npz"), run("adapter", "moved.npz")
    assert same.stdout.startswith("Nothing to do: the new source items look like")
    assert moved.stdout.startswith("Refit: the new source items are of another kind")
    assert same.exit_code == moved.exit_code == 0
    assert run("adapter", "same.npz", "--exit-code").exit_code == 0
    assert run("adapter", "moved.npz", "--exit-code").exit_code == 3


def test_the_other_side_and_whole_vectors_are_compared_on_request(run):
    found = run("adapter", "same.npz", "--side", "target", "--reference", "train.npz", "--json")
    told = json.loads(found.stdout)
    assert (told["side"], told["columns"], told["action"]) == ("target", 12, "nothing")


def test_words_of_another_kind_are_noticed_in_a_text_file(tmp_path, monkeypatch, sbert, run):
    def lines(words, count):
        drawn = {" ".join(RNG.choice(words, 3)) for _ in range(count)}
        return "\n".join(sorted(drawn))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.txt").write_text(lines(WORDS, 150))
    (tmp_path / "same.txt").write_text(lines(WORDS, 60))
    (tmp_path / "others.txt").write_text(lines(OTHERS, 60))
    texts = (tmp_path / "train.txt").read_text().split("\n")
    encoder = align.load_encoder(f"text:{sbert}")
    vectors = align.Embeddings(encoder.encode(texts), encoder.fingerprint, tuple(texts))
    pairs = align.PairedEmbeddings.from_arrays(vectors, vectors.vectors.numpy())
    align.fit(pairs, effort="fast").save(tmp_path / "adapter")
    options = ["--encoder", f"text:{sbert}", "--store", "store", "--json"]
    moved = run("adapter", "others.txt", *options)
    assert moved.exception is None, moved.exception
    assert json.loads(moved.stdout)["drifted"]
    again = run("adapter", "train.txt", "--reference", "train.txt", *options)
    assert not json.loads(again.stdout)["drifted"]


def test_columns_beside_an_archive_are_refused(run):
    found = run("adapter", "same.npz", "--column", "caption")
    assert "an .npz holds embeddings" in str(found.exception)
