"""``align update`` adds pairs to a saved adapter that was fitted to take them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import align
from align.apps import cli
from tests.helpers.planted import shared_factors

X, Y = (side.numpy() for side in shared_factors(90, (12, 10), shared=6, noise=0.7, seed=0))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("old.npz", source=X[:60], target=Y[:60])
    np.savez("new.npz", source=X[60:], target=Y[60:])


def run(*words):
    result = CliRunner().invoke(cli.app, list(words))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_new_pairs_are_added_and_the_folder_is_replaced():
    run("fit", "old.npz", "-o", "adapter", "--effort", "fast", "--updatable")
    wanted = align.load("adapter").update(X[60:], Y[60:])
    said = run("update", "adapter", "new.npz", "-o", "adapter")
    assert "30 pairs added, 90 in all" in said and "fit of 60" in said
    assert torch.equal(align.load("adapter").source(X), wanted.source(X))
    with pytest.raises(ValueError, match="30 of 30 are in training already"):
        run("update", "adapter", "new.npz", "-o", "again")


def test_programs_read_the_card():
    run("fit", "old.npz", "-o", "adapter", "--effort", "fast", "--updatable")
    told = json.loads(run("update", "adapter", "new.npz", "-o", "new", "--json"))
    assert told["adapter"] == "new" and told["card"]["n_pairs"] == 90


def test_an_adapter_that_kept_nothing_is_refused_and_so_is_what_cannot_be_updated():
    run("fit", "old.npz", "-o", "adapter", "--effort", "fast")
    with pytest.raises(ValueError, match="needs statistics"):
        run("update", "adapter", "new.npz", "-o", "new")
    with pytest.raises(ValueError, match="--updatable is for closed forms"):
        run("fit", "old.npz", "-o", "adapter", "--updatable", "--instruction", "ask")
