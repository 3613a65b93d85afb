import ir_measures
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, R, Success, nDCG

from align.metrics import ranks as ranking
from align.metrics.ranks import (
    Ranks,
    average_precisions,
    hits_at_k,
    mean_average_precision,
    mean_reciprocal_rank,
    median_rank,
    ndcg_at_k,
    normalised_gains_at_k,
    rank_positives,
    rank_scores,
    ranks,
    ranks_of_partners,
    recall,
    recall_at_k,
    reciprocal_ranks,
    shares_found_at_k,
)


def by_definition(queries, gallery, query_groups, gallery_groups):
    """Ranks of each query's positives, counted one by one."""
    found = []
    for query, group in zip(queries, query_groups, strict=True):
        scores = gallery @ query
        own = gallery_groups == group
        best_first = sorted(scores[own].tolist(), reverse=True)
        found.append(
            [int((scores[~own] >= s).sum()) + j for j, s in enumerate(best_first, start=1)]
        )
    return found


def as_lists(found):
    return [part.tolist() for part in torch.split(found.flat, found.positives.tolist())]


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 20), st.sampled_from([1, 3, 64]))
@settings(max_examples=60, deadline=None)
def test_ranks_follow_the_definition_whatever_the_ties_and_groups(seed, q, m, rows):
    rng = torch.Generator().manual_seed(seed)
    # Small whole numbers, so that ties are frequent and arithmetic is exact.
    queries = torch.randint(-2, 3, (q, 2), generator=rng).float()
    gallery = torch.randint(-2, 3, (m, 2), generator=rng).float()
    gallery_groups = torch.randint(0, 4, (m,), generator=rng)
    query_groups = gallery_groups[torch.randint(m, (q,), generator=rng)]
    found = rank_positives(queries, gallery, query_groups, gallery_groups, rows=rows)
    assert as_lists(found) == by_definition(queries, gallery, query_groups, gallery_groups)
    assert found.first.tolist() == [part[0] for part in as_lists(found)]
    by_scores = rank_scores(queries @ gallery.T, query_groups, gallery_groups)
    assert as_lists(by_scores) == as_lists(found)


def test_a_perfect_match_ranks_first_and_a_reversed_one_last():
    gallery = torch.eye(5)
    assert ranks(gallery, gallery).tolist() == [1] * 5
    assert ranks(-gallery, gallery).tolist() == [5] * 5


def test_a_collapsed_map_ranks_last_everywhere(rng):
    for n in (5, 33, 1003):
        point = torch.randn(1, 40, generator=rng).repeat(n, 1)
        assert ranks(torch.randn(n, 40, generator=rng), point).tolist() == [n] * n


