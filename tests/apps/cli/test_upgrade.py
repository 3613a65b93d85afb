"""``align upgrade``, run as a user runs it: one tiny network, as it is and behind its folder."""

from __future__ import annotations

import json
from itertools import product

import pytest
from typer.testing import CliRunner

import align
from align.apps import cli
from align.encoders.text import TextEncoder

WORDS = ("dog", "cat", "beach", "bridge", "red", "blue", "sits", "runs")


@pytest.fixture
def run(tmp_path, monkeypatch, bert, sbert):
    lines = [" ".join(words) for words in product(WORDS, WORDS)]
    (tmp_path / "items.txt").write_text("\n".join(lines))
    table = ["key,text,first"]
    table += [f"{row},{line},{line.split()[0]}" for row, line in enumerate(lines)]
    (tmp_path / "items.csv").write_text("\n".join(table))
    monkeypatch.chdir(tmp_path)

    def call(*words):
        asked = ["upgrade", f"text:{bert}", f"text:{sbert}", *words, "--store", "store"]
        result = CliRunner().invoke(cli.app, asked)
        if result.exception is not None:
            raise result.exception
        return result

    return call


def test_the_adapter_maps_queries_of_the_new_encoder(run, tmp_path, bert, sbert):
    printed = json.loads(run("items.txt", "-o", "upgraded", "--json").stdout)
    assert printed["adapter"] == "upgraded" and printed["index_size"] == 63
    # The folder around the network only normalises: nothing is lost.
    assert printed["kept_at_10"]["value"] > 0.9
    adapter = align.load(tmp_path / "upgraded")
    assert adapter.card.encoders == {"source": f"text:{sbert}", "target": f"text:{bert}"}
    assert adapter.card.target_fingerprint == TextEncoder(bert).fingerprint


def test_the_recall_that_is_kept_is_printed_with_its_interval(run):
    said = run("items.csv", "--column", "text", "--id", "key", "-o", "upgraded").stdout
    assert "ten kept @10" in said and "procrustes" in said and "±" in said
    assert "saved to upgraded" in said


def test_the_upgraded_adapter_can_index_and_search(run, tmp_path):
    run("items.txt", "-o", "upgraded")
    index = ["index", "upgraded", "items.txt", "-o", "idx", "--store", "store"]
    assert CliRunner().invoke(cli.app, index).exit_code == 0
    found = CliRunner().invoke(cli.app, ["search", "idx", "dog beach", "-k", "3", "--json"])
    assert "dog beach" in [hit["id"] for hit in json.loads(found.stdout)]


def test_groups_choose_the_map_by_recall(run):
    table = ["items.csv", "--column", "text", "--group", "first", "-o", "upgraded"]
    printed = json.loads(run(*table, "--json").stdout)
    assert printed["card"]["n_groups"] == 8 and printed["recall_kept"]["value"] > 0
    assert printed["tried"][0]["chosen"]
    said = run(*table).stdout
    assert "R@10" in said and "their recall@10 is" in said
    with pytest.raises(ValueError, match="Name it with --column beside --group first"):
        run("items.csv", "--group", "first", "-o", "upgraded")
