"""``align learning-curve`` prints what ``align.learning_curve`` finds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import align
from align.adapters.closed_form.rcca import rcca
from align.apps import cli
from align.fitting.learning_curve import measure
from tests.helpers.planted import shared_factors

X, Y = (side.numpy() for side in shared_factors(120, (12, 10), shared=6, noise=0.7, seed=0))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "fit", lambda pairs, **_: rcca(pairs.source, pairs.target))
    np.savez("pairs.npz", source=X, target=Y)


def run(*words):
    result = CliRunner().invoke(cli.app, ["learning-curve", *words])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_curve_is_printed_and_drawn(tmp_path):
    said = run("pairs.npz", "--folds", "3", "--figure", "curve.svg", "--resume", "kept")
    assert str(align.learning_curve(X, Y, folds=3)).split("\n")[0] in said
    assert (tmp_path / "curve.svg").exists() and (tmp_path / "kept").exists()


def test_programs_read_it():
    told = json.loads(run("pairs.npz", "--folds", "3", "--json"))
    assert told["n_pairs"] == 120 and told["figure"] is None