def test_a_random_map_has_the_recall_of_chance(rng):
    n = 2000
    found = ranks(torch.randn(n, 16, generator=rng), torch.randn(n, 16, generator=rng))
    assert recall_at_k(found, n // 10) == pytest.approx(0.1, abs=4 * (0.09 / n) ** 0.5)
    assert median_rank(found) == pytest.approx(n / 2, rel=0.1)


def test_paired_ranks_are_group_ranks_with_one_positive_each(rng):
    queries, gallery = torch.randn(2, 30, 8, generator=rng)
    codes = torch.randperm(30, generator=rng)
    grouped = rank_positives(queries, gallery, codes, codes)
    assert ranks(queries, gallery).tolist() == grouped.first.tolist()
    assert grouped.positives.tolist() == [1] * 30


def test_ranks_of_partners_are_those_of_one_score_matrix_ties_included(rng):
    x = torch.randint(-1, 2, (30, 2), generator=rng).float()  # few different rows
    y = torch.randint(-1, 2, (30, 2), generator=rng).float()
    scores = x @ y.T
    assert ranks_of_partners(scores).equal(ranks(x, y))
    assert ranks_of_partners(scores.T).equal(ranks(y, x))


def test_positives_do_not_push_each_other_down():
    gallery = torch.tensor([[3.0], [2.0], [1.0], [0.0]])
    found = rank_positives(torch.ones(1, 1), gallery, torch.tensor([7]), torch.tensor([7, 5, 7, 7]))
    # One negative lies above the second and third positive.
    assert found.flat.tolist() == [1, 3, 4]


def test_a_score_is_not_changed_by_the_order_of_the_gallery(rng):
    queries, gallery = torch.randn(2, 40, 8, generator=rng, dtype=torch.float64)
    codes = torch.arange(40) // 4
    order = torch.randperm(40, generator=rng)
    straight = rank_positives(queries, gallery, codes, codes)
    shuffled = rank_positives(queries, gallery[order], codes, codes[order])
    assert straight.flat.tolist() == shuffled.flat.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_ir_measures(seed):
    rng = torch.Generator().manual_seed(seed)
    queries = torch.randn(25, 6, generator=rng, dtype=torch.float64)
    gallery = torch.randn(60, 6, generator=rng, dtype=torch.float64)
    gallery_groups = torch.randint(0, 9, (60,), generator=rng)
    query_groups = gallery_groups[torch.randint(60, (25,), generator=rng)]
    found = rank_positives(queries, gallery, query_groups, gallery_groups)

    relevant = {
        str(i): {str(j): 1 for j in (gallery_groups == g).nonzero().flatten().tolist()}
        for i, g in enumerate(query_groups)
    }
    run = {
        str(i): {str(j): score for j, score in enumerate(row)}
        for i, row in enumerate((queries @ gallery.T).tolist())
    }
    ours = {
        Success @ 1: hits_at_k(found, 1),
        Success @ 5: hits_at_k(found, 5),
        R @ 1: shares_found_at_k(found, 1),
        R @ 5: shares_found_at_k(found, 5),
        R @ 60: shares_found_at_k(found, 60),
        RR: reciprocal_ranks(found),
        nDCG @ 3: normalised_gains_at_k(found, 3),
        nDCG @ 10: normalised_gains_at_k(found, 10),
        AP: average_precisions(found),
    }
    for one in ir_measures.iter_calc(list(ours), relevant, run):
        assert ours[one.measure][int(one.query_id)].item() == pytest.approx(one.value, abs=1e-9), (
            one
        )
    means = ir_measures.calc_aggregate(list(ours), relevant, run)
    assert recall_at_k(found, 5) == pytest.approx(means[Success @ 5])
    assert recall(found, 5) == pytest.approx(means[R @ 5])
    assert mean_reciprocal_rank(found) == pytest.approx(means[RR])
    assert ndcg_at_k(found, 10) == pytest.approx(means[nDCG @ 10])
    assert mean_average_precision(found) == pytest.approx(means[AP])


def test_metrics_of_known_ranks():
    first = torch.tensor([1, 2, 4, 40])
    assert recall_at_k(first, 1) == 0.25
    assert recall_at_k(first, 4) == 0.75
    assert mean_reciprocal_rank(first) == pytest.approx((1 + 0.5 + 0.25 + 0.025) / 4)
    assert median_rank(first) == 3.0
    assert median_rank(first[:3]) == 2.0
    found = Ranks(torch.tensor([2, 3]), torch.tensor([0, 2]))
    assert mean_average_precision(found) == pytest.approx((1 / 2 + 2 / 3) / 2)
    log2 = torch.arange(5).double().log2().tolist()
    assert ndcg_at_k(found, 2) == pytest.approx((1 / log2[3]) / (1 / log2[2] + 1 / log2[3]))
    assert ndcg_at_k(found, 1) == 0.0


def test_recall_counts_all_positives_where_recall_at_k_asks_for_one():
    found = Ranks(torch.tensor([1, 7, 8, 9, 20, 2]), torch.tensor([0, 5, 6]))
    assert shares_found_at_k(found, 5).tolist() == [0.2, 1.0]
    assert recall(found, 5) == pytest.approx(0.6) and recall_at_k(found, 5) == 1.0
    assert recall(found, 9) == pytest.approx((0.8 + 1) / 2) and recall(found, 20) == 1.0


def test_with_one_positive_each_both_recalls_are_one(rng):
    codes = torch.arange(30)
    found = rank_positives(*torch.randn(2, 30, 4, generator=rng), codes, codes)
    for k in (1, 5, 30):
        assert recall(found, k) == recall_at_k(found, k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 5])
def test_with_many_positives_ranks_follow_the_definition_ties_included(groups, dtype, rng):
    scores = torch.randint(-6, 7, (7, 120), generator=rng).to(dtype)
    codes = torch.arange(120) % groups
    found = rank_scores(scores, codes[:7], codes)
    by_hand = by_definition(torch.eye(7), scores.float().T, codes[:7], codes)
    assert as_lists(found) == by_hand


