"""Replicates: what a value becomes when pairs are drawn again, against drawing them by hand."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.metrics.bootstrap import resamples
from probes.estimates import linearised, mean_apart, mean_of, pairs_apart

CODES = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 5])


def drawn_rows(weights):
    """The rows of one draw, each as often as its weight says."""
    return [row for row, times in enumerate(weights.tolist()) for _ in range(int(times))]


def mean_by_hand(kernel, rows):
    entries = [
        kernel[i, j].item() for i, j in product(rows, rows) if CODES[i].item() != CODES[j].item()
    ]
    return sum(entries) / len(entries), len(entries)


@pytest.mark.parametrize("draw", range(5))
def test_a_mean_over_pairs_apart_is_the_mean_over_the_rows_that_were_drawn(draw, rng):
    kernel = torch.randn(9, 9, generator=rng, dtype=torch.float64)
    rng.manual_seed(draw)
    (weights,) = resamples(CODES, 3, rng)
    value, replicate = mean_apart(kernel.clone(), CODES)
    assert value == pytest.approx(mean_by_hand(kernel, range(9))[0])
    for weight, got, apart in zip(
        weights, replicate(weights), pairs_apart(weights, CODES), strict=True
    ):
        expected, count = mean_by_hand(kernel, drawn_rows(weight))
        assert got.item() == pytest.approx(expected)
        assert apart.item() == count


def test_a_mean_is_the_mean_over_the_rows_that_were_drawn(rng):
    values = torch.randn(9, generator=rng)
    (weights,) = resamples(CODES, 4, rng)
    value, replicate = mean_of(values)
    assert value == pytest.approx(values.mean().item())
    for weight, got in zip(weights, replicate(weights), strict=True):
        assert got.item() == pytest.approx(values[drawn_rows(weight)].mean().item(), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**31))
def test_the_weights_of_all_rows_alike_give_the_value_back(n, seed):
    rng = torch.Generator().manual_seed(seed)
    codes = torch.arange(n)
    ones = torch.ones(1, n, dtype=torch.float64)
    values = torch.randn(n, generator=rng)
    for value, replicate in (
        mean_of(values),
        mean_apart(torch.randn(n, n, generator=rng), codes),
        (1.5, linearised(1.5, values)),
    ):
        assert replicate(ones).item() == pytest.approx(value, abs=1e-5)


def test_a_linearised_square_moves_as_the_square_does(rng):
    values = 5 + torch.randn(4000, generator=rng, dtype=torch.float64)
    mean = values.mean()
    replicate = linearised(mean.square().item(), 2 * mean * values)
    (weights,) = resamples(torch.arange(4000), 200, rng)
    exact = (weights @ values / 4000).square()
    torch.testing.assert_close(replicate(weights), exact, rtol=1e-4, atol=0)
    assert replicate(weights).std() == pytest.approx(2 * 5 / 4000**0.5, rel=0.2)
