"""MMD and energy distance against loops, scikit-learn and SciPy; recentred bootstrap and null."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import rbf_kernel

from probes.distribution.clouds import centred
from probes.distribution.discrepancy import (
    ENERGY_DISTANCE,
    ENERGY_DISTANCE_CENTRED,
    MMD,
    MMD_CENTRED,
    energy_distance,
    mmd,
)
from probes.nulls import deviations_to_swap, random_signs
from tests.probes.paired_clouds import (
    UNEVEN,
    drawn_rows,
    names,
    noisy_pairs,
    space_of,
    spread_ratio,
    strangers,
    weights_of,
)


def u_statistic(similarity, source, target, codes):
    """The mean over ordered pairs of different groups, by a loop."""
    zz, ww, zw = similarity(source, source), similarity(target, target), similarity(source, target)
    gains = [
        zz[i, j] + ww[i, j] - zw[i, j] - zw[j, i]
        for i, j in product(range(len(codes)), repeat=2)
        if codes[i] != codes[j]
    ]
    return np.mean(gains)


def five_gaussians(source, target):
    """The mean kernel of scikit-learn's, with bandwidths from all pairs of distinct items."""
    both = np.concatenate([source, target])
    squared = cdist(both, both, "sqeuclidean")[np.triu_indices(len(both), 1)]
    # The lower of the two middle ones where their number is even, as torch takes it.
    median = np.sort(squared)[(len(squared) - 1) // 2]
    return lambda x, y: np.mean(
        [rbf_kernel(x, y, gamma=1 / (2 * c * median)) for c in (0.25, 0.5, 1, 2, 4)], axis=0
    )


def nearness(x, y):
    return -cdist(x, y)


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["alone", "grouped"])
def test_mmd_is_the_loop_over_scikit_learns_kernels(rng, codes):
    source, target = (side.double().numpy() for side in noisy_pairs(rng, 20, shift=0.5))
    expected = u_statistic(five_gaussians(source, target), source, target, codes.tolist())
    assert mmd(source, target, groups=names(codes)) == pytest.approx(expected)


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["alone", "grouped"])
def test_energy_distance_is_the_loop_over_scipys_distances(rng, codes):
    source, target = (side.double().numpy() for side in noisy_pairs(rng, 20, shift=0.5))
    expected = u_statistic(nearness, source, target, codes.tolist())
    assert energy_distance(source, target, groups=names(codes)) == pytest.approx(expected)


@pytest.mark.parametrize("probe, similarity", [(MMD, None), (ENERGY_DISTANCE, nearness)])
def test_replicates_follow_the_statistic_of_the_resample(rng, probe, similarity):
    space = space_of(*noisy_pairs(rng, 20, shift=0.5), UNEVEN)
    source, target = space.source.numpy(), space.target.numpy()
    similarity = similarity or five_gaussians(source, target)
    weights = weights_of(UNEVEN, 40)
    by_hand = []
    for weight in weights:
        rows = drawn_rows(weight).numpy()
        by_hand.append(u_statistic(similarity, source[rows], target[rows], UNEVEN[rows].tolist()))
    found = probe.measure(space).replicate(weights)
    assert np.corrcoef(found, by_hand)[0, 1] > 0.7


@pytest.mark.parametrize("probe", [MMD, ENERGY_DISTANCE], ids=lambda probe: probe.name)
def test_intervals_are_no_wider_than_they_need_to_be_where_clouds_agree(probe):
    """There the part of first order vanishes, and exact replicates are 1.7 times too wide."""
    ratio = spread_ratio(probe, lambda rng: space_of(*strangers(rng, 60)), repeats=80)
    assert 0.75 < ratio < 1.3


@pytest.mark.parametrize(
    "probe, distance", [(MMD_CENTRED, mmd), (ENERGY_DISTANCE_CENTRED, energy_distance)]
)
@pytest.mark.parametrize("codes", [torch.arange(60), torch.arange(60) // 3], ids=["1", "3"])
def test_the_null_of_centred_clouds_is_that_of_swapped_deviations(
    rng, probe, distance, codes, monkeypatch
):
    source, target = strangers(rng, 60, 6)
    seen = []
    monkeypatch.setattr(
        "probes.distribution.discrepancy.upper_p", lambda value, draws: seen.append(draws) or 1.0
    )
    space = space_of(source, target, codes)
    null = probe.measure(space).null
    z, w = deviations_to_swap(source, target, codes)
    signs = random_signs(codes, len(seen[0]), space.generator("discrepancy"))
    for drawn, found in zip(signs[:, :, None] > 0, seen[0], strict=True):
        sides = torch.where(drawn, z, w), torch.where(drawn, w, z)
        by_hand = distance(*centred(*sides), groups=names(codes))
        assert float(found) == pytest.approx(by_hand, abs=1e-5)
    assert null.value == pytest.approx(float(seen[0].mean()))


@pytest.mark.parametrize("distance", [mmd, energy_distance])
def test_both_are_unbiased_and_so_below_nought_half_of_the_time(rng, distance):
    found = np.array([distance(*strangers(rng, 20)) for _ in range(200)])
    assert abs(found.mean()) < 3 * found.std() / 200**0.5
    assert 0.4 < (found < 0).mean() < 0.75


def test_centred_clouds_of_one_law_are_below_nought(rng):
    found = np.array([mmd(*centred(*strangers(rng, 100))) for _ in range(20)])
    assert -0.02 < found.mean() < -0.002


def test_two_points_have_the_energy_distance_of_their_gap():
    # Every source is at one point and every target 3 away: 2 * 3 - 0 - 0.
    source = torch.zeros(4, 2)
    assert energy_distance(source, source + torch.tensor([0.0, 3.0])) == pytest.approx(6)


def test_far_clouds_have_an_mmd_close_to_2(rng):
    near = 1e-3 * torch.randn(2, 30, 3, generator=rng)
    # The median distance is the gap, 1: similarity 1 within, the mean of exp(-1 / (2 c)) across.
    across = np.mean([np.exp(-1 / (2 * c)) for c in (0.25, 0.5, 1, 2, 4)])
    found = mmd(near[0], near[1] + torch.tensor([1.0, 0, 0]))
    assert found == pytest.approx(2 - 2 * across, rel=1e-2)


def test_items_far_from_the_origin_lose_no_digits(rng):
    source, target = (side.double() for side in noisy_pairs(rng, 30, shift=0.3))
    away = torch.full((8,), 1e3, dtype=torch.float64)
    for distance in (mmd, energy_distance):
        moved = distance((source + away).float(), (target + away).float())
        assert moved == pytest.approx(distance(source, target), abs=1e-3)


def test_repeated_items_do_not_make_centred_energy_infinite(rng):
    source, target = noisy_pairs(rng, 20)
    source, target = source[:10].repeat(2, 1), target[:10].repeat(2, 1)
    measured = ENERGY_DISTANCE_CENTRED.measure(space_of(source, target))
    drawn = measured.replicate(weights_of(torch.arange(20), 20))
    assert drawn.isfinite().all()
    assert np.isfinite([measured.null.value, measured.null.p]).all()


@pytest.mark.parametrize("distance", [mmd, energy_distance])
def test_pairs_of_a_single_group_are_refused(rng, distance):
    with pytest.raises(ValueError, match="at least two groups"):
        distance(*strangers(rng, 4), groups=["one"] * 4)


def test_mmd_of_repeated_items_is_refused():
    with pytest.raises(ValueError, match="more than half of the distances between the 8 items"):
        mmd(torch.ones(4, 2), torch.ones(4, 2))
