"""Random pairings: all of them, equally often, groups whole."""

from collections import Counter

import pytest
import torch

from probes.permutations import matrix_products, random_pairings
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


def test_products_visit_rows_and_columns_as_paired(rng):
    a, b = torch.randn(2, 7, 7, generator=rng, dtype=torch.float64)
    pairings = random_pairings(torch.arange(7), 4, rng)
    by_hand = [
        sum(float(a[i, j] * b[rows[i], rows[j]]) for i in range(7) for j in range(7))
        for rows in pairings
    ]
    assert matrix_products(a, b, pairings).tolist() == pytest.approx(by_hand)
