"""A curve finds the line it was drawn from, and says how far beyond it may be off."""

from __future__ import annotations

import math

import pytest
import torch

from align.fitting.learning_curve import extrapolation
from align.fitting.learning_curve.extrapolation import Extrapolation

SIZES = torch.tensor([100.0, 200.0, 400.0, 800.0], dtype=torch.float64)


def drawn(logits, q=4000, seed=0):
    """Hits of ``q`` held-out pairs whose chances have these logits at each size."""
    chances = torch.as_tensor(logits, dtype=torch.float64).sigmoid()
    uniform = torch.rand(q, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (uniform < chances).double()[:, :, None]


def curve(values, units=None):
    units = torch.arange(len(values)) if units is None else units
    return Extrapolation.of(SIZES, values, units, torch.Generator().manual_seed(0))


def line(level, slope):
    return level + slope * (SIZES / 800).log()


def test_level_and_slope_of_a_logit_line_are_found():
    found = curve(drawn(line(-1.0, 0.5)))
    assert found.level.mean().item() == pytest.approx(-1.0, abs=0.1)
    assert found.slope.mean().item() == pytest.approx(0.5, abs=0.05)


def test_low_recall_goes_on_along_the_line_and_high_recall_flattens():
    low, high = curve(drawn(line(-2.5, 0.5))), curve(drawn(line(2.5, 0.5)))
    grown = [each.shares(3200).logit().median() - each.level.median() for each in (low, high)]
    assert grown[0].item() == pytest.approx(0.5 * math.log(4), rel=0.15)
    assert grown[1].item() < 0.8 * grown[0].item()


def test_intervals_widen_with_distance_and_with_fewer_pairs():
    many, few = curve(drawn(line(-0.5, 0.5))), curve(drawn(line(-0.5, 0.5), q=100))
    widths = [each.high - each.low for n in (800, 1600, 6400) for each in many.at(n)]
    assert widths == sorted(widths) and widths[-1] > 2 * widths[0]
    assert few.at(1600)[0].high - few.at(1600)[0].low > widths[1]


def test_pairs_of_one_group_are_no_further_evidence():
    values = drawn(line(0.0, 0.5), q=50).repeat(20, 1, 1)
    alone, together = curve(values), curve(values, torch.arange(50).repeat(20))
    assert together.level.std() > 3 * alone.level.std()


def test_a_flat_curve_stays_flat_and_its_gain_is_small():
    found = curve(drawn(line(1.0, 0.0)))
    gain = found.gain(1000, 1000)[0]
    assert gain.value < 0.02 and gain.low >= -0.05
    assert bool((found.slope >= 0).all())


def test_nothing_found_and_everything_found_are_still_a_curve():
    for share in (0.0, 1.0):
        found = curve(torch.full((80, 4, 1), share, dtype=torch.float64))
        (each,) = found.at(3200)
        assert 0 <= each.low <= each.value <= each.high <= 1
        assert abs(each.value - share) < 0.02


def test_gains_are_those_between_two_points_of_one_curve():
    found = curve(drawn(line(0.0, 0.6)))
    gain = found.gain(800, 800)[0]
    between = (found.shares(1600) - found.shares(800)).median().item()
    assert gain.value == pytest.approx(between, rel=1e-3)
    assert gain.high - gain.low < found.at(1600)[0].high - found.at(1600)[0].low


def test_repr_tells_no_tensors():
    assert repr(curve(drawn(line(0.0, 0.5), q=50))) == (
        "Extrapolation(1,000 curves, from 800 pairs)"
    )
    assert repr(extrapolation.Predicted(0.5, 0.4, 0.6)) == "Predicted(0.5 [0.4, 0.6])"
