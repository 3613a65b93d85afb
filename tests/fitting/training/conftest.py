"""Small pairs to train on, and a problem that no linear map can learn."""

from __future__ import annotations

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from tests.helpers.planted import shared_factors


@pytest.fixture
def pairs():
    """60 noisy pairs of widths 8 and 6."""
    return PairedEmbeddings.from_arrays(*shared_factors(60, (8, 6), shared=4, noise=0.5))


@pytest.fixture
def products():
    """Targets whose coordinates are products of two signs of the source: XOR, six times.

    Every linear statistic of the two sides is zero in expectation. 64 targets, each its own group.
    """

    def make(n, seed):
        rng = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (n, 6, 2), generator=rng) * 2.0 - 1
        source = signs.flatten(1) + 0.1 * torch.randn(n, 12, generator=rng)
        target = signs.prod(dim=2)
        groups = ["".join("-+"[int(sign > 0)] for sign in row) for row in target]
        return PairedEmbeddings.from_arrays(source, target, groups=groups)

    return make