def test_sorting_and_counting_give_the_same_ranks(rng, monkeypatch):
    queries, gallery = torch.randn(2, 400, 8, generator=rng)
    gallery[200:300] = gallery[100:200]
    codes = torch.randint(0, 9, (400,), generator=rng)
    found = rank_positives(queries, gallery, codes, codes, rows=150)
    monkeypatch.setattr(ranking, "_COUNTED", 400)
    assert rank_positives(queries, gallery, codes, codes).flat.equal(found.flat)


def test_summaries_take_ranks_or_the_first_ranks_alike():
    found = Ranks(torch.tensor([2, 3, 1]), torch.tensor([0, 2, 3]))
    assert len(found) == 2
    for metric in (mean_reciprocal_rank, median_rank, lambda r: recall_at_k(r, 1)):
        assert metric(found) == metric(found.first)


def test_every_fifth_row_of_the_codes_can_be_the_query_codes(rng):
    gallery = torch.nn.functional.normalize(torch.randn(20, 4, generator=rng), dim=1)
    codes = torch.arange(4).repeat_interleave(5)
    found = rank_positives(gallery[::5], gallery, codes[::5], codes)
    assert found.first.tolist() == [1, 1, 1, 1]
    assert found.positives.tolist() == [5, 5, 5, 5]


def test_a_query_without_a_positive_is_refused():
    with pytest.raises(ValueError, match=r"2 of 3 have none, the first at rows \[0, 2\]"):
        rank_positives(
            torch.ones(3, 2), torch.ones(2, 2), torch.tensor([5, 0, 9]), torch.tensor([0, 0])
        )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_on_either_side(bad):
    good, worse = torch.ones(3, 2), torch.ones(3, 2)
    worse[1, 1] = bad
    with pytest.raises(ValueError, match=r"gallery must be finite.*\[1\]"):
        ranks(good, worse)
    with pytest.raises(ValueError, match=r"queries must be finite.*\[1\]"):
        ranks(worse, good)


def test_scores_that_are_not_a_finite_matrix_with_a_code_per_row_and_column_are_refused():
    codes = torch.arange(2)
    with pytest.raises(ValueError, match=r"scores must be finite; 1 of 2 rows"):
        rank_scores(torch.tensor([[1.0, 2.0], [1.0, float("nan")]]), codes, codes)
    with pytest.raises(ValueError, match="scores must be a floating-point matrix"):
        rank_scores(torch.ones(2), codes, codes)
    with pytest.raises(ValueError, match=r"query_groups must be one int64 code per row, \(3,\)"):
        rank_scores(torch.ones(3, 2), codes, codes)
    with pytest.raises(ValueError, match=r"gallery_groups must be one int64 code per row, \(3,\)"):
        rank_scores(torch.ones(2, 3), codes, codes)
    with pytest.raises(ValueError, match=r"1 of 2 have none, the first at rows \[1\]"):
        rank_scores(torch.ones(2, 2), codes, torch.zeros(2, dtype=torch.int64))


def test_an_overflowing_score_is_refused():
    with pytest.raises(ValueError, match="overflow"):
        ranks(torch.full((2, 2), 1e30), torch.full((2, 2), 1e30))


def test_unpaired_rows_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        ranks(torch.zeros(3, 4), torch.zeros(2, 4))


def test_widths_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"one dtype; got \(3, 4\)"):
        ranks(torch.zeros(3, 4), torch.zeros(3, 5))


@pytest.mark.parametrize("codes", [torch.zeros(3), torch.zeros(2, dtype=torch.int64)])
def test_codes_of_another_length_or_dtype_are_refused(codes):
    right = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="query_groups must be one int64 code per row"):
        rank_positives(torch.ones(3, 2), torch.ones(3, 2), codes, right)
    with pytest.raises(ValueError, match="gallery_groups must be one int64 code per row"):
        rank_positives(torch.ones(3, 2), torch.ones(3, 2), right, codes)


def test_a_cut_off_below_one_is_refused():
    found = Ranks(torch.tensor([1]), torch.tensor([0, 1]))
    for metric in (recall_at_k, recall, ndcg_at_k):
        with pytest.raises(ValueError, match="k must be at least 1"):
            metric(found, 0)
