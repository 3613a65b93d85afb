"""Gaussian Wasserstein distance against POT and scikit-learn, planted covariances, derivatives."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from probes.distribution import gaussian
from probes.distribution.clouds import centred
from probes.distribution.gaussian import (
    GAUSSIAN_WASSERSTEIN,
    GAUSSIAN_WASSERSTEIN_CENTRED,
    K,
    gaussian_wasserstein,
)
from probes.inputs import UnreliableEstimate
from tests.probes.paired_clouds import space_of, strangers

small_is_fine = pytest.mark.filterwarnings("ignore::probes.inputs.UnreliableEstimate")


def clouds(seed, n, d):
    """Two clouds with covariances that share no axes, and a gap."""
    rng = torch.Generator().manual_seed(seed)
    source, target = torch.randn(2, n, d, generator=rng, dtype=torch.float64)
    mixing = torch.randn(2, d, d, generator=rng, dtype=torch.float64) / d**0.5
    return source @ mixing[0] + 1, target @ mixing[1]


def bures(a, b):
    values, axes = np.linalg.eigh(a)
    root = axes * np.sqrt(np.clip(values, 0, None)) @ axes.T
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(root @ b @ root), 0, None))
    return np.trace(a + b) - 2 * roots.sum()


def squared_gap(source, target):
    return float((source.mean(0) - target.mean(0)).square().sum())


@small_is_fine
def test_without_shrinkage_it_is_the_distance_of_pot():
    source, target = clouds(0, 80, 6)
    moments = [
        torch.stack([source.mean(0), target.mean(0)]),
        torch.stack([torch.cov(side.T, correction=0) for side in (source, target)]),
    ]
    (means, covariances) = (moment.numpy() for moment in moments)
    expected = ot.gaussian.bures_wasserstein_distance(*means, *covariances) ** 2
    assert gaussian_wasserstein(source, target, shrink=False) == pytest.approx(expected)


@small_is_fine
@given(st.integers(0, 99), st.integers(3, 40), st.integers(2, 12))
@settings(deadline=None, max_examples=25)
def test_shrinkage_is_that_of_scikit_learn(seed, n, d):
    source, target = clouds(seed, n, d)
    shrunk = [ledoit_wolf(side.numpy())[0] for side in (source, target)]
    expected = squared_gap(source, target) + bures(*shrunk)
    assert gaussian_wasserstein(source, target, k=None) == pytest.approx(expected, rel=1e-6)


@small_is_fine
@pytest.mark.parametrize("shrink", [True, False])
def test_fewer_rows_than_dimensions_change_nothing_but_the_cost(shrink):
    # Shrunk covariances have floors outside the span of the rows, and these differ.
    source, target = clouds(1, 7, 40)
    covariances = [
        ledoit_wolf(side.numpy())[0] if shrink else np.cov(side.T, bias=True)
        for side in (source, 3 * target)
    ]
    expected = squared_gap(source, 3 * target) + bures(*covariances)
    found = gaussian_wasserstein(source, 3 * target, k=None, shrink=shrink)
    assert found == pytest.approx(expected, rel=1e-6)
    assert gaussian._axes(source, target, None).shape == (40, 14)


@small_is_fine
def test_a_flat_cloud_has_a_distance_too():
    source, target = clouds(5, 30, 6)
    source[:, 2] = 1.0
    covariances = [np.cov(side.T, bias=True) for side in (source, target)]
    expected = squared_gap(source, target) + bures(*covariances)
    found = gaussian_wasserstein(source, target, shrink=False)
    assert found == pytest.approx(expected, rel=1e-6)


@small_is_fine
@pytest.mark.parametrize("n", [60, 4])
def test_k_keeps_the_leading_axes_of_both_clouds_and_the_whole_gap(n):
    source, target = clouds(2, n, 10)
    z, w = centred(source, target)
    _, axes = np.linalg.eigh((z.T @ z + w.T @ w).numpy())
    held = [side.numpy() @ axes[:, -3:] for side in (z, w)]
    expected = bures(*(ledoit_wolf(side)[0] for side in held)) + squared_gap(source, target)
    assert gaussian_wasserstein(source, target, k=3) == pytest.approx(expected, rel=1e-6)


@small_is_fine
def test_keeping_more_axes_never_takes_distance_away_without_shrinkage():
    source, target = clouds(3, 60, 10)
    kept = [gaussian_wasserstein(source, target, k=k, shrink=False) for k in range(1, 11)]
    assert kept == sorted(kept)
    every = gaussian_wasserstein(source, target, k=None, shrink=False)
    assert kept[-1] == pytest.approx(every)
    assert gaussian_wasserstein(source, target, k=99, shrink=False) == pytest.approx(every)


@small_is_fine
@given(st.integers(0, 99), st.floats(0.1, 5))
@settings(deadline=None, max_examples=25)
def test_a_stretched_cloud_is_as_far_as_each_axis_grew(seed, factor):
    source, _ = clouds(seed, 30, 4)
    z, _ = centred(source, source)
    variance = float(z.square().sum() / 30)
    found = gaussian_wasserstein(z, factor * z, shrink=False)
    assert found == pytest.approx((factor - 1) ** 2 * variance, abs=1e-9)


@small_is_fine
def test_shrinkage_and_more_pairs_hold_the_bias_down(rng):
    def noise(n, *, shrink):
        pairs = [torch.randn(2, n, 16, generator=rng) for _ in range(5)]
        return np.mean([gaussian_wasserstein(*centred(*p), shrink=shrink) for p in pairs])

    plain = [noise(n, shrink=False) for n in (40, 160)]
    assert plain[0] > 2 * plain[1] > 0
    assert noise(40, shrink=True) < plain[0] / 2


@small_is_fine
def test_a_cloud_of_one_point_leaves_the_variance_of_the_other():
    source, target = clouds(4, 40, 3)
    variance = float((source - source.mean(0)).square().sum() / 40)
    found = gaussian_wasserstein(*centred(source, target[:1].expand(40, 3)))
    assert found == pytest.approx(variance)
    direction = torch.tensor([[0.6, 0.8, 0.0]]).expand(40, 3)
    measured = GAUSSIAN_WASSERSTEIN.measure(
        space_of(torch.nn.functional.normalize(source, dim=1).float(), direction)
    )
    assert np.isfinite(measured.replicate(torch.ones(2, 40).double()).tolist()).all()


def weighted(z, w, weights):
    """Shrunk Gaussian distance with weights on the pairs; ``n`` of the shares stays as it is."""
    n, covariances = len(z), []
    share_of_pair = weights / weights.sum()
    gap = share_of_pair @ (z - w)
    for side in (z, w):
        x = side - share_of_pair @ side
        d = x.shape[1]
        plain = (x.T * share_of_pair) @ x
        squares, level = np.sum(plain**2), np.trace(plain) / d
        noise = (share_of_pair @ np.sum(x**2, axis=1) ** 2 - squares) / n
        share = min(noise / (squares - d * level**2), 1)
        covariances.append((1 - share) * plain + share * level * np.eye(d))
    return gap @ gap + bures(*covariances)


def test_replicates_move_as_the_weights_of_single_pairs_say(rng):
    n, d, step = 120, 4, 1e-5
    source = torch.nn.functional.normalize(torch.randn(n, d, generator=rng), dim=1)
    scales = torch.tensor([1.0, 2, 3, 4])
    target = torch.nn.functional.normalize(torch.randn(n, d, generator=rng) * scales + 0.5, dim=1)
    measured = GAUSSIAN_WASSERSTEIN.measure(space_of(source, target))
    z, w = source.double().numpy(), target.double().numpy()
    assert measured.value == pytest.approx(weighted(z, w, np.ones(n)))
    for i in range(0, n, 13):
        more, less = np.ones(n), np.ones(n)
        more[i], less[i] = 1 + step, 1 - step
        slope = (weighted(z, w, more) - weighted(z, w, less)) / (2 * step)
        moved = measured.replicate(torch.tensor(np.stack([more, less])))
        assert float(moved[0] - moved[1]) / (2 * step) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_too_few_pairs_for_the_covariances_are_announced(rng):
    few, enough = strangers(rng, 79), strangers(rng, 80)
    with pytest.warns(
        UnreliableEstimate, match=r"79 pairs are fewer than 10 per dimension .*\(8\)"
    ):
        gaussian_wasserstein(*few)
    gaussian_wasserstein(*enough)
    with pytest.warns(UnreliableEstimate) as told:
        gaussian_wasserstein(*few)
    notes = tuple(str(warning.message) for warning in told)
    for probe in (GAUSSIAN_WASSERSTEIN, GAUSSIAN_WASSERSTEIN_CENTRED):
        assert probe.measure(space_of(*few)).notes == notes
        assert probe.measure(space_of(*enough)).notes == ()


def test_only_kept_axes_count_as_dimensions(rng):
    wide = strangers(rng, 10 * K, K + 8)
    gaussian_wasserstein(*wide)
    with pytest.warns(UnreliableEstimate, match=rf"\({K + 8}\)"):
        gaussian_wasserstein(*wide, k=None)


def test_no_axes_are_refused():
    with pytest.raises(ValueError, match="k must be finite and at least 1; got 0"):
        gaussian_wasserstein(torch.eye(4), torch.eye(4), k=0)
