"""Centroid gap and its share of the variance: loops over pairs, planted gaps, noise, resamples."""

import math
from functools import partial
from itertools import permutations, product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.offset.gap import (
    GAP_ENERGY_SHARE,
    MODALITY_GAP,
    gap_energy_share,
    modality_gap,
    squared_modality_gap,
)
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    check_uniform,
    names,
    noisy_pairs,
    space_of,
    spread_ratio,
)

FUNCTIONS = {MODALITY_GAP: modality_gap, GAP_ENERGY_SHARE: gap_energy_share}
BOTH = pytest.mark.parametrize("probe", FUNCTIONS, ids=lambda probe: probe.name)


def apart(codes):
    """Ordered pairs of rows of different groups."""
    return [(i, j) for i, j in permutations(range(len(codes)), 2) if codes[i] != codes[j]]


def squared_by_hand(source, target, codes):
    delta = source.double() - target.double()
    dots = [delta[i] @ delta[j] for i, j in apart(codes)]
    return float(sum(dots) / len(dots))


def trace_by_hand(x, codes):
    halves = [(x[i].double() - x[j].double()).square().sum() / 2 for i, j in apart(codes)]
    return float(sum(halves) / len(halves))


def share_by_hand(source, target, codes):
    between = squared_by_hand(source, target, codes) / 4
    within = (trace_by_hand(source, codes) + trace_by_hand(target, codes)) / 2
    return between / (between + within)


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_squared_gap_is_the_mean_over_pairs_of_different_groups(rng, codes):
    source, target = noisy_pairs(rng, 20, shift=1.0)
    squared = squared_modality_gap(source, target, groups=names(codes))
    assert squared == pytest.approx(squared_by_hand(source, target, codes), rel=1e-9)
    assert modality_gap(source, target, groups=names(codes)) == pytest.approx(squared**0.5)


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_share_is_that_of_unbiased_variances(rng, codes):
    source, target = noisy_pairs(rng, 20, shift=0.3)
    source *= torch.linspace(0.5, 3, 20)[:, None]
    share = gap_energy_share(source, target, groups=names(codes))
    assert share == pytest.approx(share_by_hand(source, target, codes), rel=1e-9)


def test_without_groups_the_traces_are_the_usual_unbiased_ones(rng):
    source, target = noisy_pairs(rng, 30, shift=0.2)
    between = squared_modality_gap(source, target) / 4
    within = float(source.var(dim=0).sum() + target.var(dim=0).sum()) / 2
    assert gap_energy_share(source, target) == pytest.approx(between / (between + within), rel=1e-5)


