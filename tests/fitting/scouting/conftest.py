"""Pairs of numbered texts, and encoders that look their planted vectors up."""

from __future__ import annotations

import pytest
import torch

import align
from align.data.pairs import Pairs
from tests.helpers.tiny_models import bert, sbert, sentence_folder, write  # noqa: F401  # fixtures are found by name

N = 240


@pytest.fixture(scope="session")
def numbered():
    """``N`` pairs of texts that are their own numbers."""
    names = tuple(map(str, range(N)))
    return Pairs(names, names, names, names)


@pytest.fixture(scope="session")
def looked_up():
    """Makes an encoder of numbered texts from the vectors of all numbers, ``(N, d)``."""

    def make(name: str, vectors: torch.Tensor) -> align.CallableEncoder:
        return align.CallableEncoder(
            lambda texts: vectors[[int(text) for text in texts]],
            name=name,
            dim=vectors.shape[1],
            batch_size=1000,
        )

    return make


@pytest.fixture(scope="session")
def drawn():
    """Standard normal rows of a width, of a seed."""

    def make(width: int, seed: int) -> torch.Tensor:
        return torch.randn(N, width, generator=torch.Generator().manual_seed(seed))

    return make
