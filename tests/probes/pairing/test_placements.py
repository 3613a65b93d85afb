"""AUC and FOSCTTM: against loops over pairs and scikit-learn, ties, influence, and noise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance_matrix
from sklearn.metrics import roc_auc_score

from probes.pairing.placements import (
    FOSCTTM,
    MATCHING_AUC,
    foscttm,
    fractions_closer,
    matching_auc,
)
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    crossing,
    drawn_rows,
    names,
    noisy_pairs,
    space_of,
    strangers,
    weights_of,
)

FUNCTIONS = {MATCHING_AUC: matching_auc, FOSCTTM: foscttm}
BOTH = pytest.mark.parametrize("probe", FUNCTIONS, ids=lambda probe: probe.name)


def beats(a, b):
    """Whether ``a`` is above ``b``, ties half."""
    return (a > b).double() + (a == b).double() / 2


def auc_by_hand(cross, codes, weights):
    """Each true pair against each false one, weighted."""
    false = (codes[:, None] != codes) * weights[:, None] * weights
    wins = sum(
        weight * (beats(cross[i, i], cross) * false).sum() for i, weight in enumerate(weights)
    )
    return (wins / (weights.sum() * false.sum())).item()


def foscttm_by_hand(cross, codes, weights):
    """Each query of both directions against the items of other groups, weighted."""
    values = []
    for i, code in enumerate(codes):
        others = weights * (codes != code)
        closer = (beats(cross[i], cross[i, i]) + beats(cross[:, i], cross[i, i])) / 2
        values.append((closer * others).sum() / others.sum())
    return (torch.stack(values) @ weights / weights.sum()).item()


BY_HAND = {MATCHING_AUC: auc_by_hand, FOSCTTM: foscttm_by_hand}


@BOTH
@given(st.integers(0, 10_000), st.integers(4, 14), st.integers(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_values_are_those_of_loops_over_pairs_whatever_the_ties(probe, seed, n, d, grouped):
    rng = torch.Generator().manual_seed(seed)
    x, y = crossing(rng, n, d)
    codes = torch.randint(3, (n,), generator=rng) if grouped else torch.arange(n)
    codes[:2] = torch.tensor([0, 1])
    expected = BY_HAND[probe](x @ y.T, codes, torch.ones(n, dtype=torch.float64))
    assert FUNCTIONS[probe](x, y, groups=names(codes)) == pytest.approx(expected, abs=1e-12)


@BOTH
@pytest.mark.parametrize("codes", [torch.arange(40), UNEVEN], ids=["single", "uneven"])
def test_a_probe_gives_what_its_function_gives(probe, codes, rng):
    x, y = noisy_pairs(rng, len(codes))
    found = probe.measure(space_of(x, y, codes))
    ones = torch.ones(1, len(codes), dtype=torch.float64)
    assert found.value == pytest.approx(FUNCTIONS[probe](x, y, groups=names(codes)), abs=1e-9)
    assert found.value == pytest.approx(BY_HAND[probe](x @ y.T, codes, ones[0]), abs=1e-9)
    assert found.replicate(ones).item() == pytest.approx(found.value)
    assert found.null.value == 0.5


def test_the_area_is_that_of_scikit_learn(rng):
    space = space_of(*noisy_pairs(rng, 700))
    is_true = torch.eye(700).flatten().numpy()
    expected = roc_auc_score(is_true, space.cross.flatten().numpy())
    assert MATCHING_AUC.measure(space).value == pytest.approx(expected, abs=1e-9)
    assert matching_auc(space.source, space.target) == pytest.approx(expected, abs=1e-6)


def test_fractions_are_those_of_the_single_cell_packages_over_all_but_the_partner(rng):
    x, y = noisy_pairs(rng, 530)
    apart = distance_matrix(x.double().numpy(), y.double().numpy())
    true = apart.diagonal()
    forth, back = (apart < true[:, None]).sum(axis=1), (apart < true).sum(axis=0)
    expected = torch.from_numpy(forth + back).double() / (2 * 529)
    found = fractions_closer(x, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=2 / 529)
    assert found.mean().item() == pytest.approx(expected.mean().item(), abs=1e-6)
    assert foscttm(x, y) == found.mean().item()


def test_known_values_on_axes():
    points = torch.eye(6)
    assert foscttm(points, points) == 0
    assert matching_auc(points, points) == 1
    assert foscttm(points, -points) == 1
    assert matching_auc(points, -points) == 0
    assert fractions_closer(points, points).tolist() == [0] * 6
    # Partners are swapped: for each item the other of its two is closer, and 4 tie with its own.
    swapped = points[[1, 0, 3, 2, 5, 4]]
    assert fractions_closer(points, swapped).tolist() == pytest.approx([(1 + 4 / 2) / 5] * 6)
    assert matching_auc(points, swapped) == pytest.approx((24 / 30) / 2)


@BOTH
@pytest.mark.parametrize("n", [5, 33, 600])
def test_a_collapsed_space_is_at_chance(probe, n, rng):
    point, other = torch.nn.functional.normalize(torch.randn(2, 40, generator=rng), dim=1)
    x, y = point.repeat(n, 1), other.repeat(n, 1)
    assert FUNCTIONS[probe](x, y) == pytest.approx(0.5, abs=1e-12)
    found = probe.measure(space_of(x, y))
    assert found.value == pytest.approx(0.5, abs=1e-12)
    assert found.null.p == 1


def test_items_of_the_own_group_are_neither_closer_nor_farther():
    # Captions of one photo: the second caption's photo is the first one's as well.
    x = torch.tensor([[1.0, 0], [0.8, 0.6], [0, 1], [-1, 0]])
    y = torch.tensor([[0.9, 0.1], [1.0, 0], [0, 1], [-1, 0]])
    assert foscttm(x, y) > 0
    assert foscttm(x, y, groups=["photo", "photo", "b", "c"]) == 0
    assert matching_auc(x, y) < 1
    assert matching_auc(x, y, groups=["photo", "photo", "b", "c"]) == 1


@BOTH
@pytest.mark.parametrize("codes", [torch.arange(12), UNEVEN], ids=["single", "uneven"])
@pytest.mark.parametrize("clouds", [noisy_pairs, crossing], ids=["noisy", "ties"])
def test_replicates_have_the_derivative_of_the_value_in_the_weight_of_each_pair(
    probe, codes, clouds, rng
):
    x, y = clouds(rng, len(codes))
    n, cross, step = len(codes), x @ y.T, 1e-4
    found = probe.measure(space_of(x, y, codes))
    ones = torch.ones(n, dtype=torch.float64)
    for row in range(n):
        moved = step * torch.nn.functional.one_hot(torch.tensor(row), n)
        up, down = (BY_HAND[probe](cross, codes, ones + sign * moved) for sign in (1, -1))
        above, under = found.replicate(torch.stack([ones + moved, ones - moved])).tolist()
        assert (above - under) / step == pytest.approx((up - down) / step, abs=1e-6)


@BOTH
def test_replicates_stay_in_the_range_of_the_value(probe, rng):
    """One pair of many is wrong: most draws miss it or take it once more."""
    x, y = noisy_pairs(rng, 80, noise=0.05)
    y[:2] = y[[1, 0]]
    found = probe.measure(space_of(x, y))
    draws = found.replicate(weights_of(torch.arange(80), 500))
    assert 0 < abs(found.value - round(found.value)) < 0.05
    assert 0 <= draws.min() < draws.max() <= 1
    # All draws of a perfect match are perfect.
    perfect = probe.measure(space_of(x, x))
    assert perfect.replicate(weights_of(torch.arange(80), 5)).tolist() == [perfect.value] * 5


@BOTH
@pytest.mark.parametrize(
    "codes", [torch.arange(120), torch.arange(150) // 3], ids=["single", "threes"]
)
def test_replicates_follow_the_values_of_the_rows_that_were_drawn(probe, codes, rng):
    x, y = noisy_pairs(rng, len(codes))
    weights = weights_of(codes, 150)
    got = probe.measure(space_of(x, y, codes)).replicate(weights)
    drawn = [drawn_rows(weight) for weight in weights]
    expected = torch.tensor(
        [FUNCTIONS[probe](x[rows], y[rows], groups=names(codes[rows])) for rows in drawn],
        dtype=torch.float64,
    )
    assert torch.corrcoef(torch.stack([got, expected]))[0, 1] > 0.97
    assert (got.std() / expected.std()).item() == pytest.approx(1, abs=0.1)
    assert abs(got.mean() - expected.mean()) < 0.2 * expected.std()


@BOTH
def test_replicates_spread_as_fresh_samples_do(probe, rng):
    fresh = torch.tensor([FUNCTIONS[probe](*noisy_pairs(rng, 100)) for _ in range(200)])
    weights = weights_of(torch.arange(100), 400)
    spread = [
        probe.measure(space_of(*noisy_pairs(rng, 100))).replicate(weights).std().item()
        for _ in range(10)
    ]
    assert sum(spread) / 10 == pytest.approx(fresh.std().item(), rel=0.2)


@BOTH
@pytest.mark.parametrize("codes", [torch.arange(60), torch.arange(60) // 3, UNEVEN], ids=str)
def test_on_noise_values_come_to_one_half_and_p_is_not_too_small(probe, codes, rng):
    found = [probe.measure(space_of(*strangers(rng, len(codes)), codes)) for _ in range(200)]
    values = torch.tensor([one.value for one in found])
    assert abs(values.mean() - 0.5) < 4 * values.std() / 200**0.5
    p = torch.tensor([one.null.p for one in found])
    assert 0.015 <= (p <= 0.05).float().mean() <= 0.1
    assert 0.2 < (p <= 0.3).float().mean() < 0.4


def test_p_of_captions_that_repeat_one_another_is_not_too_small(rng):
    """Three copies of each pair carry no more evidence than one."""
    codes = torch.arange(60) // 3
    p = []
    for _ in range(200):
        x, y = (side.repeat_interleave(3, dim=0) for side in strangers(rng, 20))
        p.append(FOSCTTM.measure(space_of(x, y, codes)).null.p)
    assert (torch.tensor(p) <= 0.05).float().mean() <= 0.08


@BOTH
def test_p_is_small_where_pairs_match_and_never_zero(probe, rng):
    assert probe.measure(space_of(*noisy_pairs(rng, 300, noise=0.2))).null.p == 1 / 200
    assert probe.measure(space_of(*noisy_pairs(rng, 60))).null.p < 0.01
    points = torch.eye(600)
    assert probe.measure(space_of(points, points)).null.p == 1 / 200


def test_foscttm_does_not_depend_on_the_size_of_the_gallery(rng):
    small = [foscttm(*noisy_pairs(rng, 50)) for _ in range(60)]
    large = [foscttm(*noisy_pairs(rng, 400)) for _ in range(20)]
    assert sum(small) / 60 == pytest.approx(sum(large) / 20, abs=0.01)


@BOTH
def test_rotations_lengths_and_order_change_nothing(probe, rng):
    function = FUNCTIONS[probe]
    x, y = noisy_pairs(rng, 40)
    value = function(x, y)
    turn = rotation(8, rng)
    order = torch.randperm(40, generator=rng)
    lengths = torch.rand(40, 1, generator=rng) + 0.5
    assert function(x @ turn, y @ turn) == pytest.approx(value, abs=1e-3)
    assert function(x[order], y[order]) == pytest.approx(value, abs=1e-9)
    assert function(x * lengths, 7 * y) == pytest.approx(value, abs=1e-3)
    assert function(y.numpy(), x.numpy()) == pytest.approx(value, abs=1e-3)
    torch.testing.assert_close(fractions_closer(x[order], y[order]), fractions_closer(x, y)[order])


@pytest.mark.parametrize("function", [matching_auc, foscttm, fractions_closer])
def test_bad_input_is_refused(function):
    points = torch.eye(4)
    with pytest.raises(ValueError, match="every row of target needs a direction"):
        function(points, torch.zeros(4, 4))
    with pytest.raises(ValueError, match="got widths 4 and 3"):
        function(points, points[:, :3])
    with pytest.raises(ValueError, match="all 4 are of 'a'"):
        function(points, points, groups=["a"] * 4)
    with pytest.raises(ValueError, match="source must be finite"):
        function(points.log(), points)
