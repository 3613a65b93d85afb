"""N-pairs and sigmoid losses."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from align.fitting.losses.contrastive import n_pairs, sigmoid
from tests.helpers.planted import unit_sides

GROUPS = torch.tensor([4, 7, 4, 9, 7])
SIGMOID = {"scale": 3.0, "bias": -1.0}


drawn = partial(unit_sides, n=5, d=4)


def test_n_pairs_is_the_sum_printed_in_the_paper(rng):
    f, g = torch.randn(2, 5, 4, generator=rng, dtype=torch.float64).unbind()
    expected = 0.0
    for i in range(5):
        wrong = (math.exp(float(f[i] @ g[j] - f[i] @ g[i])) for j in range(5) if j != i)
        expected += math.log(1 + sum(wrong)) / 5
    assert n_pairs(f, g).item() == pytest.approx(expected, rel=1e-12)
    norms = sum(float(f[i] @ f[i] + g[i] @ g[i]) for i in range(5)) / 5
    assert n_pairs(f, g, l2=0.3).item() == pytest.approx(expected + 0.3 * norms, rel=1e-12)


def test_n_pairs_survives_long_embeddings():
    f = (100 * torch.eye(4)).requires_grad_()
    loss = n_pairs(f, 100 * torch.ones(4, 4), l2=1e-4)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4) + 1e-4 * (1e4 + 4e4), rel=1e-6)
    assert f.grad.isfinite().all()


def test_a_negative_penalty_is_refused(rng):
    with pytest.raises(ValueError, match="l2 must be finite and at least 0"):
        n_pairs(*drawn(rng), l2=-1.0)


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["own groups", "shared groups"])
def test_sigmoid_is_that_of_plain_loops(groups, rng):
    source, target = drawn(rng)
    expected = 0.0
    for i in range(5):
        for j in range(5):
            if i != j and groups is not None and groups[i] == groups[j]:
                continue
            z = 1 if i == j else -1
            logit = z * (3 * float(source[i] @ target[j]) - 1)
            expected += math.log(1 + math.exp(-logit)) / 5
    found = sigmoid(source, target, groups=groups, **SIGMOID)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(sigmoid(target, source, groups=groups, **SIGMOID), found)


def test_scale_and_bias_of_the_sigmoid_can_be_learned(rng):
    source, target = drawn(rng)
    numbers = [torch.tensor(each, dtype=torch.float64) for each in (3.0, -1.0)]
    inputs = [each.clone().requires_grad_() for each in (source, target, *numbers)]

    def loss(source, target, scale, bias):
        return sigmoid(source, target, scale=scale, bias=bias, groups=GROUPS)

    assert torch.autograd.gradcheck(loss, inputs)
    with pytest.raises(ValueError, match="scale must be finite and above 0"):
        sigmoid(source, target, scale=torch.tensor(0.0), bias=0.0)


@pytest.mark.parametrize(
    "loss", [n_pairs, lambda x, y: sigmoid(x, y, **SIGMOID)], ids=["n_pairs", "sigmoid"]
)
def test_sides_that_do_not_match_are_refused(loss):
    with pytest.raises(ValueError, match=r"share one space.*\(3, 4\) and \(3, 5\)"):
        loss(torch.ones(3, 4), torch.ones(3, 5))


def test_groups_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match="groups must be one int64 code per row"):
        sigmoid(*drawn(rng), groups=GROUPS[:3], **SIGMOID)