def test_a_planted_gap_is_found():
    # Rows of one length on both sides of a plane: the centroids are 2 * 0.6 apart.
    ring = F.normalize(torch.randn(500, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    high = torch.full((500, 1), 0.6)
    source, target = torch.cat([0.8 * ring, high], 1), torch.cat([0.8 * ring, -high], 1)
    assert modality_gap(source, target) == pytest.approx(1.2, abs=1e-6)
    # Within: 0.8^2 less the square of the mean of the ring, which is about 0.
    assert gap_energy_share(source, target) == pytest.approx(0.36 / (0.36 + 0.64), abs=2e-3)


def test_opposite_points_are_all_gap():
    point = F.normalize(torch.ones(5, 3), dim=1)
    assert modality_gap(point, -point) == pytest.approx(2, abs=1e-6)
    assert squared_modality_gap(point, -point) == pytest.approx(4, abs=1e-6)
    assert gap_energy_share(point, -point) == pytest.approx(1, abs=1e-6)


def test_equal_sides_have_no_gap(rng):
    source, _ = noisy_pairs(rng, 30)
    assert modality_gap(source, source) == 0
    assert gap_energy_share(source, source) == 0
    measured = MODALITY_GAP.measure(space_of(source, source))
    assert measured.null.p == 1


def test_the_squared_gap_is_unbiased_where_partners_depend_on_each_other():
    squares, plain, independent = [], [], []
    for seed in range(300):
        rng = torch.Generator().manual_seed(seed)
        source, target = noisy_pairs(rng, 20, noise=0.3)
        squares.append(squared_modality_gap(source, target))
        plain.append(float((source.mean(dim=0) - target.mean(dim=0)).square().sum()))
        noise = float(source.var(dim=0).sum() + target.var(dim=0).sum()) / 20
        independent.append(plain[-1] - noise)
    squares, plain, independent = (torch.tensor(x) for x in (squares, plain, independent))
    error = float(squares.std()) / 300**0.5
    assert abs(float(squares.mean())) < 3 * error
    # What the docstring says of the two other estimates.
    assert float(plain.mean()) > 30 * error
    assert float(independent.mean()) < -30 * error


def test_a_negative_square_is_reported_as_no_distance():
    source = F.normalize(torch.tensor([[1.0, 0.2], [1.0, -0.2]]), dim=1)
    target = source.flip(0)
    assert squared_modality_gap(source, target) < 0
    assert modality_gap(source, target) == 0
    assert gap_energy_share(source, target) < 0


@given(seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e3), n=st.integers(3, 40))
@settings(deadline=None, max_examples=30)
def test_the_share_does_not_change_with_rotation_shift_scale_and_order(seed, scale, n):
    rng = torch.Generator().manual_seed(seed)
    source, target = (x.double() for x in noisy_pairs(rng, n, 5, shift=0.5))
    turn, move = rotation(5, rng).double(), torch.randn(5, generator=rng).double()
    order = torch.randperm(n, generator=rng)
    moved = [(scale * (x @ turn + move))[order] for x in (source, target)]
    assert gap_energy_share(*moved) == pytest.approx(gap_energy_share(source, target), abs=1e-5)
    turned = [(x @ turn)[order] for x in (source, target)]
    assert modality_gap(*turned) == pytest.approx(modality_gap(source, target), abs=1e-5)
    assert modality_gap(target, source) == pytest.approx(modality_gap(source, target), abs=1e-9)


def test_numpy_and_half_precision_are_read(rng):
    source, target = noisy_pairs(rng, 30, shift=0.3)
    exact = modality_gap(source, target)
    assert modality_gap(source.numpy(), target.numpy()) == exact
    assert modality_gap(source.half(), target.half()) == pytest.approx(exact, abs=1e-3)


@BOTH
@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_probe_gives_the_value_of_the_function(rng, probe, codes):
    source, target = noisy_pairs(rng, 20, shift=0.2)
    measured = probe.measure(space_of(source, target, codes))
    assert measured.value == FUNCTIONS[probe](source, target, groups=names(codes))
    ones = torch.ones(1, 20, dtype=torch.float64)
    assert measured.replicate(ones).item() == pytest.approx(measured.value, abs=1e-6)


@pytest.mark.parametrize("size", [1, 3], ids=["pairs", "groups"])
def test_intervals_are_no_wider_than_they_need_to_be_where_there_is_no_gap(size):
    """There the part of first order vanishes, and exact replicates are 1.7 times too wide."""
    codes = torch.arange(90) // size
    fresh = partial(noisy_pairs, n=90, d=24)
    ratio = spread_ratio(GAP_ENERGY_SHARE, lambda rng: space_of(*fresh(rng), codes), repeats=80)
    assert 0.75 < ratio < 1.3


@BOTH
def test_replicates_spread_as_fresh_samples_do(probe):
    ratio = spread_ratio(probe, lambda rng: space_of(*noisy_pairs(rng, 100, shift=0.6)))
    assert ratio == pytest.approx(1, rel=0.25)


@BOTH
@pytest.mark.parametrize("repeats", [1, 4], ids=["pairs", "groups"])
def test_p_is_uniform_without_a_gap(probe, repeats):
    ps = []
    for seed in range(100):
        rng = torch.Generator().manual_seed(seed)
        sides = noisy_pairs(rng, 60 // repeats, 5)
        source, target = (x.repeat_interleave(repeats, dim=0) for x in sides)
        codes = torch.arange(60 // repeats).repeat_interleave(repeats)
        ps.append(probe.measure(space_of(source, target, codes, seed)).null.p)
    check_uniform(ps)


@pytest.mark.parametrize("repeats", [1, 3], ids=["pairs", "groups"])
def test_p_is_the_share_of_all_swaps_that_give_as_large_a_gap(rng, repeats):
    sides = noisy_pairs(rng, 8, 5, shift=0.4)
    source, target = (x.double().repeat_interleave(repeats, dim=0) for x in sides)
    codes = torch.arange(8).repeat_interleave(repeats)
    squares = []
    for signs in product((1.0, -1.0), repeat=8):
        swap = torch.tensor(signs)[codes, None] < 0
        swapped = torch.where(swap, target, source), torch.where(swap, source, target)
        squares.append(squared_modality_gap(*swapped, groups=names(codes)))
    exact = sum(square >= squares[0] - 1e-9 for square in squares) / len(squares)
    assert 0.01 < exact < 0.5
    p = MODALITY_GAP.measure(space_of(source.float(), target.float(), codes)).null.p
    assert p == pytest.approx(exact, abs=4 * (exact / 500) ** 0.5)


def test_both_probes_share_one_test(rng):
    space = space_of(*noisy_pairs(rng, 80, shift=0.05))
    first, second = (probe.measure(space).null for probe in FUNCTIONS)
    assert first == second
    assert first.value == 0


def test_a_gap_is_significant(rng):
    space = space_of(*noisy_pairs(rng, 60, shift=0.5))
    assert MODALITY_GAP.measure(space).null.p == pytest.approx(1 / 500)


def test_swapping_sides_leaves_the_total_variance_as_it_was(rng):
    # Why the share needs no test of its own.
    source, target = noisy_pairs(rng, 20, shift=0.2)
    swap = torch.rand(20, 1, generator=rng) < 0.5
    other = torch.where(swap, target, source), torch.where(swap, source, target)
    totals = [
        squared_modality_gap(*sides) / 4 / gap_energy_share(*sides)
        for sides in ((source, target), other)
    ]
    assert totals[0] == pytest.approx(totals[1])


def test_large_common_offsets_do_not_spoil_the_share(rng):
    source, target = noisy_pairs(rng, 50, shift=0.3)
    far = [side.double() + 1e4 for side in (source, target)]
    assert gap_energy_share(*far) == pytest.approx(gap_energy_share(source, target), rel=1e-4)


def test_vectors_without_unit_norm_are_refused(rng):
    source, target = noisy_pairs(rng, 20)
    for function in (modality_gap, squared_modality_gap):
        with pytest.raises(ValueError, match="every row of source must have unit norm"):
            function(2 * source, target)
        with pytest.raises(ValueError, match="every row of target must have unit norm"):
            function(source, 2 * target)


@pytest.mark.parametrize("function", [modality_gap, squared_modality_gap, gap_energy_share])
def test_sides_that_do_not_fit_are_refused(rng, function):
    source, target = noisy_pairs(rng, 20)
    with pytest.raises(ValueError, match="must be row-matched"):
        function(source, target[:-1])
    with pytest.raises(ValueError, match="must lie in one space"):
        function(source, target[:, :-1])
    with pytest.raises(ValueError, match="at least 2 rows"):
        function(source[:1], target[:1])
    with pytest.raises(ValueError, match="at least two groups"):
        function(source, target, groups=["one"] * 20)
    source[3, 1] = math.nan
    with pytest.raises(ValueError, match="must be finite"):
        function(source, target)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_point_has_no_share(dtype):
    point = F.normalize(torch.tensor([[0.3, 0.7, 0.1]], dtype=dtype), dim=1).repeat(30, 1)
    with pytest.raises(ValueError, match="source and target must vary, or differ"):
        gap_energy_share(point, point)
