"""Losses of where both clouds lie agree with the probes that measure it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import probes.distribution.discrepancy
import probes.distribution.sinkhorn
import probes.pairing.uniformity
from experiments.losses.geometry import alignment, cross_uniformity, mmd, sinkhorn, uniformity

CODES = torch.tensor([0, 1, 2, 0, 3, 4, 4, 5])
NAMES = [str(code) for code in CODES.tolist()]


def drawn(rng, n=8, d=4):
    """Unit rows of both sides in float64, the target with a gap."""
    source, target = torch.randn(2, n, d, generator=rng, dtype=torch.float64).unbind()
    return F.normalize(source, dim=1), F.normalize(target + 0.5, dim=1)


def test_alignment_and_uniformity_are_those_of_the_probes(rng):
    source, target = drawn(rng)
    assert alignment(source, target).item() == pytest.approx(
        probes.pairing.uniformity.alignment(source, target)
    )
    for t, codes, names in ((2.0, None, None), (1.0, CODES, NAMES)):
        assert uniformity(source, t=t, groups=codes).item() == pytest.approx(
            probes.pairing.uniformity.uniformity(source, t=t, groups=names)
        )
        assert cross_uniformity(source, target, t=t, groups=codes).item() == pytest.approx(
            probes.pairing.uniformity.cross_uniformity(source, target, t=t, groups=names)
        )


def test_discrepancy_is_that_of_the_probe(rng):
    source, target = drawn(rng)
    for codes, names in ((None, None), (CODES, NAMES)):
        assert mmd(source, target, groups=codes).item() == pytest.approx(
            probes.distribution.discrepancy.mmd(source, target, groups=names)
        )


@pytest.mark.filterwarnings("ignore:epsilon is so small")
@pytest.mark.parametrize("relative_epsilon", [0.2, 1.0])
def test_sinkhorn_is_that_of_the_probe(relative_epsilon, rng):
    source, target = drawn(rng, n=40)
    expected = probes.distribution.sinkhorn.sinkhorn_divergence(
        source, target, relative_epsilon=relative_epsilon
    )
    found = sinkhorn(source, target, relative_epsilon=relative_epsilon)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_equal_clouds_are_at_no_distance_however_they_are_paired(rng):
    source, _ = drawn(rng, n=30)
    shuffled = source[torch.randperm(30, generator=rng)]
    assert sinkhorn(source, shuffled).item() == pytest.approx(0, abs=1e-4)
    assert alignment(source, source) == 0
    assert alignment(source, shuffled) > 0.5


def test_a_shift_costs_its_square(rng):
    source, _ = drawn(rng, n=30)
    shift = torch.tensor([3.0, 0, 0, 4.0], dtype=torch.float64)
    assert sinkhorn(source, source + shift).item() == pytest.approx(25, abs=1e-3)
    # Far clouds share nothing, so only similarity within the sides is left, and it is positive.
    assert 0 < mmd(source, source + 100 * shift).item() <= 2


@pytest.mark.parametrize(
    "loss",
    [
        alignment,
        lambda x, y: uniformity(x) + uniformity(y),
        cross_uniformity,
    ],
    ids=["alignment", "uniformity", "cross_uniformity"],
)
def test_gradients_are_those_of_finite_differences(loss, rng):
    sides = [side.requires_grad_() for side in drawn(rng)]
    assert torch.autograd.gradcheck(loss, sides)


@pytest.mark.parametrize("loss", [mmd, sinkhorn], ids=["mmd", "sinkhorn"])
def test_descent_brings_the_clouds_together(loss, rng):
    source, target = drawn(rng, n=40)
    moved = source.clone().requires_grad_()
    start = loss(source, target).item()
    optimiser = torch.optim.Adam([moved], lr=0.05)
    for _ in range(40):
        optimiser.zero_grad()
        loss(moved, target).backward()
        optimiser.step()
    assert loss(moved, target).item() < 0.2 * start


def test_the_width_of_the_kernels_is_no_way_to_lower_the_discrepancy(rng):
    source, target = (side.requires_grad_() for side in drawn(rng))
    mmd(source, target).backward()
    # Scaling both sides changes nothing: through the median this slope would be 0.
    slope = (source.grad * source).sum() + (target.grad * target).sum()
    assert slope.abs() > 1e-3
    torch.testing.assert_close(mmd(3 * source, 3 * target), mmd(source, target))


@pytest.mark.parametrize("loss", [cross_uniformity, mmd], ids=["cross_uniformity", "mmd"])
def test_one_group_leaves_nothing_to_compare(loss, rng):
    one = torch.zeros(8, dtype=torch.int64)
    with pytest.raises(ValueError, match="there must be two groups to compare; got 8 rows of one"):
        loss(*drawn(rng), groups=one)
    with pytest.raises(ValueError, match="groups must be one int64 code per row"):
        loss(*drawn(rng), groups=one[:3])
    with pytest.raises(ValueError, match="there must be two groups"):
        uniformity(drawn(rng)[0], groups=one)


@pytest.mark.parametrize("loss", [alignment, cross_uniformity, mmd, sinkhorn])
def test_sides_that_do_not_match_are_refused(loss):
    with pytest.raises(ValueError, match="share one space"):
        loss(torch.ones(3, 4), torch.ones(3, 5))


def test_numbers_out_of_range_are_refused(rng):
    source, target = drawn(rng)
    with pytest.raises(ValueError, match="t must be finite and above 0"):
        uniformity(source, t=0.0)
    with pytest.raises(ValueError, match="t must be finite and above 0"):
        cross_uniformity(source, target, t=-1.0)
    with pytest.raises(ValueError, match="relative_epsilon must be finite and above 0"):
        sinkhorn(source, target, relative_epsilon=0.0)


def test_clouds_of_equal_items_have_no_scale():
    same = torch.ones(4, 3)
    with pytest.raises(ValueError, match="the median squared distance sets the width"):
        mmd(same, same)
    with pytest.raises(ValueError, match="sets epsilon and must be above 0"):
        sinkhorn(same, same)
