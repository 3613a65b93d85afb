"""Effective rank and participation ratio: planted spectra, eigenvalues by hand, derivatives."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.inputs import UnreliableEstimate
from probes.pathology.dimension import (
    EFFECTIVE_RANK_SOURCE,
    EFFECTIVE_RANK_TARGET,
    PARTICIPATION_SOURCE,
    PARTICIPATION_TARGET,
    effective_rank,
    participation_ratio,
)
from probes.space import Space
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import spread_ratio

BOTH = [effective_rank, participation_ratio]
PROBES = [
    (EFFECTIVE_RANK_SOURCE, effective_rank),
    (EFFECTIVE_RANK_TARGET, effective_rank),
    (PARTICIPATION_SOURCE, participation_ratio),
    (PARTICIPATION_TARGET, participation_ratio),
]


def steep(rng, n=80, d=12):
    """Unit-norm sides whose variance falls off along the axes, at another pace on each."""
    source, target = torch.randn(2, n, d, generator=rng)
    falling = torch.arange(1.0, d + 1)
    sides = (source / falling, target / falling.sqrt())
    return Space(*(F.normalize(side, dim=1) for side in sides), torch.arange(n))


def by_eigenvalues(x, weights=None):
    """Effective rank and participation ratio from NumPy's eigenvalues."""
    rows = np.asarray(x, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(rows, rowvar=False, aweights=weights, ddof=0))
    shares = np.linalg.eigvalsh(covariance)
    shares = shares[shares > 1e-12 * shares.max()] / shares.sum()
    return math.exp(-(shares * np.log(shares)).sum()), 1 / np.square(shares).sum()


@pytest.mark.parametrize(("n", "d"), [(80, 12), (12, 12), (13, 12), (10, 40), (2, 5), (30, 1)])
@pytest.mark.filterwarnings("ignore::probes.inputs.UnreliableEstimate")
def test_both_agree_with_the_eigenvalues_of_the_covariance(n, d, rng):
    x = torch.randn(n, d, generator=rng, dtype=torch.float64) * torch.arange(1, d + 1) + 5
    for got, expected in zip((f(x) for f in BOTH), by_eigenvalues(x), strict=True):
        assert got == pytest.approx(expected)
    for got, expected in zip((f(x.float()) for f in BOTH), by_eigenvalues(x), strict=True):
        assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("measure", BOTH)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_k_axes_alike_count_as_k(measure, k):
    axes = torch.eye(6)[:k]
    assert measure(torch.cat([axes, -axes]).repeat(6, 1) + 3) == pytest.approx(k)


@pytest.mark.parametrize("measure", BOTH)
def test_two_axes_of_unlike_variance_count_as_their_formula_says(measure):
    x = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])
    # Variances 9 and 1, so shares 0.9 and 0.1.
    expected = {
        effective_rank: math.exp(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1))),
        participation_ratio: 1 / (0.81 + 0.01),
    }
    assert measure(x) == pytest.approx(expected[measure])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.floats(-30, 30), st.integers(0, 2**31))
def test_rotation_shift_scale_and_order_change_nothing(d, power, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(3 * d, d, generator=rng, dtype=torch.float64) ** 3
    turn = rotation(d, rng, torch.float64)
    for measure in BOTH:
        value = measure(x)
        assert 1 - 1e-9 <= value <= d + 1e-9
        assert measure((x @ turn + 2).flip(0) * 10.0**power) == pytest.approx(value)
        # Squares of the entries themselves would vanish, or overflow, in float32.
        assert measure((x * 10.0**power).float()) == pytest.approx(value, rel=1e-4)
    assert effective_rank(x) >= participation_ratio(x) - 1e-9


def test_collapse_lowers_both(rng):
    space = steep(rng)
    for measure in BOTH:
        assert measure(space.source) < measure(space.target) < 12
        squashed = space.target * torch.tensor([1.0] * 3 + [0.05] * 9)
        assert measure(squashed) < 0.5 * measure(space.target)


@pytest.mark.parametrize("measure", BOTH)
def test_few_rows_are_announced(measure, rng):
    x = torch.randn(23, 12, generator=rng)
    with pytest.warns(UnreliableEstimate, match=r"23 rows in 12 dimensions.*at most 12 dimensions"):
        measure(x)
    with pytest.warns(UnreliableEstimate, match=r"8 rows in 12 .*at most 7 .*at least 24 rows"):
        assert measure(x[:8]) <= 7
    measure(torch.cat([x, x[:1] + 1]))


@pytest.mark.parametrize("measure", BOTH)
def test_rows_without_spread_are_refused(measure):
    with pytest.raises(ValueError, match=r"rows must differ.*all 5 are equal"):
        measure(torch.full((5, 2), 0.1))
    with pytest.raises(ValueError, match="x must have at least 2 rows for this probe; got 1"):
        measure(torch.ones(1, 2))
    with pytest.raises(ValueError, match="x must be finite"):
        measure(torch.tensor([[1.0, torch.inf], [0.0, 1.0]]))


@pytest.mark.parametrize(("probe", "measure"), PROBES)
@pytest.mark.parametrize("d", [12, 100])
def test_probes_give_the_values_of_the_functions(probe, measure, d, rng):
    space = steep(rng, d=d)
    x = space.source if "source" in probe.name else space.target
    found = probe.measure(space)
    if d == 100:
        with pytest.warns(UnreliableEstimate) as caught:
            assert found.value == measure(x)
        assert [str(each.message) for each in caught] == list(found.notes)
    else:
        assert found.value == measure(x)
        assert "are those of these 80 rows, and so are their intervals" in found.notes[0]
    once = torch.ones(1, space.n, dtype=torch.float64)
    assert found.replicate(once).item() == pytest.approx(found.value)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("d", [6, 50])
def test_draws_move_by_the_derivative_with_respect_to_each_weight(which, d, rng):
    space = steep(rng, n=30, d=d)
    found = (EFFECTIVE_RANK_SOURCE, PARTICIPATION_SOURCE)[which].measure(space)
    for row in (0, 11, 29):
        alone = torch.zeros(1, 30, dtype=torch.float64)
        alone[0, row] = 1
        low, high = (
            by_eigenvalues(space.source, 1 + sign * 1e-4 * alone[0].numpy())[which]
            for sign in (-1, 1)
        )
        slope = (high - low) / 2e-4
        assert (found.replicate(alone).item() - found.value) / 30 == pytest.approx(
            slope, rel=5e-3, abs=1e-4
        )


@pytest.mark.parametrize(("probe", "measure"), PROBES[::2])
def test_draws_spread_as_fresh_rows_do(probe, measure):
    assert 0.7 < spread_ratio(probe, partial(steep, n=200)) < 1.4


@pytest.mark.parametrize(("n", "d"), [(30, 3), (80, 20), (60, 60), (40, 90), (400, 8)])
def test_noise_comes_out_at_the_nulls(n, d, rng):
    seen = []
    for _ in range(20):
        x, y = F.normalize(torch.randn(2, n, d, generator=rng), dim=2)
        space = Space(x, y, torch.arange(n))
        found = [probe.measure(space) for probe, _ in PROBES]
        seen.append([measured.value for measured in found])
    nulls = [measured.null.value for measured in found]
    np.testing.assert_allclose(np.mean(seen, axis=0), nulls, rtol=0.03)
