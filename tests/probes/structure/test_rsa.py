"""RSA: scipy's rank correlation, planted orders, noise, pairs left out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from probes.structure.rsa import RSA, rsa
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


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), grouped=st.booleans(), exact=st.booleans())
def test_it_is_the_rank_correlation_of_scipy_even_where_cosines_tie(seed, grouped, exact):
    rng = torch.Generator().manual_seed(seed)
    source, target = crossing(rng, 20) if exact else strangers(rng, 20)
    codes = UNEVEN if grouped else torch.arange(20)
    entries = [(i, j) for i in range(20) for j in range(i) if codes[i] != codes[j]]
    cosines = [[float(x[i] @ x[j]) for i, j in entries] for x in (source, target)]
    expected = spearmanr(*cosines).statistic
    # Cosines nearer than 4e-6 are one rank apart there and equal here: a few of 190, by accident.
    assert rsa(source, target, groups=names(codes)) == pytest.approx(expected, abs=1e-3)


def test_halved_angles_keep_the_order_of_all_cosines(rng):
    angle = torch.rand(30, generator=rng, dtype=torch.float64) * 3
    source, target = (torch.stack([a.cos(), a.sin()], 1) for a in (angle, angle / 2))
    assert rsa(source, target) == pytest.approx(1)


def test_rotation_and_scale_of_a_side_change_nothing(rng):
    source, target = noisy_pairs(rng, 40, 8)
    turn = rotation(8, rng)
    assert rsa(3 * source @ turn, source) == pytest.approx(1, abs=1e-5)
    assert rsa(source @ turn, 0.1 * target) == pytest.approx(rsa(source, target), abs=1e-5)


def test_the_order_of_the_pairs_does_not_matter(rng):
    source, target = noisy_pairs(rng, 40, 8)
    order = torch.randperm(40, generator=rng)
    assert rsa(source[order], target[order]) == pytest.approx(rsa(source, target), abs=1e-5)


def test_it_needs_no_gradient_and_no_common_width(rng):
    source, target = noisy_pairs(rng, 20, 8)
    wide = torch.nn.functional.pad(target, (0, 3)).requires_grad_()
    assert rsa(source, wide) == pytest.approx(rsa(source, target), abs=1e-5)


@pytest.mark.parametrize(
    "codes", [torch.arange(40), torch.arange(20).repeat_interleave(2)], ids=["pairs", "groups"]
)
def test_unrelated_sides_give_zero_and_any_p(rng, codes):
    groups = int(codes.max()) + 1
    measured = [
        RSA.measure(space_of(source[codes], target[codes], codes))
        for source, target in (strangers(rng, groups) for _ in range(60))
    ]
    values = torch.tensor([found.value for found in measured])
    assert values.mean().abs() < 3 * values.std() / 60**0.5
    assert measured[0].null.value == 0
    ps = torch.tensor([found.null.p for found in measured])
    assert 0.35 < ps.mean() < 0.65
    assert (ps <= 0.1).float().mean() < 0.25


def test_related_sides_have_the_smallest_p(rng):
    assert RSA.measure(space_of(*noisy_pairs(rng, 60, 8))).null.p == 0.01


@pytest.mark.parametrize("exact", [False, True], ids=["distinct", "tied"])
def test_the_interval_follows_what_leaving_a_pair_out_does(rng, exact):
    source, target = noisy_pairs(rng, 80, 4, noise=0.5)
    if exact:
        axis = torch.multinomial(torch.tensor([0.8, 0.15, 0.05]), 80, True, generator=rng)
        source = torch.eye(3)[axis]
        target = torch.cat([source[:50], source[50:].roll(1, 0)])
    n = 80
    found = RSA.measure(space_of(source, target))
    left_out = torch.tensor(
        [rsa(source[rows], target[rows]) for rows in (torch.arange(n) != j for j in range(n))],
        dtype=torch.float64,
    )
    jackknife = (n - 1) * (left_out.mean() - left_out)
    influence = found.replicate(torch.eye(n, dtype=torch.float64)) - found.value
    assert torch.corrcoef(torch.stack([influence, jackknife]))[0, 1] > 0.99
    assert influence.std().item() == pytest.approx(jackknife.std().item(), rel=0.1)


def test_the_interval_is_as_wide_as_fresh_samples_are_apart():
    assert 0.7 < spread_ratio(RSA, lambda rng: space_of(*noisy_pairs(rng, 80, 8))) < 1.6


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_probe_gives_what_the_function_gives(rng, codes):
    source, target = noisy_pairs(rng, 20)
    found = RSA.measure(space_of(source, target, codes))
    expected = rsa(source, target, groups=names(codes))
    assert found.value == pytest.approx(expected, abs=1e-4)
    assert found.replicate(torch.ones(1, 20, dtype=torch.float64)).item() == pytest.approx(
        found.value
    )


def test_a_large_space_is_measured_on_a_sample(rng):
    source, target = noisy_pairs(rng, 1050, 4)
    found = RSA.measure(space_of(source, target))
    assert len(found.rows) == 1000
    expected = rsa(source[found.rows], target[found.rows])
    assert found.value == pytest.approx(expected, abs=1e-5)


def test_cosines_that_are_all_equal_are_refused(rng):
    source, _ = strangers(rng, 8)
    with pytest.raises(ValueError, match="cosines within target must differ to be ranked"):
        rsa(source, torch.eye(8))
    with pytest.raises(ValueError, match="cosines within source must differ to be ranked"):
        rsa(torch.full((8, 3), 0.3), source)


def test_three_pairs_are_refused(rng):
    with pytest.raises(ValueError, match="at least 4 rows"):
        rsa(*strangers(rng, 3))


def test_rows_without_a_direction_are_refused(rng):
    source, target = strangers(rng, 8)
    source[2] = 0
    with pytest.raises(ValueError, match="every row of source needs a direction"):
        rsa(source, target)
