"""``align compare`` on a table, which is read once for all adapters."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from align.apps.cli.app import app
from align.encoders.callable import CallableEncoder
from tests.helpers.planted import shared_factors

N = 120
SIDES = shared_factors(N, (6, 5), shared=3, noise=0.3)


def _encoder(side):
    def encode(texts):
        return torch.stack([SIDES[side][int(text.split()[1])] for text in texts])

    return CallableEncoder(encode, name=f"side {side}", dim=SIDES[side].shape[1])


def source():
    return _encoder(0)


def target():
    return _encoder(1)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    specs = [f"python:{__name__}:{side}" for side in ("source", "target")]
    encoders = ["--source-encoder", specs[0], "--target-encoder", specs[1], "--store", "store"]
    rows = [f"question {row},answer {row}" for row in range(N)]
    (tmp_path / "train.csv").write_text("\n".join(["ask,say", *rows[:60]]))
    (tmp_path / "test.csv").write_text("\n".join(["ask,say", *rows[60:], "nothing beside,"]))

    def call(*words):
        result = CliRunner().invoke(app, [*words, *encoders])
        if result.exception is not None:
            raise result.exception
        return result

    columns = ["--source", "ask", "--target", "say", "--effort", "fast"]
    for seed in ("0", "1"):
        call("fit", "train.csv", *columns, "--seed", seed, "-o", f"seed {seed}")
    return call


def test_a_row_that_is_skipped_is_listed_once_for_all_adapters(run):
    said = run("compare", "seed 0", "seed 1", "test.csv", "--skip-bad")
    assert said.stderr.count("skipped: row 61") == 1
    assert "ask → say" in said.stdout and "60 pairs" in said.stdout
