"""``align curate``, run as a user runs it."""

from __future__ import annotations

import csv
import json
from hashlib import sha256

import numpy as np
import pytest
from typer.testing import CliRunner

import align
from align.apps import cli
from align.apps.cli.curate import line_of
from align.curation.report import Finding

WORDS = "dog cat beach bridge red blue sits runs".split()


def _vectors(texts):
    """Vectors that no two texts share: those of a small untrained network nearly coincide."""
    seeds = [int.from_bytes(sha256(text.encode()).digest()[:8], "big") for text in texts]
    return np.stack([np.random.default_rng(seed).standard_normal(16) for seed in seeds])


def drawn():
    return align.CallableEncoder(_vectors, name="drawn", dim=16, modality="text")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Forty pairs of texts with names of their own; the pair ``again`` repeats the first."""
    lines = ["name,question,answer"]
    for number in range(40):
        said = " ".join(WORDS[(number * step) % 8] for step in (1, 3, 5)) + f" {number * 37}"
        lines.append(f"pair {number},where is {said},here is {said[::-1]}")
    lines.append(lines[1].replace("pair 0", "again"))
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    encoder = f"python:{__name__}:drawn"

    def call(*words):
        asked = [
            "curate", "pairs.csv", "--source", "question", "--target", "answer", "--id", "name",
            "--source-encoder", encoder, "--target-encoder", encoder, "--store", "store",
            "-o", "curated.csv", "--near-vector", "1", *words,
        ]  # fmt: skip
        result = CliRunner().invoke(cli.app, asked)
        if result.exception is not None:
            raise result.exception
        return result

    return call


def test_every_pair_gets_a_line_with_its_decision(run, tmp_path):
    printed = json.loads(run("--json").stdout)
    with (tmp_path / "curated.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"pair {number}" for number in range(40)] + ["again"]
    assert rows[-1] == {
        "id": "again", "decision": "drop", "reason": "the same items", "of": "pair 0",
        "score": "1.0000",
    }  # fmt: skip
    decisions = [row["decision"] for row in rows]
    assert decisions.count("drop") == sum(printed["dropped"].values()) >= 1
    assert decisions.count("suspect") == sum(printed["suspects"].values())
    assert (
        printed["kept"] == len(rows) - decisions.count("drop") and printed["table"] == "curated.csv"
    )


def test_a_report_is_printed_for_people(run):
    said = run().stdout
    assert "1 dropped: the same items" in said and "written to curated.csv" in said
    assert "100.0 %" in said


def test_an_option_out_of_range_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="cut must lie in"):
        run("--cut", "0")
    assert not (tmp_path / "curated.csv").exists()


def test_no_id_is_a_formula_in_the_table_and_numbers_stay_numbers():
    found = [
        Finding("=1+1", "keep"),
        Finding("-7", "keep"),
        Finding("@again", "drop", "the same items", "=1+1", -0.25),
    ]
    assert [line_of(each) for each in found] == [
        ["'=1+1", "keep", "", "", ""],
        ["-7", "keep", "", "", ""],
        ["'@again", "drop", "the same items", "'=1+1", "-0.2500"],
    ]
