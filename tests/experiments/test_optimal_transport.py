"""Plans of entropic and Gromov-Wasserstein transport, and the divergence they give."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.optimal_transport import (
    gromov_wasserstein_plan,
    log_sinkhorn_plan,
    sinkhorn_divergence,
    sinkhorn_plan,
    squared_distances,
)


def costs(rng, n=5, m=4):
    return torch.rand(n, m, generator=rng, dtype=torch.float64)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    epsilon=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_a_plan_has_the_masses_asked_for_and_the_form_of_the_best(seed, n, m, epsilon):
    rng = torch.Generator().manual_seed(seed)
    cost = costs(rng, n, m)
    a, b = (torch.rand(size, generator=rng, dtype=torch.float64) + 0.1 for size in (n, m))
    a, b = a / a.sum(), b / b.sum()
    plan = sinkhorn_plan(cost, epsilon=epsilon, a=a, b=b)
    torch.testing.assert_close(plan.sum(dim=1), a)
    torch.testing.assert_close(plan.sum(dim=0), b, atol=1e-4, rtol=0)
    # Only the best plan is a product of scalings and exp(-cost / epsilon): no double difference.
    potentials = plan.log() + cost / epsilon
    centred = potentials - potentials.mean(dim=1, keepdim=True)
    torch.testing.assert_close(centred - centred.mean(dim=0), torch.zeros(n, m).double())


def test_much_entropy_spreads_and_little_assigns(rng):
    cost = 1 - torch.eye(5, dtype=torch.float64)[torch.randperm(5, generator=rng)]
    spread = sinkhorn_plan(cost, epsilon=1e4)
    torch.testing.assert_close(spread, torch.full((5, 5), 1 / 25).double(), atol=1e-5, rtol=0)
    sharp = sinkhorn_plan(cost, epsilon=1e-3)
    torch.testing.assert_close(sharp, (1 - cost) / 5)
    assert log_sinkhorn_plan(cost, epsilon=1e-3).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_plans_keep_the_dtype_and_carry_no_gradient(dtype, rng):
    plan = sinkhorn_plan(costs(rng).to(dtype).requires_grad_(), epsilon=0.1)
    assert plan.dtype == dtype and not plan.requires_grad


def test_steps_that_do_not_suffice_are_an_error(rng):
    with pytest.raises(RuntimeError, match=r"all but 1e-09 of the mass.* after 2 steps"):
        log_sinkhorn_plan(costs(rng), epsilon=1e-3, tolerance=1e-9, steps=2)


def test_impossible_transport_is_refused(rng):
    cost = costs(rng)
    with pytest.raises(ValueError, match="cost must be a floating-point matrix"):
        sinkhorn_plan(cost[0], epsilon=1.0)
    with pytest.raises(ValueError, match="epsilon must be finite and above 0"):
        sinkhorn_plan(cost, epsilon=0.0)
    with pytest.raises(ValueError, match="tolerance must be finite and above 0"):
        log_sinkhorn_plan(cost, epsilon=1.0, tolerance=0.0)
    with pytest.raises(ValueError, match="steps must be finite and at least 1"):
        log_sinkhorn_plan(cost, epsilon=1.0, steps=0)


@pytest.mark.parametrize(
    "mass", [torch.ones(5), torch.tensor([1.0, 0, 0, 0, 0]), torch.ones(4) / 4], ids=str
)
def test_masses_that_are_none_are_refused(mass, rng):
    with pytest.raises(ValueError, match=r"a must be positive masses of sum 1, \(5,\)"):
        sinkhorn_plan(costs(rng), epsilon=1.0, a=mass)
    with pytest.raises(ValueError, match=r"b must be positive masses of sum 1, \(5,\)"):
        sinkhorn_plan(costs(rng).T, epsilon=1.0, b=mass)


def test_squared_distances_are_those_of_plain_differences(rng):
    x, y = costs(rng, 5, 3), costs(rng, 4, 3)
    expected = (x[:, None] - y).square().sum(dim=2)
    torch.testing.assert_close(squared_distances(x, y), expected)


def test_divergence_is_zero_only_for_equal_clouds_and_a_shift_costs_its_square(rng):
    x = torch.randn(20, 3, generator=rng, dtype=torch.float64)
    shift = torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64)
    order = torch.randperm(20, generator=rng)

    def divergence(source, target):
        return sinkhorn_divergence(source, target, epsilon=1.0, tolerance=1e-8).item()

    assert divergence(x, x[order]) == pytest.approx(0, abs=1e-7)
    assert divergence(x, x[order] + shift) == pytest.approx(9, abs=1e-6)
    other = torch.randn(12, 3, generator=rng, dtype=torch.float64)
    assert divergence(x, other) > 0.01
    assert divergence(other, x) == pytest.approx(divergence(x, other), abs=1e-6)


def test_divergence_is_made_of_the_costs_of_its_three_plans(rng):
    x, y = (torch.randn(n, 3, generator=rng, dtype=torch.float64) for n in (6, 5))

    def least(p, q):
        cost = squared_distances(p, q)
        plan = sinkhorn_plan(cost, epsilon=0.7)
        independent = torch.full_like(plan, 1 / plan.numel())
        return (plan * cost).sum() + 0.7 * (plan * (plan / independent).log()).sum()

    expected = least(x, y) - least(x, x) / 2 - least(y, y) / 2
    found = sinkhorn_divergence(x, y, epsilon=0.7)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_the_gradient_of_the_divergence_is_that_of_finite_differences(rng):
    x, y = (torch.randn(n, 2, generator=rng, dtype=torch.float64) for n in (4, 3))

    def loss(x, y):
        return sinkhorn_divergence(x, y, epsilon=3.0, tolerance=1e-10)

    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), y.requires_grad_()))


def test_clouds_of_different_widths_are_refused():
    with pytest.raises(ValueError, match="target must have 3 columns"):
        sinkhorn_divergence(torch.ones(4, 3), torch.ones(4, 2), epsilon=1.0)
    with pytest.raises(ValueError, match="source must be finite"):
        sinkhorn_divergence(torch.full((4, 3), math.nan), torch.ones(4, 3), epsilon=1.0)
    with pytest.raises(ValueError, match="epsilon must be finite and above 0"):
        sinkhorn_divergence(torch.ones(4, 3), torch.ones(4, 3), epsilon=0.0)


def distances(x):
    return (x[:, None] - x).square().sum(dim=2).sqrt()


@pytest.mark.parametrize("restarts", [1, 4])
def test_gromov_wasserstein_finds_a_shuffled_cloud_again(restarts, rng):
    x = torch.randn(40, 3, generator=rng, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.float64))
    order = torch.randperm(40, generator=rng)
    a, b = distances(x), distances((x @ rotation)[order])
    plan = gromov_wasserstein_plan(a, b, restarts=restarts)
    assert plan.dtype == torch.float64
    expected = torch.zeros(40, 40).double()
    expected[order, torch.arange(40)] = 1 / 40
    torch.testing.assert_close(plan, expected)
    assert gromov_wasserstein_plan(a, b, restarts=restarts).equal(plan)


def test_sides_of_different_sizes_have_a_plan(rng):
    x = torch.randn(12, 3, generator=rng, dtype=torch.float64)
    plan = gromov_wasserstein_plan(distances(x), distances(x[:8]))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((12,), 1 / 12).double())
    torch.testing.assert_close(plan.sum(dim=0), torch.full((8,), 1 / 8).double())


def test_more_starts_never_give_a_worse_plan(rng):
    a, b = (distances(torch.randn(15, 2, generator=rng, dtype=torch.float64)) for _ in range(2))

    def badness(plan):
        # The mean of (A - B)² over pairs of moves, with masses 1 / n: its cross term alone varies.
        return -((a @ plan @ b) * plan).sum().item()

    found = [badness(gromov_wasserstein_plan(a, b, restarts=restarts)) for restarts in (1, 3, 9)]
    assert found[0] >= found[1] - 1e-9 and found[1] >= found[2] - 1e-9
    assert found[0] > found[2]


def test_what_are_no_distances_is_refused(rng):
    square = distances(torch.randn(4, 2, generator=rng, dtype=torch.float64))
    for wrong in (square[:3], square + torch.rand(4, 4, generator=rng), -square):
        with pytest.raises(ValueError, match="x_distances must be symmetric and at least 0"):
            gromov_wasserstein_plan(wrong, square)
        with pytest.raises(ValueError, match="y_distances must be symmetric and at least 0"):
            gromov_wasserstein_plan(square, wrong)
    with pytest.raises(ValueError, match="restarts must be finite and at least 1"):
        gromov_wasserstein_plan(square, square, restarts=0)
