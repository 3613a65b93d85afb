"""Exact and Gromov-Wasserstein transport against POT, all permutations, and planted isometries."""

from itertools import permutations

import numpy as np
import ot
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.distribution import transport
from probes.distribution.transport import (
    EXACT_WASSERSTEIN,
    GROMOV_WASSERSTEIN,
    exact_wasserstein,
    gromov_wasserstein,
)
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import seeded, space_of, strangers, stretched


@given(st.integers(0, 999), st.integers(2, 60), st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_exact_wasserstein_is_that_of_pot(seed, n, d):
    source, target = stretched(seeded(seed), n, d)
    cost = ot.dist(source.numpy(), target.numpy())
    expected = ot.emd2(np.full(n, 1 / n), np.full(n, 1 / n), cost)
    assert exact_wasserstein(source, target) == pytest.approx(expected)


def test_exact_wasserstein_is_the_best_of_all_assignments():
    source, target = stretched(seeded(0), 6, 2)
    costs = torch.cdist(source, target).square()
    least = min(float(costs[range(6), order].mean()) for order in permutations(range(6)))
    assert exact_wasserstein(source, target) == pytest.approx(least)


def test_repeated_items_are_at_the_distance_of_their_points():
    source = torch.zeros(5, 2)
    assert exact_wasserstein(source, source + torch.tensor([3.0, 4.0])) == pytest.approx(25)


def test_the_bias_of_samples_is_in_the_null(rng):
    measured = EXACT_WASSERSTEIN.measure(space_of(*strangers(rng, 60, 20)))
    assert measured.value > 0.5
    assert measured.value == pytest.approx(measured.null.value, rel=0.05)


def test_gromov_wasserstein_is_what_pot_finds_from_the_best_start():
    source, target = stretched(seeded(1), 30, 3)
    angles = []
    for side in (source, target):
        unit = F.normalize(side, dim=1).numpy()
        angle = np.arccos(np.clip(unit @ unit.T, -1, 1))
        np.fill_diagonal(angle, 0)
        above = np.sort(angle[np.triu_indices(30, 1)])
        angles.append(angle / above[(len(above) - 1) // 2])
    uniform = np.full(30, 1 / 30)
    from_product = ot.gromov.gromov_wasserstein2(*angles, uniform, uniform)
    spread = [np.sort(angle) for angle in angles]
    alike = ot.emd(uniform, uniform, ot.dist(*spread))
    from_alike = ot.gromov.gromov_wasserstein2(*angles, uniform, uniform, G0=alike)
    assert gromov_wasserstein(source, target, restarts=1) == pytest.approx(from_alike)
    best = min(from_product, from_alike)
    assert gromov_wasserstein(source, target, restarts=2) == pytest.approx(best)


@pytest.mark.parametrize("d", [3, 20])
def test_a_turned_and_shuffled_cloud_has_the_same_shape(rng, d):
    source = torch.randn(60, d, generator=rng, dtype=torch.float64)
    turn = rotation(d, rng, torch.float64)
    target = 5 * (source @ turn)[torch.randperm(60, generator=rng)]
    assert gromov_wasserstein(source, target) == pytest.approx(0, abs=1e-9)


def test_widths_may_differ_where_the_shape_is_the_same(rng):
    source = torch.randn(40, 3, generator=rng, dtype=torch.float64)
    assert gromov_wasserstein(source, F.pad(source, (2, 4))) == pytest.approx(0, abs=1e-9)


def test_more_restarts_never_do_worse(rng):
    source, target = torch.randn(2, 40, 3, generator=rng)
    found = [gromov_wasserstein(source, target, restarts=restarts) for restarts in (1, 2, 5)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0


def test_random_starts_come_from_the_seed(rng):
    sides = (np.abs(np.sin(np.arange(25.0).reshape(5, 5))),) * 2
    first, again, other = (
        list(transport._starts(*sides, restarts=4, seed=seed)) for seed in (0, 0, 1)
    )
    assert len(first) == 4
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[2], other[2])
    for start in first:
        np.testing.assert_allclose(start.sum(0), 0.2)
        np.testing.assert_allclose(start.sum(1), 0.2)


def test_a_small_space_is_measured_whole(rng):
    source, target = strangers(rng, 50, 6)
    measured = GROMOV_WASSERSTEIN.measure(space_of(source, target[:, :4]))
    assert measured.value == pytest.approx(gromov_wasserstein(source, target[:, :4]))
    assert measured.interval is None
    assert measured.notes == (
        "50 pairs make one subset of 50 for Gromov-Wasserstein, and the interval needs two: "
        "400 pairs.",
    )
    assert torch.equal(measured.rows, torch.arange(50))


@pytest.mark.parametrize("n, count", [(70, 3), (200, 4)])
def test_large_spaces_are_measured_on_disjoint_subsets_of_whole_groups(rng, monkeypatch, n, count):
    monkeypatch.setattr(transport, "_SUBSET", 20)
    source, target = strangers(rng, n, 6)
    space = space_of(source, target, torch.arange(n) // 2)
    subsets = transport._subsets(space)
    rows = torch.cat(subsets)
    assert len(subsets) == count
    assert [len(subset) for subset in subsets] == [20] * count
    assert len(rows.unique()) == len(rows)
    assert all(space.codes[subset].bincount().max() == 2 for subset in subsets)
    assert all(set(space.codes[subset].bincount().tolist()) <= {0, 2} for subset in subsets)
    measured = GROMOV_WASSERSTEIN.measure(space)
    found = [gromov_wasserstein(source[rows], target[rows]) for rows in subsets]
    assert measured.value == pytest.approx(np.mean(found))
    low, high = measured.interval
    half = {3: 4.303, 4: 3.182}[count] * np.std(found, ddof=1) / count**0.5
    assert (low, high) == pytest.approx((np.mean(found) - half, np.mean(found) + half))
    assert torch.equal(measured.rows, rows.sort().values)
    assert measured.notes == ()


def test_the_null_is_the_cost_of_the_independent_plan(rng):
    source, target = strangers(rng, 12, 3)
    measured = GROMOV_WASSERSTEIN.measure(space_of(source, target))
    a, b = (torch.from_numpy(transport._angles("side", side)) for side in (source, target))
    by_hand = (a[:, :, None, None] - b[None, None]).square().mean()
    assert measured.null.value == pytest.approx(float(by_hand))
    assert measured.null.p is None
    assert 0 <= measured.value < measured.null.value


def test_repeated_items_have_angles_of_nought_and_not_nan(rng):
    source = torch.randn(12, 3, generator=rng).repeat(5, 1)
    angles = transport._angles("source", source)
    assert np.isfinite(angles).all()
    assert angles.diagonal().max() < 1e-6
    assert gromov_wasserstein(source, source.flip(0)) == pytest.approx(0, abs=1e-9)


def test_zero_rows_have_no_angles():
    holed = torch.eye(4).index_fill(0, torch.tensor([1]), 0.0)
    with pytest.raises(ValueError, match="every row of target needs a direction"):
        gromov_wasserstein(torch.eye(4), holed)


def test_items_that_all_coincide_have_no_shape():
    with pytest.raises(ValueError, match="the median angle within source"):
        gromov_wasserstein(torch.ones(4, 2), torch.eye(4))


def test_two_pairs_have_no_shape():
    with pytest.raises(ValueError, match="at least 3 rows"):
        gromov_wasserstein(torch.eye(2), torch.eye(2))


def test_no_restart_is_refused():
    with pytest.raises(ValueError, match="restarts must be finite and at least 1; got 0"):
        gromov_wasserstein(torch.eye(4), torch.eye(4), restarts=0)
