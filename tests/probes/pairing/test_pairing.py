"""Margin and relative modality gap: against loops over pairs, resamples by hand, and noise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.pairing.margin import (
    MEAN_MARGIN,
    RELATIVE_MODALITY_GAP,
    mean_margin,
    mean_product_apart,
    p_of_mean_cosine,
    relative_modality_gap,
)
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    drawn_rows,
    names,
    noisy_pairs,
    space_of,
    strangers,
    weights_of,
)

FUNCTIONS = {MEAN_MARGIN: mean_margin, RELATIVE_MODALITY_GAP: relative_modality_gap}
BOTH = pytest.mark.parametrize("probe", FUNCTIONS, ids=lambda probe: probe.name)


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def by_hand(x, y, codes):
    """Margin, and relative gap, one cosine after another."""
    x, y, rows = x.double(), y.double(), range(len(x))
    apart = [(i, j) for i in rows for j in rows if codes[i] != codes[j]]

    def mean(values):
        return sum(values) / len(values)

    true = mean([cosine(x[i], y[i]) for i in rows])
    false, within_x, within_y = (
        mean([cosine(a[i], b[j]) for i, j in apart]) for a, b in ((x, y), (x, x), (y, y))
    )
    m, s = (1 - true) / 2, ((1 - within_x) / 2 + (1 - within_y) / 2) / 2
    return true - false, m / (m + s), (1 - false) / 2 / ((1 - false) / 2 + s)


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_values_are_those_of_loops_over_pairs(seed, n, d, grouped):
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, n, d, generator=rng)
    codes = torch.randint(3, (n,), generator=rng) if grouped and n > 3 else torch.arange(n)
    codes[:2] = torch.tensor([0, 1])
    margin, gap, _ = by_hand(x, y, codes)
    assert mean_margin(x, y, groups=names(codes)) == pytest.approx(margin, abs=1e-6)
    assert relative_modality_gap(x, y, groups=names(codes)) == pytest.approx(gap, abs=1e-6)


def test_known_values_on_axes():
    axes = torch.eye(10)
    here, there = axes[:5], axes[5:]
    assert mean_margin(here, here) == 1
    assert mean_margin(-here, here) == -1
    assert mean_margin(here, there) == 0
    assert relative_modality_gap(here, here) == 0
    # A partner at cosine 0 is as far away as any item of one side; an opposite one is twice as far.
    assert relative_modality_gap(here, there) == pytest.approx(1 / 2)
    assert relative_modality_gap(here, -here) == pytest.approx(2 / 3)


def test_sides_that_are_two_points_are_all_gap():
    north, east = torch.eye(2)
    assert relative_modality_gap(north.repeat(6, 1), east.repeat(6, 1)) == 1


@BOTH
@pytest.mark.parametrize("codes", [torch.arange(40), UNEVEN], ids=["single", "uneven"])
def test_a_probe_gives_what_its_function_gives_and_its_null_is_that_of_strangers(probe, codes, rng):
    x, y = noisy_pairs(rng, len(codes), shift=1.0)
    found = probe.measure(space_of(x, y, codes))
    margin, gap, at_random = by_hand(x, y, codes)
    assert found.value == pytest.approx(FUNCTIONS[probe](x, y, groups=names(codes)), abs=1e-6)
    assert found.value == pytest.approx(margin if probe is MEAN_MARGIN else gap, abs=1e-6)
    assert found.null.value == pytest.approx(0 if probe is MEAN_MARGIN else at_random, abs=1e-6)
    ones = torch.ones(1, len(codes), dtype=torch.float64)
    assert found.replicate(ones).item() == pytest.approx(found.value, abs=1e-9)


@BOTH
def test_a_replicate_is_the_value_of_the_rows_that_were_drawn(probe, rng):
    x, y = noisy_pairs(rng, len(UNEVEN))
    weights = weights_of(UNEVEN, 10)
    got = probe.measure(space_of(x, y, UNEVEN)).replicate(weights)
    for value, weight in zip(got.tolist(), weights, strict=True):
        rows = drawn_rows(weight)
        expected = FUNCTIONS[probe](x[rows], y[rows], groups=names(UNEVEN[rows]))
        assert value == pytest.approx(expected, abs=1e-6)


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
@pytest.mark.parametrize("codes", [torch.arange(40), UNEVEN], ids=["single", "uneven"])
def test_on_noise_values_come_to_their_nulls_and_p_is_uniform(probe, codes, rng):
    found = [
        probe.measure(space_of(*strangers(rng, len(codes)), codes, seed)) for seed in range(150)
    ]
    off = torch.tensor([one.value - one.null.value for one in found])
    assert abs(off.mean()) < 4 * off.std() / len(off) ** 0.5
    p = torch.tensor([one.null.p for one in found])
    assert (p <= 0.1).float().mean() == pytest.approx(0.1, abs=4 * (0.09 / 150) ** 0.5)
    assert p.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / 150) ** 0.5)


@BOTH
def test_p_is_small_where_pairs_match_whatever_the_gap(probe, rng):
    assert probe.measure(space_of(*noisy_pairs(rng, 60, shift=3.0))).null.p < 0.01


def test_p_of_one_point_is_one(rng):
    """Rounding must not pass for a match: cosines that are all equal have equal means."""
    point = torch.nn.functional.normalize(torch.randn(1, 37, generator=rng), dim=1)
    space = space_of(point.repeat(53, 1), -point.repeat(53, 1))
    assert p_of_mean_cosine(space) == 1
    assert mean_margin(space.source, space.target) == pytest.approx(0, abs=1e-12)


def test_a_narrow_cone_loses_no_digits(rng):
    """Within a cone all cosines are nearly 1; their differences are what is measured."""
    x, y = torch.randn(2, 30, 6, generator=rng) * 0.01 + 1
    margin, gap, _ = by_hand(x, y, torch.arange(30))
    assert mean_margin(x, y) == pytest.approx(margin, abs=3e-8)
    assert relative_modality_gap(x, y) == pytest.approx(gap, rel=2e-3)
    space = space_of(*(torch.nn.functional.normalize(side, dim=1) for side in (x, y)))
    found = RELATIVE_MODALITY_GAP.measure(space)
    draws = found.replicate(weights_of(space.codes, 200))
    assert draws.mean().item() == pytest.approx(found.value, rel=0.02)


def test_a_mean_product_may_be_of_two_matrices_or_of_one_with_itself(rng):
    x, y = torch.randn(2, len(UNEVEN), 3, generator=rng, dtype=torch.float64)
    apart = UNEVEN[:, None] != UNEVEN
    assert mean_product_apart(x, y, UNEVEN)[0] == pytest.approx((x @ y.T)[apart].mean().item())
    assert mean_product_apart(x, x, UNEVEN)[0] == pytest.approx((x @ x.T)[apart].mean().item())


@BOTH
def test_rotations_lengths_and_order_change_nothing(probe, rng):
    function = FUNCTIONS[probe]
    x, y = noisy_pairs(rng, 30)
    value = function(x, y)
    turn = rotation(8, rng)
    order = torch.randperm(30, generator=rng)
    lengths = torch.rand(30, 1, generator=rng) + 0.5
    assert function(x @ turn, y @ turn) == pytest.approx(value, abs=1e-6)
    assert function(x[order], y[order]) == pytest.approx(value, abs=1e-6)
    assert function(x * lengths, 7 * y) == pytest.approx(value, abs=1e-6)
    assert function(y.numpy(), x.half()) == pytest.approx(value, abs=1e-3)


@BOTH
def test_bad_input_is_refused(probe):
    function, points = FUNCTIONS[probe], torch.eye(4)
    with pytest.raises(ValueError, match="every row of target needs a direction"):
        function(points, torch.zeros(4, 4))
    with pytest.raises(ValueError, match="got widths 4 and 3"):
        function(points, points[:, :3])
    with pytest.raises(ValueError, match="all 4 are of 'a'"):
        function(points, points, groups=["a"] * 4)
    with pytest.raises(ValueError, match="source must be finite"):
        function(points.log(), points)


def test_one_point_has_no_relative_gap(rng):
    point = torch.randn(1, 5, generator=rng).repeat(6, 1)
    with pytest.raises(ValueError, match="needs rows that differ; all rows of both sides point"):
        relative_modality_gap(point, 2 * point)
