"""Pairs with a shared signal, as raw embeddings: off centre, of any length."""

from __future__ import annotations

import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from tests.adapters.corrections.planted_reference_sets import REFERENCE_SETS, with_reference


@pytest.fixture
def make_pairs(rng):
    """A function that gives ``n`` row-matched ``(n, d_source)`` and ``(n, d_target)`` float32."""

    def make(n=80, d_source=8, d_target=6, shared=4, noise=0.5):
        signal = torch.randn(n, shared, generator=rng)
        sides = []
        for d in (d_source, d_target):
            mixed = signal @ torch.randn(shared, d, generator=rng)
            mixed = mixed + noise * torch.randn(n, d, generator=rng)
            lengths = 0.5 + torch.rand(n, 1, generator=rng)
            sides.append((mixed + torch.randn(d, generator=rng)) * lengths)
        return tuple(sides)

    return make


@pytest.fixture
def pairs(make_pairs):
    """80 pairs of widths 8 and 6."""
    return make_pairs()


@pytest.fixture
def square(make_pairs):
    """80 pairs of width 6 on both sides."""
    return make_pairs(d_source=6)


@pytest.fixture
def saved(square, tmp_path):
    """The folder of an adapter with a correction."""
    adapter = with_reference(rcca(*square), square, REFERENCE_SETS["csls and expansion"])
    adapter.save(tmp_path / "adapter")
    return tmp_path / "adapter"
