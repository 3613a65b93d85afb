"""Alignment and uniformity: against the formulas written out, closed forms, and noise."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.pairing.uniformity import (
    ALIGNMENT,
    CROSS_UNIFORMITY,
    UNIFORMITY_SOURCE,
    UNIFORMITY_TARGET,
    alignment,
    cross_uniformity,
    pair_distance,
    uniformity,
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

PROBES = (ALIGNMENT, UNIFORMITY_SOURCE, UNIFORMITY_TARGET, CROSS_UNIFORMITY)


def function_of(probe):
    return {
        ALIGNMENT: lambda x, y, groups: alignment(x, y),
        UNIFORMITY_SOURCE: lambda x, y, groups: uniformity(x, groups=groups),
        UNIFORMITY_TARGET: lambda x, y, groups: uniformity(y, groups=groups),
        CROSS_UNIFORMITY: lambda x, y, groups: cross_uniformity(x, y, groups=groups),
    }[probe]


ALL = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)


@given(st.integers(0, 10_000), st.floats(0.1, 8))
@settings(max_examples=40, deadline=None)
def test_values_are_those_of_the_formulas(seed, t):
    rng = torch.Generator().manual_seed(seed)
    x, y = (side.double() for side in noisy_pairs(rng, 15, 4))
    x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
    apart = (x - y).norm(dim=1)
    assert alignment(x, y) == pytest.approx(apart.square().mean().item())
    assert pair_distance(x, y) == pytest.approx(apart.mean().item())
    kernel = torch.pdist(x).square().mul(-t).exp()
    assert uniformity(x, t=t) == pytest.approx(kernel.mean().log().item(), abs=1e-9)
    false = (-t * torch.cdist(x, y).square()).exp()[~torch.eye(15, dtype=torch.bool)]
    assert cross_uniformity(x, y, t=t) == pytest.approx(false.mean().log().item(), abs=1e-9)


def test_known_values_on_axes():
    points = torch.eye(5)
    assert alignment(points, points) == pair_distance(points, points) == 0
    assert alignment(points, -points) == 4
    assert pair_distance(points, -points) == 2
    assert alignment(points, points.roll(1, 0)) == 2
    assert pair_distance(points, points.roll(1, 0)) == pytest.approx(2**0.5)
    # All distances between different axes are the square root of 2.
    assert uniformity(points) == cross_uniformity(points, points) == pytest.approx(-4)
    assert uniformity(points, t=3) == pytest.approx(-6)
    assert uniformity(points[:1].repeat(4, 1)) == 0
    assert cross_uniformity(points[:1].repeat(4, 1), -points[:1].repeat(4, 1)) == -8


def test_a_very_sharp_kernel_sees_the_closest_pair_only(rng):
    x, y = noisy_pairs(rng, 20, 3)
    t = 1e4
    closest = torch.pdist(x.double()).square().min().item()
    assert uniformity(x, t=t) == pytest.approx(-t * closest - math.log(190), rel=1e-3)
    assert math.isfinite(cross_uniformity(x, y, t=t))


def test_rows_of_one_group_are_not_compared(rng):
    x, y = noisy_pairs(rng, 12)
    twice = [f"item {row}" for row in list(range(12)) * 2]
    # A copy of every row: 12 pairs of equal rows would raise the mean kernel.
    assert uniformity(x.repeat(2, 1), groups=twice) == pytest.approx(uniformity(x), abs=1e-6)
    assert uniformity(x.repeat(2, 1)) > uniformity(x) + 0.05
    both = cross_uniformity(x.repeat(2, 1), y.repeat(2, 1), groups=twice)
    assert both == pytest.approx(cross_uniformity(x, y), abs=1e-6)


@ALL
@pytest.mark.parametrize("codes", [torch.arange(40), UNEVEN], ids=["single", "uneven"])
def test_a_probe_gives_what_its_function_gives(probe, codes, rng):
    x, y = noisy_pairs(rng, len(codes), shift=0.5)
    x = F.normalize(x + 0.3, dim=1)
    found = probe.measure(space_of(x, y, codes))
    assert found.value == pytest.approx(function_of(probe)(x, y, names(codes)), abs=1e-6)
    ones = torch.ones(1, len(codes), dtype=torch.float64)
    assert found.replicate(ones).item() == pytest.approx(found.value, abs=1e-6)


def test_each_side_has_its_own_uniformity(rng):
    x, y = strangers(rng, 30)
    narrow = F.normalize(y + 5, dim=1)
    space = space_of(x, narrow)
    assert UNIFORMITY_SOURCE.measure(space).value < UNIFORMITY_TARGET.measure(space).value - 1


def test_sides_of_two_widths_have_their_uniformities(rng):
    x, y = strangers(rng, 30, 8)[0], strangers(rng, 30, 5)[0]
    space = space_of(x, y)
    assert UNIFORMITY_SOURCE.measure(space).value == pytest.approx(uniformity(x))
    assert UNIFORMITY_TARGET.measure(space).value == pytest.approx(uniformity(y))
    assert {probe.needs for probe in PROBES[1:3]} == {"sides"}


def test_a_measurement_leaves_the_shared_cosines_as_they_are(rng):
    space = space_of(*noisy_pairs(rng, 30))
    before = space.cross.clone()
    CROSS_UNIFORMITY.measure(space)
    assert torch.equal(space.cross, before)


def test_a_replicate_of_alignment_is_the_value_of_the_rows_that_were_drawn(rng):
    x, y = noisy_pairs(rng, len(UNEVEN))
    weights = weights_of(UNEVEN, 10)
    got = ALIGNMENT.measure(space_of(x, y, UNEVEN)).replicate(weights)
    for value, weight in zip(got.tolist(), weights, strict=True):
        rows = drawn_rows(weight)
        assert value == pytest.approx(alignment(x[rows], y[rows]), abs=1e-6)


def log_mean_kernel(x, y, codes, weights):
    """Each pair of rows of different groups, weighted."""
    apart = (codes[:, None] != codes) * weights[:, None] * weights
    kernel = (-2 * torch.cdist(x.double(), y.double()).square()).exp()
    return ((kernel * apart).sum() / apart.sum()).log().item()


@pytest.mark.parametrize("probe", PROBES[1:], ids=lambda probe: probe.name)
def test_influence_is_the_derivative_with_respect_to_the_weight_of_each_pair(probe, rng):
    x, y = noisy_pairs(rng, len(UNEVEN))
    found = probe.measure(space_of(x, y, UNEVEN))
    sides = {UNIFORMITY_SOURCE: (x, x), UNIFORMITY_TARGET: (y, y), CROSS_UNIFORMITY: (x, y)}[probe]
    n, step = len(UNEVEN), 1e-4
    ones = torch.ones(n, dtype=torch.float64)
    by_hand, found_slopes = [], []
    for row in range(n):
        moved = step * F.one_hot(torch.tensor(row), n)
        up, down = (log_mean_kernel(*sides, UNEVEN, ones + sign * moved) for sign in (1, -1))
        # A replicate is linear in the share that each pair has of all weights.
        nudged = found.replicate((ones + moved)[None]).item()
        derivative = (nudged - found.value) * (n + step) / step
        by_hand.append(n * (up - down) / (2 * step))
        found_slopes.append(derivative)
    # One factor holds them all to the spread of a U-statistic.
    factors = torch.tensor(found_slopes) / torch.tensor(by_hand)
    assert factors.std() < 1e-3
    assert 0.5**0.5 - 1e-3 < factors.mean() < 1


@ALL
def test_replicates_spread_as_fresh_samples_do(probe, rng):
    codes = torch.arange(100)
    function = function_of(probe)
    fresh = torch.tensor([function(*noisy_pairs(rng, 100, shift=1.0), None) for _ in range(300)])
    weights = weights_of(codes, 400)
    spread = [
        probe.measure(space_of(*noisy_pairs(rng, 100, shift=1.0))).replicate(weights).std().item()
        for _ in range(20)
    ]
    assert sum(spread) / 20 == pytest.approx(fresh.std().item(), rel=0.2)


@pytest.mark.parametrize(
    ("d", "log_of_kernel"),
    # Mean of exp(4 u) over the cosine u: on two points, on the circle by its series, on the sphere.
    [
        (1, math.log(math.cosh(4))),
        (2, math.log(sum(4**k / math.factorial(k) ** 2 for k in range(40)))),
        (3, math.log(math.sinh(4) / 4)),
    ],
    ids=["1", "2", "3"],
)
def test_the_null_of_uniformity_is_the_known_value_in_few_dimensions(d, log_of_kernel, rng):
    space = space_of(*strangers(rng, 20, d))
    for probe in PROBES[1:]:
        assert probe.measure(space).null.value == pytest.approx(log_of_kernel - 4)


@pytest.mark.parametrize("d", [2, 16, 384, 2000])
@pytest.mark.parametrize("probe", PROBES[1:], ids=lambda probe: probe.name)
def test_points_drawn_uniformly_reach_the_null_of_uniformity(probe, d, rng):
    found = [probe.measure(space_of(*strangers(rng, 60, d))) for _ in range(20)]
    off = torch.tensor([one.value - one.null.value for one in found])
    assert abs(off.mean()) < 4 * off.std() / 20**0.5 + 1e-6
    assert found[0].null.p is None


def test_no_cloud_of_many_points_goes_below_the_null(rng):
    x, y = noisy_pairs(rng, 300, shift=1.0)
    for probe in (UNIFORMITY_SOURCE, UNIFORMITY_TARGET):
        found = probe.measure(space_of(x, y))
        assert found.value > found.null.value


def test_on_noise_alignment_comes_to_its_null_and_p_is_uniform(rng):
    found = [ALIGNMENT.measure(space_of(*strangers(rng, 40), seed=seed)) for seed in range(150)]
    off = torch.tensor([one.value - one.null.value for one in found])
    assert abs(off.mean()) < 4 * off.std() / 150**0.5
    p = torch.tensor([one.null.p for one in found])
    assert p.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / 150) ** 0.5)
    assert ALIGNMENT.measure(space_of(*noisy_pairs(rng, 60))).null.p < 0.01


def test_the_null_of_alignment_is_the_mean_over_false_pairs(rng):
    x, y = noisy_pairs(rng, len(UNEVEN), shift=1.0)
    apart = torch.cdist(x.double(), y.double()).square()[UNEVEN[:, None] != UNEVEN]
    found = ALIGNMENT.measure(space_of(x, y, UNEVEN))
    assert found.null.value == pytest.approx(apart.mean().item(), abs=1e-6)


@ALL
def test_rotations_and_order_change_nothing(probe, rng):
    function = function_of(probe)
    x, y = noisy_pairs(rng, 30)
    value = function(x, y, None)
    turn = rotation(8, rng)
    order = torch.randperm(30, generator=rng)
    assert function(x @ turn, y @ turn, None) == pytest.approx(value, abs=1e-5)
    assert function(x[order], y[order], None) == pytest.approx(value, abs=1e-5)
    assert function(x.numpy(), y.half(), None) == pytest.approx(value, abs=2e-3)
    assert pair_distance(x @ turn, y @ turn) == pytest.approx(pair_distance(x, y))


@pytest.mark.parametrize("function", [alignment, pair_distance, cross_uniformity])
def test_pairs_must_be_unit_vectors_of_one_space(function):
    points = torch.eye(4)
    with pytest.raises(ValueError, match="every row of source must have unit norm"):
        function(2 * points, points)
    with pytest.raises(ValueError, match="every row of target must have unit norm"):
        function(points, 2 * points)
    with pytest.raises(ValueError, match="got widths 4 and 3"):
        function(points, points[:, :3])


def test_uniformity_refuses_what_it_cannot_measure():
    points = torch.eye(4)
    with pytest.raises(ValueError, match="every row of x must have unit norm"):
        uniformity(2 * points)
    with pytest.raises(ValueError, match="x must have at least 2 rows for this probe; got 1"):
        uniformity(points[:1])
    with pytest.raises(ValueError, match="t must be finite and above 0; got 0"):
        uniformity(points, t=0)
    with pytest.raises(ValueError, match="t must be finite and above 0; got -1"):
        cross_uniformity(points, points, t=-1)
    with pytest.raises(ValueError, match="all 4 are of 'a'"):
        uniformity(points, groups=["a"] * 4)
    with pytest.raises(ValueError, match="all 4 are of 'a'"):
        cross_uniformity(points, points, groups=["a"] * 4)
