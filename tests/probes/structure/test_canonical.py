"""Held-out canonical correlations: cca-zoo, planted spectra, noise that a fit cannot carry over."""

import gc
import weakref

import numpy as np
import pytest
import torch
from cca_zoo.linear import CCA
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from align.data.splits import folds
from probes.structure.canonical import (
    CANONICAL_DIMS,
    CANONICAL_ENERGY,
    canonical_spectrum,
    canonical_spectrum_of,
)
from probes.structure.held_out import WhitenedFold, held_out
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import UNEVEN, names, noisy_pairs, space_of, strangers, weights_of

BOTH = pytest.mark.parametrize(
    "probe", [CANONICAL_ENERGY, CANONICAL_DIMS], ids=lambda probe: probe.name
)


def planted(rng, n, correlations, d=12):
    """Two Gaussian sides that share as many directions, rotated at random."""
    rho = torch.tensor(correlations)
    shared = torch.randn(n, len(rho), generator=rng) * rho.sqrt()
    sides = []
    for _ in range(2):
        own = torch.randn(n, len(rho), generator=rng) * (1 - rho).sqrt()
        rest = torch.randn(n, d - len(rho), generator=rng)
        turn = rotation(d, rng)
        sides.append(torch.cat([shared + own, rest], dim=1) @ turn)
    return sides


def pooled(a, b):
    a, b = np.concatenate(a), np.concatenate(b)
    return (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))


def by_hand(x, y, groups, fit):
    """Held-out and train correlations, from a function that gives directions for centred rows."""
    a, b, train = [], [], []
    fold = folds(groups, 5, seed=0)
    for number in range(5):
        inside, outside = fold == number, fold != number
        centre = x[outside].mean(0), y[outside].mean(0)
        u, v = fit(x[outside] - centre[0], y[outside] - centre[1])
        s, t = (x[outside] - centre[0]) @ u, (y[outside] - centre[1]) @ v
        train.append(pooled([s], [t]))
        s, t = x[inside] @ u, y[inside] @ v
        a.append(s - s.mean(0))
        b.append(t - t.mean(0))
    return pooled(a, b), np.mean(train, axis=0)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), ridge=st.sampled_from([0.0, 0.1, 1.0, 10.0]))
def test_it_is_ridge_cca_fitted_outside_each_fold(seed, ridge):
    rng = torch.Generator().manual_seed(seed)
    x, y = (side.double().numpy() for side in planted(rng, 60, [0.9, 0.7, 0.5], d=5))
    y = y[:, :4]

    def root(s):
        covariance = s.T @ s / len(s)
        covariance += ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        return vectors / np.sqrt(values) @ vectors.T

    def fit(s, t):
        u, _, vt = np.linalg.svd(root(s) @ (s.T @ t) @ root(t))
        return root(s) @ u[:, :4], root(t) @ vt[:4].T

    held_out, train = by_hand(x, y, [str(row) for row in range(60)], fit)
    found = canonical_spectrum(x, y, dims=4, ridge=ridge)
    assert found.held_out.tolist() == pytest.approx(held_out.tolist(), abs=1e-6)
    assert found.train.tolist() == pytest.approx(train.tolist(), abs=1e-6)


