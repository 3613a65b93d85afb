"""Triplet and cosine losses."""

from __future__ import annotations

import pytest
import torch

from experiments.losses.triplet import cosine_regression, triplet
from tests.helpers.planted import unit_sides

GROUPS = torch.tensor([4, 7, 4, 9, 7])


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["own groups", "shared groups"])
@pytest.mark.parametrize("hardest", [False, True], ids=["all", "hardest"])
def test_triplet_is_that_of_plain_loops(groups, hardest, rng):
    source, target = unit_sides(rng, 5, 4)
    expected = 0.0
    for a, b in ((source, target), (target, source)):
        for i in range(5):
            wrong = [j for j in range(5) if (j != i if groups is None else groups[j] != groups[i])]
            hinges = [max(0.0, 0.4 + float(a[i] @ b[j] - a[i] @ b[i])) for j in wrong]
            expected += (max(hinges) if hardest else sum(hinges) / len(hinges)) / 5
    found = triplet(source, target, margin=0.4, groups=groups, hardest=hardest)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("hardest", [False, True], ids=["all", "hardest"])
def test_triplet_loses_nothing_where_true_pairs_lead_or_nothing_is_false(hardest, rng):
    sharp = torch.eye(5)
    assert triplet(sharp, sharp, margin=0.9, hardest=hardest) == 0
    source, target = (side.requires_grad_() for side in unit_sides(rng, 5, 4))
    groups = torch.zeros(5, dtype=torch.int64)
    loss = triplet(source, target, margin=0.5, groups=groups, hardest=hardest)
    loss.backward()
    assert loss == 0 and (source.grad == 0).all()


def test_triplet_refuses_no_margin(rng):
    with pytest.raises(ValueError, match="margin must be finite and above 0"):
        triplet(*unit_sides(rng, 5, 4), margin=0.0)


def test_cosine_regression_sees_directions_alone(rng):
    source, target = unit_sides(rng, 5, 4)
    expected = (1 - (source * target).sum(dim=1)).mean()
    torch.testing.assert_close(cosine_regression(3 * source, 0.5 * target), expected)
    assert cosine_regression(source, 2 * source).item() == pytest.approx(0, abs=1e-12)
    assert cosine_regression(source, -source).item() == pytest.approx(2)


@pytest.mark.parametrize(
    "loss",
    [lambda x, y: triplet(x, y, margin=0.1), cosine_regression],
    ids=["triplet", "cosine_regression"],
)
def test_sides_that_do_not_match_are_refused(loss):
    with pytest.raises(ValueError, match=r"share one space.*\(3, 4\) and \(3, 5\)"):
        loss(torch.ones(3, 4), torch.ones(3, 5))


def test_groups_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match="groups must be one int64 code per row"):
        triplet(*unit_sides(rng, 5, 4), margin=0.1, groups=GROUPS[:3])
