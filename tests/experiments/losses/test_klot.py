"""KLOT: divergence of transport plans, with a gradient that no step is differentiated for."""

from __future__ import annotations

import pytest
import torch

from experiments.losses import klot as module
from experiments.losses.klot import klot
from experiments.optimal_transport import log_sinkhorn_plan


@pytest.fixture
def exact(monkeypatch):
    """Plans solved so closely that finite differences see only the gradient."""
    monkeypatch.setattr(module, "_TOLERANCE", 1e-12)


def drawn(rng, n=5, m=4):
    return torch.rand(2, n, m, generator=rng, dtype=torch.float64).unbind()


def test_a_student_that_agrees_loses_nothing_and_one_that_does_not_loses(rng):
    student, teacher = drawn(rng)
    agreed = klot(teacher, teacher, epsilon=0.1, teacher_epsilon=0.1)
    assert agreed.item() == pytest.approx(0, abs=1e-9)
    assert klot(student, teacher, epsilon=0.1, teacher_epsilon=0.1).item() > 0.1


@pytest.mark.usefixtures("exact")
def test_the_value_is_the_divergence_of_the_plans(rng):
    student, teacher = drawn(rng)
    p = log_sinkhorn_plan(-student, epsilon=0.2, tolerance=1e-12)
    wanted = log_sinkhorn_plan(-teacher, epsilon=0.05, tolerance=1e-12)
    expected = (wanted.exp() * (wanted - p)).sum()
    found = klot(student, teacher, epsilon=0.2, teacher_epsilon=0.05)
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("exact")
def test_the_gradient_is_the_difference_of_plans_and_that_of_finite_differences(rng):
    student, teacher = drawn(rng)
    student.requires_grad_()

    def loss(student):
        return klot(student, teacher, epsilon=0.2, teacher_epsilon=0.05)

    loss(student).backward()
    plans = [
        log_sinkhorn_plan(-each, epsilon=epsilon, tolerance=1e-12).exp()
        for each, epsilon in ((student, 0.2), (teacher, 0.05))
    ]
    torch.testing.assert_close(student.grad, (plans[0] - plans[1]) / 0.2)
    assert torch.autograd.gradcheck(loss, (student,))


@pytest.mark.usefixtures("exact")
def test_the_plan_is_the_slope_of_the_value_of_transport(rng):
    similarities, _ = drawn(rng)

    def value(similarities):
        """Most similarity that can be transported, less the entropy's share."""
        plan = log_sinkhorn_plan(-similarities, epsilon=0.2, tolerance=1e-12)
        return float((plan.exp() * (similarities - 0.2 * plan)).sum())

    plan = log_sinkhorn_plan(-similarities, epsilon=0.2, tolerance=1e-12).exp()
    step = 1e-5
    for i, j in ((0, 0), (2, 3), (4, 1)):
        up, down = similarities.clone(), similarities.clone()
        up[i, j] += step
        down[i, j] -= step
        slope = (value(up) - value(down)) / (2 * step)
        assert slope == pytest.approx(plan[i, j].item(), rel=1e-6)


def test_descent_makes_the_student_prefer_what_the_teacher_does(rng):
    teacher = torch.eye(6)[torch.randperm(6, generator=rng)]
    student = torch.zeros(6, 6, requires_grad=True)
    optimiser = torch.optim.SGD([student], lr=0.05)
    for _ in range(20):
        optimiser.zero_grad()
        klot(student, teacher).backward()
        optimiser.step()
    assert student.argmax(dim=1).equal(teacher.argmax(dim=1))


def test_nothing_flows_to_the_teacher(rng):
    student, teacher = (side.requires_grad_() for side in drawn(rng))
    klot(student, teacher).backward()
    assert teacher.grad is None and (student.grad != 0).any()


def test_similarities_of_other_items_are_refused(rng):
    student, teacher = drawn(rng)
    with pytest.raises(ValueError, match=r"of the same items.*\(5, 4\) and \(4, 5\)"):
        klot(student, teacher.T)
    with pytest.raises(ValueError, match="epsilon must be finite and above 0"):
        klot(student, teacher, epsilon=0.0)
    with pytest.raises(ValueError, match="epsilon must be finite and above 0"):
        klot(student, teacher, teacher_epsilon=-1.0)
    with pytest.raises(ValueError, match="must be finite"):
        klot(student / 0, teacher)