@pytest.mark.parametrize("grouped", [False, True], ids=["pairs", "groups"])
def test_without_a_ridge_it_agrees_with_cca_zoo(rng, grouped):
    x, y = (side.double().numpy() for side in planted(rng, 80, [0.95, 0.8, 0.6], d=5))
    groups = [str(row // 2 if grouped else row) for row in range(80)]

    def fit(s, t):
        model = CCA(n_components=3).fit([s, t])
        # Its sign and scale are free: unit variance, positive correlation.
        u, v = model.weights_
        u, v = u / (s @ u).std(0), v / (t @ v).std(0)
        return u, v * np.sign(((s @ u) * (t @ v)).sum(0))

    held_out, train = by_hand(x, y, groups, fit)
    found = canonical_spectrum(x, y, dims=3, ridge=0, groups=groups)
    assert found.held_out.tolist() == pytest.approx(held_out.tolist(), abs=1e-6)
    assert found.train.tolist() == pytest.approx(train.tolist(), abs=1e-6)


def test_a_planted_spectrum_is_found_again(rng):
    x, y = planted(rng, 4000, [0.9, 0.7, 0.5])
    found = canonical_spectrum(x, y)
    expected = [0.9, 0.7, 0.5] + [0] * 9
    assert found.held_out.tolist() == pytest.approx(expected, abs=0.08)
    # What the leading directions miss of their correlation is left to a later one.
    assert 3 <= found.dims_above_null <= 4
    assert found.energy == pytest.approx(0.81 + 0.49 + 0.25, abs=0.1)
    assert 0 < found.optimism < 0.05


def test_components_beyond_the_leading_ones_are_left_out(rng):
    x, y = planted(rng, 300, [0.9, 0.9], d=4)
    rest = 0.01 * torch.randn(300, 200, generator=rng)
    found = canonical_spectrum(torch.cat([x, rest], 1), torch.cat([y, rest], 1))
    assert len(found.held_out) == 32
    # The shared noise holds next to no variance; one that held more would have to be found.
    assert found.dims_above_null >= 2
    loud = canonical_spectrum(torch.cat([x, 100 * rest], 1), torch.cat([y, 100 * rest], 1))
    assert loud.held_out.min() > 0.5


def test_with_few_pairs_all_components_are_kept(rng):
    x, y = (side.double() for side in noisy_pairs(rng, 40, 200))
    # Thirty-two pairs to fit on have no more directions than these.
    found = canonical_spectrum(x, y, dims=31)
    kept = (PCA(39).fit_transform(side) for side in (x, y))
    expected = canonical_spectrum(*kept, dims=31)
    torch.testing.assert_close(found.held_out, expected.held_out)


def test_a_wide_side_is_solved_through_the_narrow_one(rng):
    x, rows = torch.randn(10, 60_000, generator=rng), torch.arange(10)
    # The other way would hold 14 GB.
    found = held_out([WhitenedFold(rows[:5], rows[5:], x, x[:, :2])] * 2, dims=2)
    assert found.a.shape == (10, 2)


def test_unrelated_wide_sides_correlate_in_training_only(rng):
    found = canonical_spectrum(*strangers(rng, 100, 200), ridge=0.01)
    assert found.train[:10].min() > 0.95
    assert found.held_out.abs().max() < 0.5
    assert found.dims_above_null == 0
    assert found.optimism > 0.7


def test_rotation_shift_and_scale_of_a_side_change_nothing(rng):
    source, target = noisy_pairs(rng, 60, 140)
    turn = rotation(140, rng)
    moved = canonical_spectrum(3 * source @ turn + 2, 0.1 * target - 1)
    plain = canonical_spectrum(source, target)
    torch.testing.assert_close(moved.held_out, plain.held_out, atol=2e-3, rtol=0)
    torch.testing.assert_close(moved.null, plain.null, atol=2e-3, rtol=0)


def test_a_group_that_is_not_named_leaks_across_folds(rng):
    source, target = (side.repeat_interleave(4, dim=0) for side in strangers(rng, 40, 20))
    groups = names(torch.arange(40).repeat_interleave(4))
    assert canonical_spectrum(source, target).dims_above_null > 5
    assert canonical_spectrum(source, target, groups=groups).dims_above_null == 0


def test_the_seed_settles_everything(rng):
    source, target = noisy_pairs(rng, 40, 6)
    first, again = (canonical_spectrum(source, target, seed=3) for _ in range(2))
    assert first.held_out.equal(again.held_out) and first.null.equal(again.null)
    assert not first.held_out.equal(canonical_spectrum(source, target, seed=4).held_out)


def test_directions_beyond_the_rank_are_no_nan(rng):
    source, target = noisy_pairs(rng, 40, 6)
    source[:, 1:] = 0
    found = canonical_spectrum(source, target)
    for values in (found.held_out, found.train, found.null):
        assert values.isfinite().all()
    assert found.held_out[0] > 0.1
    assert found.held_out[1:].abs().max() == 0


def test_it_needs_no_gradient(rng):
    source, target = noisy_pairs(rng, 40, 6)
    found = canonical_spectrum(source.requires_grad_(), target)
    assert not found.held_out.requires_grad


@pytest.mark.parametrize(
    "codes", [torch.arange(40), torch.arange(20).repeat_interleave(2)], ids=["pairs", "groups"]
)
def test_unrelated_sides_lie_at_their_null_with_any_p(rng, codes):
    groups = int(codes.max()) + 1
    spaces = [
        space_of(source[codes], target[codes], codes)
        for source, target in (strangers(rng, groups, 4) for _ in range(20))
    ]
    energy = [CANONICAL_ENERGY.measure(space) for space in spaces]
    off = torch.tensor([found.value - found.null.value for found in energy])
    assert off.mean().abs() < 3 * off.std() / 20**0.5
    for measured in (energy, [CANONICAL_DIMS.measure(space) for space in spaces]):
        ps = torch.tensor([found.null.p for found in measured])
        assert 0.35 < ps.mean() < 0.65
        assert (ps <= 0.1).float().mean() < 0.3
    assert sum(CANONICAL_DIMS.measure(space).value > 0 for space in spaces) <= 5


@BOTH
def test_related_sides_have_the_smallest_p(rng, probe):
    found = probe.measure(space_of(*planted(rng, 200, [0.9, 0.8])))
    assert found.null.p == 1 / 40
    assert found.null.value < 1 < found.value


def test_the_interval_of_the_energy_is_as_wide_as_fresh_samples_are_apart(rng):
    spaces = [space_of(*planted(rng, 200, [0.9, 0.7, 0.5], d=6)) for _ in range(20)]
    measured = [CANONICAL_ENERGY.measure(space) for space in spaces]
    fresh = torch.tensor([found.value for found in measured]).std()
    drawn = measured[0].replicate(weights_of(torch.arange(200), 500)).std()
    assert 0.9 * fresh < drawn < 1.9 * fresh


def test_the_interval_of_the_dims_moves_where_one_is_near_its_null(rng):
    found = CANONICAL_DIMS.measure(space_of(*planted(rng, 200, [0.9, 0.3, 0.2], d=6)))
    drawn = found.replicate(weights_of(torch.arange(200), 500))
    assert drawn.unique().tolist() == [1, 2, 3] or drawn.unique().tolist() == [1, 2, 3, 4]


@BOTH
@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
@pytest.mark.parametrize("d", [3, 40])
def test_the_probes_give_what_the_function_gives(rng, probe, codes, d):
    source, target = noisy_pairs(rng, 20, d)
    space = space_of(source, target, codes)
    found = probe.measure(space)
    spectrum = canonical_spectrum(source, target, groups=names(codes))
    expected = {CANONICAL_ENERGY: spectrum.energy, CANONICAL_DIMS: spectrum.dims_above_null}
    assert found.value == expected[probe]
    ones = torch.ones(1, 20, dtype=torch.float64)
    assert found.replicate(ones).item() == pytest.approx(found.value)
    assert canonical_spectrum_of(space).held_out.equal(spectrum.held_out)


def test_a_large_space_is_measured_on_a_sample(rng):
    source, target = noisy_pairs(rng, 1050, 4)
    found = CANONICAL_ENERGY.measure(space_of(source, target))
    assert len(found.rows) == 1000
    assert found.value == canonical_spectrum(source[found.rows], target[found.rows]).energy


def test_a_fit_is_made_once_and_forgotten_with_its_space(rng):
    space = space_of(*noisy_pairs(rng, 40, 4))
    train = weakref.ref(canonical_spectrum_of(space).train)
    assert canonical_spectrum_of(space).train is train()
    del space
    gc.collect()
    assert train() is None


@pytest.mark.parametrize("dims", [0, 5])
def test_directions_that_do_not_exist_are_refused(rng, dims):
    with pytest.raises(ValueError, match=r"dims must lie in \[1, 4\], the components"):
        canonical_spectrum(*noisy_pairs(rng, 20, 4), dims=dims)


def test_a_negative_ridge_is_refused(rng):
    with pytest.raises(ValueError, match="ridge must be finite and at least 0"):
        canonical_spectrum(*noisy_pairs(rng, 20, 4), ridge=-1)


def test_a_covariance_without_an_inverse_is_refused(rng):
    # Sixteen pairs to fit on, less their mean, span fifteen dimensions.
    assert canonical_spectrum(*noisy_pairs(rng, 20, 15), ridge=0).held_out.isfinite().all()
    # Rounding would let some of these pass for full rank.
    for d in (30, *[16] * 10):
        source, target = noisy_pairs(rng, 20, d)
        with pytest.raises(ValueError, match=r"covariance of source must have.*ridge 0"):
            canonical_spectrum(source, target, ridge=0)


def test_too_few_groups_are_refused(rng):
    source, target = noisy_pairs(rng, 8, 2)
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 4\]"):
        canonical_spectrum(source, target, groups=list("aabbccdd"))
    with pytest.raises(ValueError, match="at least 5 rows"):
        canonical_spectrum(source[:4], target[:4])


def test_a_side_that_is_one_point_is_refused(rng):
    source, _ = strangers(rng, 20, 4)
    with pytest.raises(ValueError, match="target must vary; all 20 rows are one point"):
        canonical_spectrum(source, torch.full((20, 3), 0.1))
