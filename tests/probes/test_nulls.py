"""Random pairings and signs: all of them, equally often, groups whole; and p-values."""

from collections import Counter

import pytest
import torch

from align.data.random_pairings import random_pairings
from probes.nulls import matrix_products, random_signs, upper_p
from tests.probes.paired_clouds import UNEVEN


def test_every_pairing_comes_equally_often(rng):
    drawn = random_pairings(torch.arange(3), 6000, rng)
    counts = Counter(map(tuple, drawn.tolist()))
    assert len(counts) == 6
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_groups_of_one_size_are_exchanged_whole(rng):
    codes = torch.arange(5).repeat_interleave(3)[torch.randperm(15, generator=rng)]
    for pairing in random_pairings(codes, 50, rng):
        assert pairing.sort().values.tolist() == list(range(15))
        for group in range(5):
            assert len(codes[pairing[codes == group]].unique()) == 1


def test_uneven_groups_are_paired_one_to_one(rng):
    drawn = random_pairings(UNEVEN, 50, rng)
    assert (drawn.sort(dim=1).values == torch.arange(20)).all()
    assert len(drawn.unique(dim=0)) == 50


@pytest.mark.parametrize("n", [7, 150])
def test_products_visit_rows_and_columns_as_paired(rng, n):
    a, b = torch.randn(2, n, n, generator=rng, dtype=torch.float64)
    a, b = a + a.T, b + b.T
    pairings = random_pairings(torch.arange(n), 4, rng)
    by_hand = [
        sum(float(a[i, j] * b[rows[i], rows[j]]) for i in range(n) for j in range(n))
        for rows in pairings
    ]
    assert matrix_products(a, b, pairings).tolist() == pytest.approx(by_hand)


def test_signs_are_shared_by_a_group_and_fair(rng):
    signs = random_signs(UNEVEN, 2000, rng)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert (signs[:, 1] == signs[:, 2]).all() and (signs[:, 4] == signs[:, 6]).all()
    assert signs.mean(dim=0).abs().max() < 0.1
    assert (signs[:, 0] * signs[:, 2]).mean().abs() < 0.1


def test_p_counts_the_value_seen_and_ties():
    under_null = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert upper_p(2.0, under_null) == 3 / 5
    assert upper_p(9.0, under_null) == 1 / 5
    assert upper_p(-1.0, under_null) == 1.0
