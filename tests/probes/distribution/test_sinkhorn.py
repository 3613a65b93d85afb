"""Sinkhorn divergence against POT, its sign and limits, and its solver where exp overflows."""

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.distribution import sinkhorn
from probes.distribution.clouds import centred, squared_distances
from probes.distribution.sinkhorn import (
    RELATIVE_EPSILON,
    SINKHORN_DIVERGENCE,
    SINKHORN_DIVERGENCE_CENTRED,
    potentials,
    sinkhorn_divergence,
)
from probes.distribution.squared_distance import OF_SAMPLES
from probes.distribution.transport import exact_wasserstein
from probes.inputs import UnreliableEstimate
from tests.probes.paired_clouds import differing, seeded, space_of, strangers, stretched

small_is_fine = pytest.mark.filterwarnings("ignore::probes.inputs.UnreliableEstimate")


def entropic_cost(x, y, epsilon):
    """POT's plan, and what it costs with its entropy relative to the independent plan."""
    cost = ot.dist(x.numpy(), y.numpy())
    a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
    plan = ot.bregman.sinkhorn_log(a, b, cost, epsilon, numItermax=5_000, stopThr=1e-9)
    held = plan > 0
    entropy = np.sum(plan[held] * np.log(plan[held] / np.outer(a, b)[held]))
    return np.sum(plan * cost) + epsilon * entropy


@small_is_fine
@pytest.mark.parametrize("relative", [RELATIVE_EPSILON, 0.5])
def test_it_is_the_divergence_made_of_pots_plans(rng, relative):
    # Evenly spread: next to a lonely item POT's steps hardly move.
    source, target = torch.rand(2, 40, 2, generator=rng, dtype=torch.float64)
    source, target = source + 0.3, target * torch.tensor([0.5, 1.5])
    z, w = centred(source, target)
    epsilon = relative * float(squared_distances(z, w).median())
    across, left, right = (entropic_cost(x, y, epsilon) for x, y in ((z, w), (z, z), (w, w)))
    gap = float((source.mean(0) - target.mean(0)).square().sum())
    found = sinkhorn_divergence(source, target, relative_epsilon=relative)
    assert found == pytest.approx(across - left / 2 - right / 2 + gap, rel=1e-5)
    # The shift between the clouds is exactly what the plan between them costs more.
    shifted = entropic_cost(source, target, epsilon)
    assert found == pytest.approx(shifted - left / 2 - right / 2, rel=1e-5)


@small_is_fine
@given(st.integers(0, 999), st.integers(2, 30), st.integers(1, 6), st.floats(0.02, 2))
@settings(deadline=None, max_examples=30)
def test_it_is_never_below_nought(seed, n, d, relative):
    source, target = stretched(seeded(seed), n, d)
    found = sinkhorn_divergence(*centred(source, target), relative_epsilon=relative)
    assert found > -1e-6


@small_is_fine
def test_little_entropy_gives_the_wasserstein_distance_and_much_the_gap():
    source, target = stretched(seeded(1), 40, 4)
    little = sinkhorn_divergence(source, target, relative_epsilon=1e-3)
    assert little == pytest.approx(exact_wasserstein(source, target), rel=0.01)
    gap = float((source.mean(0) - target.mean(0)).square().sum())
    much = sinkhorn_divergence(source, target, relative_epsilon=1e3)
    assert much == pytest.approx(gap, rel=0.01)


def log_domain(cost, epsilon, steps):
    """Potentials by the plain steps in the log domain."""
    n, m = cost.shape
    g = torch.zeros(m, dtype=cost.dtype)
    for _ in range(steps):
        f = -epsilon * (torch.logsumexp((g - cost) / epsilon, 1) - math.log(m))
        g = -epsilon * (torch.logsumexp((f[:, None] - cost) / epsilon, 0) - math.log(n))
    return f, g


