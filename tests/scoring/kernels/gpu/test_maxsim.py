"""The GPU scorer agrees with the reference: in Triton's interpreter, and on a GPU where one is."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

from align.scoring.kernels.gpu.tiles import MOST_SLOTS, choose_tiles, unit_of

CASES = Path(__file__).parent / "maxsim_cases.py"
ROOT = Path(__file__).parents[4]

with_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)


def run_cases(**environment):
    """The cases in a process of their own; the interpreter must be chosen before any import."""
    inherited = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "pytest", str(CASES), "-p", "no:cacheprovider", "--tb=short"]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed in " in done.stdout
    assert "skipped" not in done.stdout


@with_triton
def test_the_kernels_agree_with_the_reference_in_the_interpreter():
    run_cases(TRITON_INTERPRET="1")


@with_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_the_kernels_agree_with_the_reference_on_the_device():
    run_cases()


SIZES = [
    (q, m, d, asked, found, itemsize, k)
    for q, m, d, asked, found, itemsize, k in product(
        (1, 3, 1000), (1, 50, 10**6), (0, 1, 3, 100, 128, 768, 3584), (1, 17, 300), (1, 17, 300),
        (1, 2, 4), (0, 1, 10, MOST_SLOTS),
    )
    if k <= m
]  # fmt: skip


def test_tiles_of_any_size_are_powers_of_two_that_hold_their_items():
    for q, m, d, asked, found, itemsize, k in SIZES:
        tiles = choose_tiles(
            q, m, d, longest_query=asked, longest_document=found, itemsize=itemsize, k=k
        )
        counts = (
            tiles.queries, tiles.query_tokens, tiles.documents, tiles.document_tokens,
            tiles.columns, tiles.unit,
        )  # fmt: skip
        assert all(count > 0 and count & (count - 1) == 0 for count in counts), tiles
        # What a matrix instruction needs at least.
        assert tiles.queries * tiles.query_tokens >= 16
        assert tiles.documents * tiles.document_tokens >= 16
        assert tiles.columns * itemsize >= 32
        # Several items in a tile, or an item in parts; never several items in parts.
        assert tiles.long_queries == (asked > tiles.query_tokens)
        assert tiles.long_documents == (found > tiles.document_tokens)
        assert not (tiles.long_queries and tiles.queries > 1)
        assert not (tiles.long_documents and tiles.documents > 1)
        assert not tiles.kept or (d <= tiles.columns and not tiles.long_queries)
        assert tiles.slots >= k
        assert d % tiles.unit == 0
        assert tiles.unit == unit_of(d)
