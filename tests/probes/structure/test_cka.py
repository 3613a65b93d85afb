"""CKA: sums over distinct pairs, published formulas, planted values, noise, pairs left out."""

import warnings
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.inputs import UnreliableEstimate
from probes.structure.cka import LINEAR_CKA, RBF_CKA, linear_cka, rbf_cka
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    names,
    noisy_pairs,
    space_of,
    spread_ratio,
    strangers,
    weights_of,
)

FUNCTIONS = {LINEAR_CKA: linear_cka, RBF_CKA: rbf_cka}
BOTH = pytest.mark.parametrize("probe", FUNCTIONS, ids=lambda probe: probe.name)


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableEstimate)
        return function(*args, **options)


def hsic_by_hand(k, l):  # noqa: E741
    """The definition: means over pairs, triples and quadruples of distinct rows."""
    n = range(len(k))
    pair = [float(k[i, j] * l[i, j]) for i, j in permutations(n, 2)]
    triple = [float(k[i, j] * l[i, m]) for i, j, m in permutations(n, 3)]
    quadruple = [float(k[i, j] * l[m, o]) for i, j, m, o in permutations(n, 4)]
    means = [sum(values) / len(values) for values in (pair, triple, quadruple)]
    return means[0] - 2 * means[1] + means[2]


def cka_by_hand(k, l):  # noqa: E741
    return hsic_by_hand(k, l) / (hsic_by_hand(k, k) * hsic_by_hand(l, l)) ** 0.5


def gaussian_by_hand(x, bandwidth):
    squares = torch.stack([(x - row).square().sum(dim=1) for row in x])
    median = squares[torch.ones_like(squares).triu(1) == 1].sqrt().median()
    return torch.exp(-squares / (2 * (bandwidth * median) ** 2))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20), d=st.sampled_from([1, 3, 12]), e=st.sampled_from([2, 12]))
def test_the_linear_one_is_that_of_loops_over_distinct_rows(seed, d, e):
    rng = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(7, width, generator=rng, dtype=torch.float64) + 1 for width in (d, e))
    expected = cka_by_hand(x @ x.T, y @ y.T)
    assert quietly(linear_cka, x, y) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20), bandwidth=st.floats(0.3, 3))
def test_the_gaussian_one_is_that_of_loops_over_distinct_rows(seed, bandwidth):
    rng = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(7, width, generator=rng, dtype=torch.float64) + 1 for width in (2, 5))
    expected = cka_by_hand(gaussian_by_hand(x, bandwidth), gaussian_by_hand(y, bandwidth))
    found = quietly(rbf_cka, x, y, bandwidth=bandwidth)
    assert found == pytest.approx(expected, abs=1e-9)


def test_wide_sides_go_through_the_gram_matrix_to_the_same_value(rng):
    source, target = noisy_pairs(rng, 100, 8)
    wide = F.pad(target, (0, 400))
    found = quietly(linear_cka, source, wide)
    assert found == pytest.approx(linear_cka(source, target), abs=1e-5)
    biased = quietly(linear_cka, F.pad(source, (0, 400)), wide, unbiased=False)
    assert biased == pytest.approx(linear_cka(source, target, unbiased=False), abs=1e-5)


@pytest.mark.parametrize("shape", [(8, 80_000), (80_000, 2)], ids=["wide", "tall"])
def test_neither_many_pairs_nor_great_width_need_a_large_square(rng, shape):
    # The wrong way would hold 25 GB.
    x = torch.randn(shape, generator=rng)
    assert quietly(linear_cka, x, 2 * x) == pytest.approx(1, abs=1e-3)


def test_the_biased_one_is_the_published_formula(rng):
    x, y = (side.double() for side in noisy_pairs(rng, 50, 8))
    x, y = x - x.mean(0), y - y.mean(0)
    norm = torch.linalg.matrix_norm
    expected = norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))
    assert linear_cka(x, y, unbiased=False) == pytest.approx(expected.item())


def test_a_shared_half_of_the_variance_gives_the_known_value(rng):
    x = torch.randn(4000, 2, generator=rng)
    # ||C_xy||^2 / (||C_x|| ||C_y||) = 1 / (sqrt(2) 1)
    assert linear_cka(x, x[:, :1]) == pytest.approx(0.5**0.5, abs=0.02)