@pytest.mark.parametrize("scale", [1.0, 300.0, 3e3])
def test_potentials_are_those_of_the_log_domain_however_large_the_cost(rng, scale):
    # Two lumps of other sizes on each side: mass has to cross where exp(-cost) is nought.
    x = torch.cat([torch.zeros(7), torch.ones(13)])[:, None].double()
    y = torch.cat([torch.zeros(12), torch.ones(8)])[:, None].double()
    jitter = torch.randn(2, 20, 1, generator=rng, dtype=torch.float64) / scale**0.5
    cost = scale * squared_distances(x + 0.1 * jitter[0], y + 0.1 * jitter[1])
    f, g, error = potentials(cost, 1.0, tolerance=1e-10, steps=30_000)
    assert error <= 1e-10
    expected = log_domain(cost, 1.0, 10_000)
    value = float(f.mean() + g.mean())
    assert value == pytest.approx(float(sum(side.mean() for side in expected)), rel=1e-9)
    assert float(((f[:, None] + g - cost).exp().mean(1) - 1).abs().max()) < 1e-8


@small_is_fine
def test_one_far_item_makes_no_nan(rng):
    source, target = strangers(rng, 30, 3)
    source, target = 1e-4 * source, 1e-4 * target
    source[0] += 1e3
    assert np.isfinite(sinkhorn_divergence(source, target))
    bunched = [torch.nn.functional.normalize(side + 1, dim=1) for side in (source, target)]
    measured = SINKHORN_DIVERGENCE_CENTRED.measure(space_of(*bunched))
    numbers = [measured.value, measured.null.value, *measured.replicate(torch.ones(1, 30).double())]
    assert np.isfinite(numbers).all()


def test_epsilon_too_small_to_debias_is_announced(rng):
    sides = strangers(rng, 40, 30)
    with pytest.warns(UnreliableEstimate, match=r"so small for 40 points that 100% of a cloud's"):
        sinkhorn_divergence(*sides, relative_epsilon=0.05)
    sinkhorn_divergence(*sides, relative_epsilon=1.0)


def test_the_probe_tells_what_the_function_announces(rng, monkeypatch):
    sides = strangers(rng, 40, 30)
    for relative in (0.05, 1.0):
        monkeypatch.setattr(sinkhorn, "RELATIVE_EPSILON", relative)
        space = space_of(*sides)
        told = [probe.measure(space).notes for probe in (SINKHORN_DIVERGENCE,)]
        assert told[0] == SINKHORN_DIVERGENCE_CENTRED.measure(space).notes
        mine = [note for note in told[0] if note != OF_SAMPLES]
        assert len(mine) == (relative == 0.05)


def test_steps_that_do_not_suffice_are_announced(monkeypatch):
    monkeypatch.setattr(sinkhorn, "_STEPS", 2)
    with pytest.warns(UnreliableEstimate, match="stopped after 2 steps with marginals off by"):
        sinkhorn_divergence(*stretched(seeded(2), 60, 2), relative_epsilon=0.2)


@pytest.mark.parametrize("relative", [0, -1.0, math.inf])
def test_epsilon_must_be_above_nought(relative):
    with pytest.raises(ValueError, match="relative_epsilon must be finite and above 0"):
        sinkhorn_divergence(torch.eye(3), torch.eye(3), relative_epsilon=relative)


def test_clouds_of_one_point_are_refused():
    with pytest.raises(ValueError, match="the median cost between the centred clouds"):
        sinkhorn_divergence(torch.ones(4, 2), torch.ones(4, 2))


def test_transport_is_solved_once_for_both_rows(rng, monkeypatch):
    solved = []
    solve = sinkhorn._divergence
    monkeypatch.setattr(sinkhorn, "_divergence", lambda *args: solved.append(1) or solve(*args))
    space = space_of(*differing(rng, 30))
    sinkhorn.SINKHORN_DIVERGENCE.measure(space)
    # The value, and both nulls: that of the shape says whether the bias is worth a note.
    assert len(solved) == 39
    sinkhorn.SINKHORN_DIVERGENCE_CENTRED.measure(space)
    assert len(solved) == 39
    sinkhorn.SINKHORN_DIVERGENCE.measure(space_of(*differing(rng, 30)))
    assert len(solved) == 78
