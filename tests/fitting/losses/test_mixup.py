"""Mixup with one share for both sides."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import beta, kstest

from align.fitting.losses.mixup import shared_mixup


def shares(alpha, generator, draws):
    """Shares that were drawn, read off a batch whose halves are 1 and 0."""
    halves = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    return [
        shared_mixup(halves, halves, alpha=alpha, generator=generator)[0].item()
        for _ in range(draws)
    ]


def test_halves_are_blended_by_one_share_on_both_sides(rng):
    source = torch.randn(7, 3, generator=rng, dtype=torch.float64)
    target = torch.randn(7, 5, generator=rng, dtype=torch.float64)
    mixed_source, mixed_target = shared_mixup(source, target, generator=rng)
    assert mixed_source.shape == (3, 3) and mixed_target.shape == (3, 5)
    share = (mixed_source - source[3:6]) / (source[:3] - source[3:6])
    assert 0 < share[0, 0] < 1
    torch.testing.assert_close(share, share[:1, :1].expand(3, 3))
    expected = share[0, 0] * target[:3] + (1 - share[0, 0]) * target[3:6]
    torch.testing.assert_close(mixed_target, expected)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha, rng):
    drawn = shares(alpha, rng, 2000)
    assert kstest(drawn, beta(alpha, alpha).cdf).pvalue > 1e-3


def test_the_generator_alone_decides():
    x = torch.arange(8.0)[:, None]

    def mixed(seed):
        return shared_mixup(x, x, generator=torch.Generator().manual_seed(seed))[0]

    torch.manual_seed(1)
    first = mixed(3)
    torch.manual_seed(2)
    assert mixed(3).equal(first)
    assert not mixed(4).equal(first)


def test_gradients_and_dtype_pass_through(rng):
    source = torch.ones(4, 2, dtype=torch.float32, requires_grad=True)
    mixed, _ = shared_mixup(source, source, generator=rng)
    mixed.sum().backward()
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(source.grad[:2] + source.grad[2:], torch.ones(2, 2))


def test_what_cannot_be_mixed_is_refused(rng):
    with pytest.raises(ValueError, match="row-matched matrices"):
        shared_mixup(torch.ones(4, 2), torch.ones(3, 2), generator=rng)
    with pytest.raises(ValueError, match="at least 2 rows to blend; got 1"):
        shared_mixup(torch.ones(1, 2), torch.ones(1, 2), generator=rng)
    with pytest.raises(ValueError, match="alpha must be finite and above 0"):
        shared_mixup(torch.ones(4, 2), torch.ones(4, 2), alpha=0.0, generator=rng)
