"""The STRUCTURE regulariser."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import jensenshannon

from align.fitting.losses.structure import structure


def drawn(rng, n=7, d=5):
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def transitions(x, temperature):
    rows = F.normalize(x - x.mean(dim=0), dim=1)
    return (rows @ rows.T / temperature).softmax(dim=1)


@pytest.mark.parametrize("levels", [1, 3])
def test_it_is_the_jensen_shannon_divergence_that_scipy_gives(levels, rng):
    inputs, outputs = drawn(rng), drawn(rng, d=3)
    p, q = transitions(inputs, 0.2), transitions(outputs, 0.2)
    expected = 0.0
    for level in range(1, levels + 1):
        sides = (torch.linalg.matrix_power(side, level).numpy() for side in (p, q))
        # SciPy gives the square root.
        expected += (jensenshannon(*sides, axis=1) ** 2).mean() / level / levels
    found = structure(inputs, outputs, temperature=0.2, levels=levels)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_rotation_scale_and_shift_cost_nothing(rng):
    inputs = drawn(rng)
    rotation, _ = torch.linalg.qr(drawn(rng, n=5))
    outputs = 3 * inputs @ rotation + 2
    assert structure(inputs, outputs, levels=2).item() == pytest.approx(0, abs=1e-12)
    assert structure(inputs, drawn(rng), temperature=0.3).item() > 0.01


def test_rows_that_swap_places_cost_at_most_log_2():
    x = torch.eye(6, dtype=torch.float64)
    doubled = torch.cat([x, x])
    paired_otherwise = torch.cat([x, x.roll(1, dims=0)])
    found = structure(doubled, paired_otherwise, temperature=1e-3)
    # Each row shares its neighbourhood with one other, which is itself in both: half of it stays.
    assert found.item() == pytest.approx(math.log(2) / 2)


def test_probabilities_that_underflow_leave_gradients_finite(rng):
    x = torch.eye(6)
    inputs = torch.cat([x, x])
    outputs = torch.cat([x, x.roll(1, dims=0)]) + 0.01 * torch.randn(12, 6, generator=rng)
    outputs.requires_grad_()
    loss = structure(inputs, outputs, temperature=1e-3, levels=2)
    loss.backward()
    assert 0 < loss <= math.log(2)
    assert outputs.grad.isfinite().all() and (outputs.grad != 0).any()


def test_nothing_flows_back_into_the_inputs(rng):
    inputs, outputs = drawn(rng).requires_grad_(), drawn(rng, d=3).requires_grad_()
    structure(inputs, outputs).backward()
    assert inputs.grad is None and (outputs.grad != 0).any()
    fixed = inputs.detach()
    assert torch.autograd.gradcheck(
        lambda x: structure(fixed, x, temperature=0.3, levels=2), (outputs,)
    )


def test_the_order_of_rows_does_not_matter(rng):
    inputs, outputs = drawn(rng), drawn(rng, d=3)
    order = torch.randperm(7, generator=rng)
    shuffled = structure(inputs[order], outputs[order], levels=2)
    torch.testing.assert_close(shuffled, structure(inputs, outputs, levels=2))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="row-matched matrices"):
        structure(torch.ones(3, 2), torch.ones(4, 2))
    with pytest.raises(ValueError, match="at least 2 rows to compare; got 1"):
        structure(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match="temperature must be finite and above 0"):
        structure(torch.ones(3, 2), torch.ones(3, 2), temperature=0.0)
    with pytest.raises(ValueError, match="levels must be finite and at least 1"):
        structure(torch.ones(3, 2), torch.ones(3, 2), levels=0)