@BOTH
def test_rotation_shift_scale_and_order_change_nothing(rng, probe):
    source, target = noisy_pairs(rng, 60, 8)
    turn = rotation(8, rng)
    order = torch.randperm(60, generator=rng)
    cka = FUNCTIONS[probe]
    moved = 3 * source @ turn + 2
    assert cka(moved, source) == pytest.approx(1, abs=1e-4)
    assert cka(moved, 0.1 * target - 1) == pytest.approx(cka(source, target), abs=1e-4)
    expected = cka(source, target)
    assert cka(source[order], target[order]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("d", [4, 64])
@BOTH
def test_unrelated_sides_give_zero_and_any_p(rng, probe, d):
    measured = [probe.measure(space_of(*strangers(rng, 30, d))) for _ in range(60)]
    values = torch.tensor([found.value for found in measured])
    assert values.mean().abs() < 3 * values.std() / 60**0.5
    assert measured[0].null.value == 0
    ps = torch.tensor([found.null.p for found in measured])
    assert 0.35 < ps.mean() < 0.65
    assert (ps <= 0.1).float().mean() < 0.25


def test_the_biased_one_is_near_one_where_the_widths_exceed_the_pairs(rng):
    source, target = strangers(rng, 30, 500)
    assert quietly(linear_cka, source, target, unbiased=False) > 0.9
    assert abs(quietly(linear_cka, source, target)) < 0.1


@BOTH
def test_related_sides_have_the_smallest_p(rng, probe):
    assert probe.measure(space_of(*noisy_pairs(rng, 60, 8))).null.p == 0.01


@BOTH
@pytest.mark.parametrize("d", [3, 60])
def test_the_interval_follows_what_leaving_a_pair_out_does(rng, probe, d):
    source, target = noisy_pairs(rng, 80, d, noise=0.7)
    found = probe.measure(space_of(source, target))
    kept = [torch.arange(80) != j for j in range(80)]
    left_out = torch.tensor(
        [quietly(FUNCTIONS[probe], source[rows], target[rows]) for rows in kept],
        dtype=torch.float64,
    )
    jackknife = 79 * (left_out.mean() - left_out)
    influence = found.replicate(torch.eye(80, dtype=torch.float64)) - found.value
    assert torch.corrcoef(torch.stack([influence, jackknife]))[0, 1] > 0.97
    assert influence.std().item() == pytest.approx(jackknife.std().item(), rel=0.15)


@BOTH
def test_the_interval_is_as_wide_as_fresh_samples_are_apart(probe):
    assert 0.7 < spread_ratio(probe, lambda rng: space_of(*noisy_pairs(rng, 80, 4))) < 1.6


@BOTH
@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_probe_gives_what_the_function_gives(rng, probe, codes):
    source, target = noisy_pairs(rng, 20, 4)
    found = probe.measure(space_of(source, target, codes))
    assert found.value == FUNCTIONS[probe](source, target, groups=names(codes))
    ones = torch.ones(1, 20, dtype=torch.float64)
    assert found.replicate(ones).item() == pytest.approx(found.value)
    assert found.notes == ()


@BOTH
def test_one_pair_of_each_group_is_used(rng, probe):
    source, target = noisy_pairs(rng, 20, 4)
    first = torch.tensor([UNEVEN.tolist().index(code) for code in range(16)])
    cka = FUNCTIONS[probe]
    assert cka(source, target, groups=names(UNEVEN)) == cka(source[first], target[first])


@BOTH
def test_a_group_drawn_more_often_moves_the_value_as_its_pair_does(rng, probe):
    source, target = noisy_pairs(rng, 20, 4)
    first = torch.tensor([UNEVEN.tolist().index(code) for code in range(16)])
    grouped = probe.measure(space_of(source, target, UNEVEN))
    single = probe.measure(space_of(source[first], target[first]))
    weights = weights_of(UNEVEN, 5)
    torch.testing.assert_close(grouped.replicate(weights), single.replicate(weights[:, first]))


def test_a_large_space_is_measured_on_a_sample(rng):
    source, target = noisy_pairs(rng, 2100, 4)
    found = RBF_CKA.measure(space_of(source, target))
    assert len(found.rows) == 2000
    expected = rbf_cka(source[found.rows], target[found.rows])
    assert found.value == pytest.approx(expected, abs=1e-5)
    assert len(LINEAR_CKA.measure(space_of(source, target)).rows) == 2100


@BOTH
def test_fewer_pairs_than_twice_the_width_are_remarked_on(rng, probe):
    source, target = strangers(rng, 30, 16)
    with pytest.warns(UnreliableEstimate, match="CKA with n < 2d: 30 independent pairs"):
        value = FUNCTIONS[probe](source, target)
    found = probe.measure(space_of(source, target))
    assert found.value == value
    assert len(found.notes) == 1 and found.notes[0].startswith("CKA with n < 2d")


@BOTH
def test_rows_that_are_equally_far_apart_are_refused(rng, probe):
    source, _ = strangers(rng, 20, 4)
    with pytest.raises(ValueError, match="target must have a shape"):
        quietly(FUNCTIONS[probe], source, torch.eye(20))
    with pytest.raises(ValueError, match="source must have a shape"):
        quietly(FUNCTIONS[probe], torch.eye(20), source)


@BOTH
def test_a_side_that_is_one_point_is_refused(rng, probe):
    source, _ = strangers(rng, 20, 4)
    with pytest.raises(ValueError, match="target must vary; all 20 rows are one point"):
        FUNCTIONS[probe](source, torch.full((20, 3), 0.1))


@BOTH
def test_too_few_groups_are_refused(rng, probe):
    source, target = noisy_pairs(rng, 8, 2)
    with pytest.raises(ValueError, match=r"at least 4 groups of pairs.*got 3 in 8 pairs"):
        FUNCTIONS[probe](source, target, groups=list("aaabbbcc"))
    with pytest.raises(ValueError, match="at least 4 rows"):
        FUNCTIONS[probe](source[:3], target[:3])


def test_a_bandwidth_that_is_not_positive_is_refused(rng):
    with pytest.raises(ValueError, match="bandwidth must be finite and above 0"):
        rbf_cka(*noisy_pairs(rng, 8, 2), bandwidth=0)


def test_a_median_distance_of_zero_is_refused(rng):
    source, target = noisy_pairs(rng, 20, 4)
    source[:16] = source[0].clone()
    with pytest.raises(ValueError, match="more than half of the distances within source"):
        rbf_cka(source, target)
