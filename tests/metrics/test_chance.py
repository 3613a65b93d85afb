"""What a random order gives: closed forms, counting and draws; and what is said against it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.data.embeddings import PairedEmbeddings
from align.metrics.chance import HeldOutRanks, NoBetterThanChance, RandomOrder
from align.metrics.evaluation import evaluate
from align.metrics.ranks import median_rank


class Same:
    """Both sides as they are."""

    def queries(self, x, *, side):
        return x.vectors

    def gallery(self, x, *, side):
        return x.vectors


def order(*positives, m):
    return RandomOrder.of(torch.tensor(positives), m)


@given(m=st.integers(1, 60), k=st.integers(1, 60))
@settings(max_examples=30)
def test_one_right_item_is_found_k_times_in_m(m, k):
    found = order(1, 1, m=m)
    assert found.recall_at_k(k) == pytest.approx(min(k, m) / m, rel=1e-12)
    harmonic = sum(1 / place for place in range(1, m + 1)) / m
    assert found.mean_reciprocal_rank == pytest.approx(harmonic, rel=1e-12)
    assert found.median_rank == (m + 1) / 2


@given(m=st.integers(1, 40), k=st.integers(1, 40), data=st.data())
@settings(max_examples=30)
def test_several_right_items_follow_the_hypergeometric_law(m, k, data):
    p = data.draw(st.integers(1, m))
    k = min(k, m)
    expected = 1 - math.comb(m - p, k) / math.comb(m, k)
    assert order(p, m=m).recall_at_k(k) == pytest.approx(expected, rel=1e-12)
    total = sum(math.comb(m - r, p - 1) / math.comb(m, p) / r for r in range(1, m - p + 2))
    assert order(p, m=m).mean_reciprocal_rank == pytest.approx(total, rel=1e-9)


def test_queries_of_different_numbers_are_averaged():
    mixed, parts = order(1, 3, 3, 7, m=12), [order(p, m=12) for p in (1, 3, 3, 7)]
    for k in (1, 5, 10):
        mean = sum(part.recall_at_k(k) for part in parts) / 4
        assert mixed.recall_at_k(k) == pytest.approx(mean, rel=1e-12)
    mean = sum(part.mean_reciprocal_rank for part in parts) / 4
    assert mixed.mean_reciprocal_rank == pytest.approx(mean, rel=1e-12)


def test_large_classes_in_a_large_gallery_are_cheap_and_exact():
    found = order(25_000, m=100_000)
    assert found.recall_at_k(1) == pytest.approx(0.25, rel=1e-12)
    assert found.recall_at_k(100_000) == 1 and found.median_rank == 3
    assert order(1, m=1_000_000).recall_at_k(10) == pytest.approx(1e-5, rel=1e-9)


def test_a_gallery_that_is_all_right_is_found_at_once():
    found = order(5, m=5)
    assert (found.recall_at_k(1), found.mean_reciprocal_rank, found.median_rank) == (1, 1, 1)


def test_an_evaluation_of_noise_averages_to_its_chance_values(rng):
    groups = [str(row % 9) for row in range(40)]
    names = ("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank")
    total = dict.fromkeys(names, 0.0)
    ranks = []
    for _ in range(60):
        x, y = torch.randn(40, 8, generator=rng), torch.randn(40, 8, generator=rng)
        found = evaluate(PairedEmbeddings.from_arrays(x, y, groups=groups), Same())
        ranks.append(found.source_to_target.ranks)
        for name in names:
            total[name] += found.mean[name].value / 60
    for name in names:
        assert total[name] == pytest.approx(found.chance[name], abs=0.02), name
    assert median_rank(torch.cat(ranks)) == pytest.approx(found.chance["median_rank"], abs=0.5)


def test_captions_and_photos_have_each_their_own_chance(rng):
    photos = torch.randn(20, 8, generator=rng).repeat_interleave(5, 0)
    captions = torch.randn(100, 8, generator=rng)
    names = [str(row // 5) for row in range(100)]
    found = evaluate(PairedEmbeddings.from_arrays(captions, photos, groups=names), Same())
    assert found.source_to_target.chance["recall_at_1"] == pytest.approx(1 / 20)
    assert found.target_to_source.chance["recall_at_1"] == pytest.approx(5 / 100)
    expected = 1 - math.comb(95, 10) / math.comb(100, 10)
    assert found.target_to_source.chance["recall_at_10"] == pytest.approx(expected)
    assert found.to_dict()["mean"]["recall_at_10"]["chance"] == pytest.approx((0.5 + expected) / 2)


def held_out(ranks, m):
    table = torch.tensor(ranks)[:, None].expand(-1, 2)
    return HeldOutRanks(table, torch.full((len(table),), m))


def test_ranks_of_a_random_order_are_no_standard_error_from_it(rng):
    errors = []
    for _ in range(300):
        ranks = torch.randint(1, 31, (50, 1), generator=rng).expand(-1, 2)
        errors.append(HeldOutRanks(ranks, torch.full((50,), 30)).standard_errors())
    spread = torch.tensor(errors)
    assert abs(spread.mean()) < 0.2 and spread.std() == pytest.approx(1, abs=0.12)


def test_all_pairs_first_is_far_from_chance_and_all_last_below():
    assert held_out([1] * 30, 50).standard_errors() > 10
    assert held_out([50] * 30, 50).standard_errors() < -2
    assert held_out([1], 1).standard_errors() == 0  # nothing can be told


def test_folds_of_different_size_are_compared_each_with_its_own():
    parts = [held_out([3] * 10, 5), held_out([500] * 10, 999)]
    joined = HeldOutRanks.joined(parts)
    assert joined.recall_at_random(1) == pytest.approx((1 / 5 + 1 / 999) / 2)
    means = [order(1, m=m).mean_reciprocal_rank for m in (5, 999)]
    assert joined.mean_reciprocal_rank_at_random == pytest.approx(sum(means) / 2)
    assert joined.first(10).recall_at_random(1) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("ranks", "m", "better", "text"),
    [
        ([1] * 43 + [500] * 57, 1000, True, "finds pairs 43 times as often as chance (R@10 43.0 %"),
        ([1] * 2 + [90] * 8, 100, True, "finds pairs 2.0 times as often as chance (R@10 20.0 %"),
        ([1, 9], 10, True, "finds pairs 5.0 times as often as chance (R@1 50.0 %, chance 10.0 %"),
        ([20] * 100, 1000, True, "ranks pairs higher than chance, and finds them no more often"),
        ([9] * 10, 10, False, "no better than chance: are the rows matched? (R@1 0.0 %, chance"),
    ],
)
def test_the_verdict_begins_with_what_matters(ranks, m, better, text):
    assert str(held_out(ranks, m).against_chance(better=better)).startswith(text)


def test_what_is_no_better_is_warned_of_where_it_was_called():
    found = held_out([9] * 10, 10).against_chance(better=False)
    with pytest.warns(NoBetterThanChance, match=r"this thing is no better .* Look at") as told:
        found.warn("this thing", stacklevel=1)
    assert told[0].filename == __file__
    held_out([1] * 10, 10).against_chance(better=True).warn("this thing", stacklevel=1)
