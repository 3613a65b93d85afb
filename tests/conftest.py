"""Fixtures that every test may use. Tests are offline and draw from their own generators."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Small problems: threads would only wait for each other, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


@pytest.fixture
def rng() -> torch.Generator:
    """A torch generator with a fixed seed, fresh for each test."""
    return torch.Generator().manual_seed(0)
