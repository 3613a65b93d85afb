"""A store that is killed at the worst moments, and one that two processes fill at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from align.encoders.cache.store import EmbeddingStore
from tests.encoders.cache.encode_then_die import WORDS
from tests.helpers.counting_encoder import CountingEncoder, vectors

TESTS = Path(__file__).parents[2]


def start(root, moment):
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    script = Path(__file__).with_name("encode_then_die.py")
    return subprocess.Popen(
        [sys.executable, str(script), str(root), moment],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        ("inside the third batch", 20),
        ("halfway through writing the second batch", 10),
        ("before the second batch is committed", 10),
    ],
)
def test_a_killed_run_loses_only_the_batch_in_flight(tmp_path, moment, kept):
    child = start(tmp_path, moment)
    _, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL, errors
    store = EmbeddingStore(tmp_path, batch=10)
    assert store.verify() == []
    encoder = CountingEncoder()
    assert torch.equal(store.encode(encoder, WORDS), vectors(WORDS))
    assert encoder.items == WORDS[kept:]
    assert store.verify() == []
    store.prune()
    assert list(tmp_path.rglob("*.tmp")) == []


def test_two_processes_may_fill_one_store_at_once(tmp_path):
    children = [start(tmp_path, "never") for _ in range(2)]
    for child in children:
        _, errors = child.communicate()
        assert child.returncode == 0, errors
    store, encoder = EmbeddingStore(tmp_path), CountingEncoder()
    assert torch.equal(store.encode(encoder, WORDS), vectors(WORDS))
    assert encoder.items == []
    assert store.verify() == []
    store.prune()
    assert store.stat()[0].items == 25
