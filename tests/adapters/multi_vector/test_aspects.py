"""Which token states a selector takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from align.adapters.multi_vector import aspects as meta_tokens
from align.adapters.multi_vector.aspects import Selector
from align.data.multi_vector import MultiVector
from tests.helpers.meta_heads import made


@pytest.mark.parametrize("states", [2, 3, 4])
@pytest.mark.parametrize("shift", [0.0, 1e-7, -1e-7, 1e-6])
def test_states_equally_near_to_their_mean_are_taken_as_they_stand(states, shift, rng):
    """Rotated axes: on paper all are equally near to their mean and equally far from each other."""
    d = 16
    turned = torch.linalg.qr(torch.randn(200, d, d, generator=rng)).Q[:, :states]
    noise = shift * torch.randn(turned.shape, generator=rng)
    items = MultiVector.from_equal(F.normalize(turned + noise, dim=2))
    with torch.no_grad():
        found = Selector(torch.eye(d), count=states)(items)
    torch.testing.assert_close(found, F.normalize(turned, dim=2), atol=2e-5, rtol=0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("items", [1, 3, 30])
def test_selected_states_depend_neither_on_threads_nor_on_items_worked_out_at_a_time(
    threads, items, rng, monkeypatch
):
    it = made(("selected", "selected"), rng=rng)
    pairs = [F.normalize(torch.randn(2, 7, generator=rng), dim=1) for _ in range(30)]
    tokens = MultiVector.pack(pairs)
    whole = it.head.source(it.sides[0], tokens).tokens
    monkeypatch.setattr(meta_tokens, "ITEMS", items)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        again = it.head.source(it.sides[0], tokens).tokens
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(again, whole, atol=1e-6, rtol=0)
