"""Overlap of neighbourhoods: loops over pairs, planted partners, noise, pairs left out."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from align.data.random_pairings import random_pairings
from probes.structure.neighbourhoods import MUTUAL_KNN, SAMPLE, mutual_knn, neighbour_overlaps
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    crossing,
    names,
    noisy_pairs,
    space_of,
    spread_ratio,
    strangers,
)


def overlaps_by_hand(source, target, codes, k):
    def near(x, i):
        others = [j for j in range(len(x)) if codes[j] != codes[i]]
        return set(sorted(others, key=lambda j: (-float(x[i] @ x[j]), j))[:k])

    n = len(source)
    return [len(near(source, i) & near(target, i)) / k for i in range(n)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), k=st.integers(1, 17), exact=st.booleans())
def test_the_overlap_is_that_of_a_loop_over_pairs_even_where_cosines_tie(seed, k, exact):
    rng = torch.Generator().manual_seed(seed)
    source, target = crossing(rng, 20) if exact else strangers(rng, 20)
    by_hand = overlaps_by_hand(source, target, UNEVEN, k)
    found = neighbour_overlaps(source, target, k=k, groups=names(UNEVEN))
    assert found.tolist() == pytest.approx(by_hand)
    value = mutual_knn(source, target, k=k, groups=names(UNEVEN))
    assert value == pytest.approx(sum(by_hand) / 20)


def test_one_half_of_the_partners_changed_is_an_overlap_of_one_half(rng):
    centres = F.normalize(torch.randn(20, 16, generator=rng), dim=1).repeat_interleave(2, dim=0)
    source = centres + 1e-3 * torch.randn(40, 16, generator=rng)
    partner = torch.arange(40)
    partner[20:] = partner[20:].roll(1)
    target = source[partner.argsort()]
    assert mutual_knn(source, target, k=1) == 0.5


def test_rotation_and_scale_of_a_side_change_nothing(rng):
    source, target = noisy_pairs(rng, 60, 8)
    turn = rotation(8, rng)
    assert mutual_knn(3 * source @ turn, source) == 1
    assert mutual_knn(source @ turn, 0.1 * target) == mutual_knn(source, target)


def test_the_order_of_the_pairs_does_not_matter(rng):
    source, target = noisy_pairs(rng, 60, 8)
    order = torch.randperm(60, generator=rng)
    assert mutual_knn(source[order], target[order]) == pytest.approx(mutual_knn(source, target))


def test_sides_may_differ_in_width_and_be_arrays(rng):
    source, target = noisy_pairs(rng, 30, 8)
    wide = F.pad(target, (0, 5)).double().numpy()
    assert mutual_knn(source, wide) == pytest.approx(mutual_knn(source, target))


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_unrelated_sides_overlap_as_the_null_says(rng, codes):
    measured = [MUTUAL_KNN.measure(space_of(*strangers(rng, 20), codes)) for _ in range(100)]
    mean = sum(found.value for found in measured) / 100
    assert measured[0].null.value == pytest.approx(mean, abs=0.01)
    ps = torch.tensor([found.null.p for found in measured])
    assert 0.4 < ps.mean() < 0.6
    assert (ps <= 0.1).float().mean() < 0.2


def test_without_groups_the_null_is_k_over_the_others(rng):
    assert MUTUAL_KNN.measure(space_of(*strangers(rng, 41))).null.value == pytest.approx(10 / 40)


def test_related_sides_have_the_smallest_p(rng):
    assert MUTUAL_KNN.measure(space_of(*noisy_pairs(rng, 60, 8, noise=0.3))).null.p == 1 / 200


def test_the_p_counts_the_random_pairings_that_overlap_as_much(rng):
    source, target = noisy_pairs(rng, 30, 3, noise=2.0)
    space = space_of(source, target)
    pairings = random_pairings(space.codes, 199, space.generator("mutual_knn"))
    as_large = sum(
        mutual_knn(source, target[rows]) > mutual_knn(source, target) - 1e-9 for rows in pairings
    )
    assert 0 < as_large < 200
    assert MUTUAL_KNN.measure(space).null.p == (as_large + 1) / 200


def test_the_interval_follows_what_leaving_a_pair_out_does(rng):
    source, target = noisy_pairs(rng, 25, 4)
    found = MUTUAL_KNN.measure(space_of(source, target))
    kept = [[i for i in range(25) if i != j] for j in range(25)]
    without = torch.tensor(
        [float(neighbour_overlaps(source[rows], target[rows]).sum()) for rows in kept]
    )
    one_only = found.replicate(torch.eye(25, dtype=torch.float64))
    expected = without.mean() - without
    torch.testing.assert_close(one_only - found.value, expected.double(), atol=1e-5, rtol=0)


def test_the_interval_is_wide_rather_than_narrow():
    fresh = partial(noisy_pairs, n=80, d=8)
    assert 1 < spread_ratio(MUTUAL_KNN, lambda rng: space_of(*fresh(rng)), repeats=40) < 2.2


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_probe_gives_what_the_function_gives(rng, codes):
    source, target = noisy_pairs(rng, 20)
    found = MUTUAL_KNN.measure(space_of(source, target, codes))
    assert found.value == pytest.approx(mutual_knn(source, target, groups=names(codes)))
    assert found.replicate(torch.ones(1, 20, dtype=torch.float64)).item() == found.value


def test_a_large_space_is_measured_on_a_sample(rng):
    source, target = noisy_pairs(rng, SAMPLE + 50, 4)
    found = MUTUAL_KNN.measure(space_of(source, target))
    assert len(found.rows) == SAMPLE
    assert found.value == pytest.approx(mutual_knn(source[found.rows], target[found.rows]))


@pytest.mark.parametrize("k", [0, 18, 20])
def test_a_neighbourhood_that_does_not_exist_is_refused(rng, k):
    source, target = strangers(rng, 20)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 17\].*largest group"):
        mutual_knn(source, target, k=k, groups=names(UNEVEN))


def test_rows_without_a_direction_are_refused(rng):
    source, target = strangers(rng, 20)
    target[3] = 0
    with pytest.raises(ValueError, match="every row of target needs a direction"):
        mutual_knn(source, target)


def test_unpaired_sides_are_refused(rng):
    source, target = strangers(rng, 20)
    with pytest.raises(ValueError, match="row-matched"):
        mutual_knn(source, target[:19])
