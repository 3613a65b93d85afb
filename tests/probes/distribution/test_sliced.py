"""Sliced Wasserstein distance against POT, sorting by hand, and its Monte Carlo error."""

import numpy as np
import ot
import pytest
import torch

from probes.distribution.clouds import centred
from probes.distribution.sliced import sliced_wasserstein
from tests.probes.paired_clouds import stretched


def lines(directions, d, seed=0):
    drawn = torch.randn(
        directions, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return drawn / drawn.norm(dim=1, keepdim=True)


def test_between_centred_clouds_it_is_the_distance_of_pot_times_d(rng):
    z, w = centred(*stretched(rng, 50, 7))
    distance = ot.sliced_wasserstein_distance(
        z.numpy(), w.numpy(), projections=lines(40, 7, seed=3).T.numpy()
    )
    expected = 7 * distance**2
    assert sliced_wasserstein(z, w, directions=40, seed=3) == pytest.approx(expected)


def test_on_a_line_it_is_the_distance_of_sorted_points(rng):
    source, target = stretched(rng, 30, 1)
    expected = (source.sort(dim=0).values - target.sort(dim=0).values).square().mean()
    assert sliced_wasserstein(source, target, directions=3) == pytest.approx(float(expected))


def test_a_shift_counts_in_full_whatever_lines_are_drawn(rng):
    source, _ = stretched(rng, 30, 5)
    away = source + torch.tensor([1.0, 2, 0, 0, 2])
    for seed in range(3):
        assert sliced_wasserstein(source, away, directions=2, seed=seed) == pytest.approx(9)


def test_lines_leave_an_error_of_a_few_per_cent(rng):
    z, w = centred(*stretched(rng, 200, 20))
    found = [sliced_wasserstein(z, w, seed=seed) for seed in range(12)]
    assert 0 < np.std(found) / np.mean(found) < 0.05


def test_seeds_choose_the_lines(rng):
    sides = centred(*stretched(rng, 20, 4))
    first, again, other = (sliced_wasserstein(*sides, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_no_lines_are_refused():
    with pytest.raises(ValueError, match="directions must be finite and at least 1; got 0"):
        sliced_wasserstein(torch.eye(3), torch.eye(3), directions=0)
