"""Pairs that share three factors, and a search over them."""

from __future__ import annotations

import os

import pytest

from align.data.embeddings import Embeddings, PairedEmbeddings
from align.fitting.tuning.study import tune
from tests.helpers.planted import shared_factors

SIDES = shared_factors(240, (16, 12), shared=3, noise=0.6)
TRAIN, TEST = slice(0, 120), slice(120, None)


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk():
    """Journals are flushed to the disk line by line, which these tests need not wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def sides():
    """All 240 pairs, of which the search sees the first half."""
    return SIDES


@pytest.fixture(scope="session")
def pairs_of():
    """Makes pairs of some rows, of the first half if none are named."""

    def make(rows=TRAIN, **names):
        x, y = SIDES
        return PairedEmbeddings.from_arrays(x[rows], y[rows], **names)

    return make


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    """A search over 120 pairs that share three factors."""
    x, y = SIDES
    names = tuple(map(str, range(120)))
    pairs = PairedEmbeddings.from_arrays(
        Embeddings(x[TRAIN], "text:a", names), Embeddings(y[TRAIN], "image:b", names)
    )
    study = tmp_path_factory.mktemp("tuned") / "study"
    return tune(pairs, study=study, trials=30, folds=2, dims=(2, 12))
