"""The map shows planted shapes as they are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from align.apps.serving.neighbour_map import neighbour_map


def test_it_agrees_with_sklearn_up_to_signs_and_scale(rng):
    rows = F.normalize(torch.randn(9, 20, generator=rng).double(), dim=1)
    found = neighbour_map(rows[0], rows[1:])
    reference = PCA(2).fit(rows.numpy())
    theirs = torch.from_numpy(reference.transform(rows.numpy()))
    ours = torch.tensor([found.query, *found.hits], dtype=torch.float64)
    assert torch.allclose(ours.abs(), (theirs / theirs.abs().max()).abs())
    assert found.explained == pytest.approx(reference.explained_variance_ratio_.sum())


def test_it_keeps_its_look_when_space_is_turned(rng):
    rows = torch.randn(7, 5, generator=rng).double()
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=rng).double())
    one, other = (neighbour_map(x[0], x[1:]) for x in (rows, rows @ turn))
    assert torch.allclose(torch.tensor(one.hits), torch.tensor(other.hits), atol=1e-6)


def test_vectors_of_different_lengths_lie_where_they_point():
    rows = torch.eye(3)
    one, other = neighbour_map(rows[0], rows[1:]), neighbour_map(5 * rows[0], 0.1 * rows[1:])
    assert one == other and one.explained == pytest.approx(1.0)


def test_few_and_equal_points_are_drawn_too():
    x = torch.tensor([1.0, 2.0])
    assert neighbour_map(x, x[None].repeat(3, 1)).hits == ((0.0, 0.0),) * 3
    one = neighbour_map(x, torch.tensor([[2.0, 1.0]]))
    assert sorted([one.query[0], one.hits[0][0]]) == pytest.approx([-1.0, 1.0])
    assert [one.query[1], one.hits[0][1]] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert neighbour_map(torch.ones(1), torch.ones(2, 1)).explained == 1.0
