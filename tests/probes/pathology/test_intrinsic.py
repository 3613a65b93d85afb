"""TwoNN: planted dimensions, the fit by hand, and rows that lie too close or too evenly."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from align.metrics.bootstrap import resamples
from probes.pathology import intrinsic
from probes.pathology.intrinsic import TWO_NN_SOURCE, TWO_NN_TARGET, two_nn
from probes.space import Space
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import spread_ratio


def flat(rng, n, k, d=40):
    """Rows spread evenly over a ``k``-dimensional square in ``d`` dimensions."""
    frame = torch.linalg.qr(torch.randn(d, k, generator=rng, dtype=torch.float64))[0]
    return torch.rand(n, k, generator=rng, dtype=torch.float64) @ frame.T


def clouds(rng, n=80, *, groups=None, widths=(6, 9)):
    sides = (F.normalize(torch.randn(n, d, generator=rng), dim=1) for d in widths)
    codes = torch.arange(n) if groups is None else torch.arange(n) % groups
    return Space(*sides, codes, seed=5)


def ratios_by_hand(x):
    rows = np.asarray(x, dtype=np.float64)
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.fill_diagonal(apart, np.inf)
    near = np.sort(apart, axis=1)[:, :2]
    return near[:, 1] / near[:, 0]


def fit_by_hand(ratios):
    """Least squares through the origin, without the largest tenth of the ratios."""
    n = len(ratios)
    kept = n * 9 // 10
    x = np.log(np.sort(ratios))[:kept]
    y = [-math.log(1 - i / n) for i in range(1, kept + 1)]
    return (x @ y) / (x @ x)


@pytest.mark.parametrize(("k", "least", "most"), [(1, 0.9, 1.1), (2, 1.8, 2.2), (5, 4.4, 5.4)])
def test_a_planted_dimension_is_found_whatever_the_width(k, least, most, rng):
    assert least < two_nn(flat(rng, 1500, k)) < most


def test_a_curved_surface_counts_as_its_dimension(rng):
    turn = torch.rand(1500, 1, generator=rng, dtype=torch.float64) * 2 * math.pi
    height = torch.rand(1500, 1, generator=rng, dtype=torch.float64)
    roll = torch.cat([turn.cos(), turn.sin(), height], dim=1)
    assert 1.8 < two_nn(roll) < 2.2


@pytest.mark.parametrize("n", [3, 10, 57, 200])
def test_the_value_is_the_published_fit(n, rng):
    x = flat(rng, n, 4, 7)
    assert two_nn(x) == pytest.approx(fit_by_hand(ratios_by_hand(x)))
    assert two_nn(x.numpy()) == two_nn(x)


def test_rotation_shift_scale_and_order_change_nothing(rng):
    x = flat(rng, 100, 3, 6)
    turn = rotation(6, rng, torch.float64)
    assert two_nn((x @ turn + 5).flip(0) * 1e-20) == pytest.approx(two_nn(x))
    assert two_nn(x.float() * 1e-30) == pytest.approx(two_nn(x), rel=1e-3)


def test_neighbours_far_closer_than_a_product_can_tell_are_measured_exactly(rng):
    x = flat(rng, 60, 3, 8)
    close = torch.cat([x, x[:30] + 1e-10 * torch.randn(30, 8, generator=rng, dtype=torch.float64)])
    assert two_nn(close + 100) == pytest.approx(fit_by_hand(ratios_by_hand(close + 100)))


def test_a_few_near_repeats_do_not_spoil_the_estimate(rng):
    x = flat(rng, 400, 4, 10)
    close = torch.cat([x, x[:8] + 1e-6])
    assert two_nn(close) == pytest.approx(two_nn(x), rel=0.1)
    # The likelihood, which keeps the largest ratios, is halved by them.
    assert 1 / np.log(ratios_by_hand(close)).mean() < 0.6 / np.log(ratios_by_hand(x)).mean()


def test_repeats_grids_and_too_few_rows_are_refused(rng):
    x = flat(rng, 30, 3, 6)
    with pytest.raises(ValueError, match=r"2 of 31 rows have another at distance 0.*\[4, 30\]"):
        two_nn(torch.cat([x, x[4:5]]))
    with pytest.raises(ValueError, match="5 of 5 rows have another at distance 0"):
        two_nn(torch.ones(5, 3))
    with pytest.raises(ValueError, match="for 8 of 8 rows it is one distance"):
        two_nn(torch.eye(8))
    with pytest.raises(ValueError, match="x must have at least 3 rows for this probe; got 2"):
        two_nn(x[:2])
    x[7, 0] = torch.nan
    with pytest.raises(ValueError, match="x must be finite"):
        two_nn(x)


def test_probes_give_the_values_of_the_function_on_either_side(rng):
    space = clouds(rng)
    for probe, x in ((TWO_NN_SOURCE, space.source), (TWO_NN_TARGET, space.target)):
        found = probe.measure(space)
        assert found.value == two_nn(x)
        assert (found.rows, found.notes, found.null) == (None, (), None)


def test_large_spaces_are_measured_on_the_shared_sample(rng, monkeypatch):
    monkeypatch.setattr(intrinsic, "SAMPLE", 50)
    space = clouds(rng, groups=40)
    found = TWO_NN_TARGET.measure(space)
    assert found.rows.tolist() == space.sample(50).rows.tolist()
    assert found.value == two_nn(space.target[found.rows])
    for weights in resamples(space.codes, 20, rng):
        assert found.replicate(weights[:, found.rows]).isfinite().all()


def test_repeats_are_taken_once_and_said(rng):
    plain = clouds(rng, groups=40)
    source = plain.source.clone()
    source[60], source[61] = source[20], source[20]
    space = Space(source, plain.target, plain.codes)
    found = TWO_NN_SOURCE.measure(space)
    kept = [row for row in range(80) if row not in (60, 61)]
    assert found.value == two_nn(source[kept])
    assert len(found.notes) == 1
    assert found.notes[0].startswith("2 of 80 rows of source repeat another row")
    weights = torch.zeros(1, 80, dtype=torch.float64)
    weights[0, kept] = 1
    assert found.replicate(weights).item() == pytest.approx(found.value)
    assert TWO_NN_TARGET.measure(space).notes == ()


def test_two_distinct_rows_are_too_few_and_named(rng):
    x = torch.eye(4)[[0, 1] * 15]
    space = Space(x, clouds(rng, 30).target, torch.arange(30))
    with pytest.raises(ValueError, match="distinct rows of source must have at least 3 rows"):
        TWO_NN_SOURCE.measure(space)


@pytest.mark.parametrize("groups", [None, 40])
def test_draws_are_the_fit_to_the_ratios_drawn(groups, rng):
    space = clouds(rng, groups=groups)
    found = TWO_NN_SOURCE.measure(space)
    ratios = ratios_by_hand(space.source)
    (weights,) = resamples(space.codes, 5, rng)
    for weight, got in zip(weights, found.replicate(weights), strict=True):
        drawn = np.repeat(ratios, weight.long().numpy())
        assert got.item() == pytest.approx(fit_by_hand(drawn))
    once = torch.ones(1, 80, dtype=torch.float64)
    assert found.replicate(once).item() == pytest.approx(found.value)


def test_draws_spread_as_fresh_rows_do():
    assert 0.7 < spread_ratio(TWO_NN_SOURCE, partial(clouds, n=200), repeats=50) < 1.4
