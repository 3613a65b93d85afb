import numpy as np
import pytest
import torch
from scipy import stats

from align.metrics import bootstrap as resampling
from align.metrics.bootstrap import (
    bootstrap_interval,
    paired_bootstrap_interval,
    randomisation_test,
    weighted_mean,
    weighted_median,
)


def test_the_interval_covers_a_planted_mean_about_as_often_as_it_says(rng):
    covered = 0
    for _ in range(300):
        values = torch.randn(80, generator=rng) + 0.3
        low, high = bootstrap_interval(values, level=0.9, draws=300, generator=rng)
        covered += bool(low <= 0.3 <= high)
    # 270 expected; the binomial standard deviation is 5.2.
    assert 250 <= covered <= 288


def test_groups_widen_the_interval_to_what_independent_evidence_supports(rng):
    # Five identical rows per group are one piece of evidence, not five.
    of_group = torch.randn(100, generator=rng)
    groups = torch.arange(100).repeat_interleave(5)
    low, high = bootstrap_interval(of_group[groups], groups=groups, draws=4000, generator=rng)
    low_alone, high_alone = bootstrap_interval(of_group, draws=4000, generator=rng)
    naive_low, naive_high = bootstrap_interval(of_group[groups], draws=4000, generator=rng)
    assert (high - low).item() == pytest.approx((high_alone - low_alone).item(), rel=0.08)
    assert (high - low) / (naive_high - naive_low) == pytest.approx(5**0.5, rel=0.08)


def test_group_codes_are_names_whatever_their_values_and_order(rng):
    values = torch.randn(6, generator=rng)
    groups = torch.tensor([9, -1, 9, 4, 4, -1])

    def interval(codes):
        return bootstrap_interval(values, groups=codes, generator=torch.Generator().manual_seed(1))

    assert interval(groups) == interval(torch.tensor([2, 0, 2, 1, 1, 0]))


def test_the_interval_agrees_with_scipy(rng):
    values = torch.rand(60, generator=rng, dtype=torch.float64) ** 3
    low, high = bootstrap_interval(values, draws=20_000, generator=rng)
    theirs = stats.bootstrap(
        (values.numpy(),), np.mean, method="percentile", n_resamples=20_000, rng=0
    ).confidence_interval
    width = theirs.high - theirs.low
    assert low.item() == pytest.approx(theirs.low, abs=0.03 * width)
    assert high.item() == pytest.approx(theirs.high, abs=0.03 * width)


def test_the_median_interval_agrees_with_scipy(rng):
    values = torch.randn(61, generator=rng, dtype=torch.float64)
    low, high = bootstrap_interval(values, draws=20_000, generator=rng, statistic=weighted_median)
    theirs = stats.bootstrap(
        (values.numpy(),), np.median, method="percentile", n_resamples=20_000, rng=0
    ).confidence_interval
    assert low.item() == pytest.approx(theirs.low, abs=0.05)
    assert high.item() == pytest.approx(theirs.high, abs=0.05)


def test_weighted_statistics_are_those_of_the_repeated_values(rng):
    values = torch.randint(0, 6, (12, 2), generator=rng).double()
    weights = torch.randint(0, 4, (9, 12), generator=rng).double()
    for row, (mean, median) in enumerate(
        zip(weighted_mean(values, weights), weighted_median(values, weights), strict=True)
    ):
        repeated = values.repeat_interleave(weights[row].long(), dim=0).numpy()
        np.testing.assert_allclose(mean, repeated.mean(axis=0))
        np.testing.assert_allclose(median, np.median(repeated, axis=0))


def test_columns_share_the_draws_and_keep_their_own_bounds(rng):
    values = torch.randn(50, 2, generator=rng)

    def seeded():
        return torch.Generator().manual_seed(3)

    low, high = bootstrap_interval(values, generator=seeded())
    for column in (0, 1):
        alone = bootstrap_interval(values[:, column], generator=seeded())
        torch.testing.assert_close((low[column], high[column]), alone)
    assert low.shape == (2,) and alone[0].shape == ()


def test_the_interval_of_a_constant_is_that_constant(rng):
    low, high = bootstrap_interval(torch.full((9,), 0.25), generator=rng)
    assert (low.item(), high.item()) == (0.25, 0.25)


def test_chunks_change_memory_and_not_the_law(rng, monkeypatch):
    values = torch.randn(40, generator=rng)
    whole = bootstrap_interval(values, draws=5000, generator=rng)
    monkeypatch.setattr(resampling, "_ENTRIES", 100)
    chunked = bootstrap_interval(values, draws=5000, generator=rng)
    torch.testing.assert_close(whole, chunked, atol=0.03, rtol=0.0)


def test_pairing_removes_what_both_systems_share(rng):
    shared = torch.randn(200, generator=rng) * 10
    a = shared + 0.5 + 0.1 * torch.randn(200, generator=rng)
    low, high = paired_bootstrap_interval(a, shared, generator=rng)
    assert 0.45 < low < 0.5 < high < 0.55
    low, high = paired_bootstrap_interval(shared, a, generator=rng)
    assert -0.55 < low < high < -0.45


def test_a_planted_difference_has_the_smallest_p(rng):
    b = torch.randn(60, generator=rng)
    assert randomisation_test(b + 1, b, draws=999, generator=rng).item() == 1 / 1000
    assert randomisation_test(b, b + 1, draws=999, generator=rng).item() == 1 / 1000


def test_equal_systems_have_p_one(rng):
    a = torch.rand(30, generator=rng)
    assert randomisation_test(a, a, generator=rng).item() == 1.0


def test_p_is_uniform_when_nothing_differs(rng):
    a, b = torch.randn(2, 40, 400, generator=rng)
    p = randomisation_test(a, b, draws=500, generator=rng)
    assert p.shape == (400,)
    assert stats.kstest(p.numpy(), "uniform").pvalue > 0.01


def test_groups_keep_repeated_rows_from_passing_as_evidence(rng):
    groups = torch.arange(40).repeat_interleave(10)
    a, b = torch.randn(2, 40, 300, generator=rng)
    p = randomisation_test(a[groups], b[groups], groups=groups, draws=400, generator=rng)
    naive = randomisation_test(a[groups], b[groups], draws=400, generator=rng)
    assert stats.kstest(p.numpy(), "uniform").pvalue > 0.01
    assert (naive < 0.05).double().mean() > 0.3


def test_p_agrees_with_scipy_on_every_sign_pattern(rng):
    a = torch.randn(12, generator=rng, dtype=torch.float64) + 0.4
    b = torch.randn(12, generator=rng, dtype=torch.float64)
    theirs = stats.permutation_test(
        (a.numpy(), b.numpy()),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    ours = randomisation_test(a, b, draws=40_000, generator=rng).item()
    assert ours == pytest.approx(theirs, abs=0.01)


def test_differences_that_tie_but_for_rounding_count_as_ties(rng):
    # Every sign pattern of one nonzero group gives the same magnitude, so p is 1 exactly.
    a = torch.tensor([0.1, 0.2, 0.3, 0.0])
    groups = torch.tensor([0, 0, 0, 1])
    assert randomisation_test(a, torch.zeros(4), groups=groups, generator=rng).item() == 1.0
    # Whole numbers tie often and without rounding; tenths of them must give the same p.
    whole = torch.randint(-9, 10, (8, 100), generator=rng).double()
    exact, rounded = (
        randomisation_test(
            values, torch.zeros(8, 100), draws=500, generator=torch.Generator().manual_seed(1)
        )
        for values in (whole, whole * 0.1)
    )
    assert exact.tolist() == rounded.tolist()


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_zero_to_one_is_refused(rng, level):
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\)"):
        bootstrap_interval(torch.ones(3), level=level, generator=rng)


def test_no_draws_are_refused(rng):
    with pytest.raises(ValueError, match="draws must be at least 1; got 0"):
        bootstrap_interval(torch.ones(3), draws=0, generator=rng)
    with pytest.raises(ValueError, match="draws must be at least 1; got 0"):
        randomisation_test(torch.ones(3), torch.ones(3), draws=0, generator=rng)


@pytest.mark.parametrize(
    "values", [torch.tensor([1.0, float("nan")]), torch.ones(0), torch.ones(2, 2, 2)]
)
def test_values_without_a_mean_are_refused(rng, values):
    with pytest.raises(ValueError, match="values must be finite, one row per query"):
        bootstrap_interval(values, generator=rng)


def test_groups_of_another_length_are_refused(rng):
    with pytest.raises(ValueError, match=r"one code per query, \(3,\); got \(2,\)"):
        bootstrap_interval(torch.ones(3), groups=torch.tensor([0, 1]), generator=rng)


def test_systems_over_other_queries_are_refused(rng):
    for function in (paired_bootstrap_interval, randomisation_test):
        with pytest.raises(ValueError, match=r"\(3,\) and \(4,\)"):
            function(torch.ones(3), torch.ones(4), generator=rng)
