import pytest
import torch

from align.scoring import topk
from align.scoring.inner_products import inner_products
from align.scoring.topk import Neighbours, merge_neighbours, nearest


def whole_matrix(queries, gallery, k):
    scores, indices = (queries @ gallery.T).sort(dim=1, descending=True, stable=True)
    return scores[:, :k], indices[:, :k]


@pytest.mark.parametrize("k", [1, 7, 300])
@pytest.mark.parametrize("rows", [1, 5, 1024])
def test_blocks_give_the_same_neighbours_as_the_whole_matrix(rng, monkeypatch, k, rows):
    monkeypatch.setattr(topk, "_COLUMNS", 64)
    queries = torch.randn(13, 24, generator=rng, dtype=torch.float64)
    gallery = torch.randn(300, 24, generator=rng, dtype=torch.float64)
    values, indices = nearest(queries, gallery, k=k, rows=rows)
    expected, rows_expected = whole_matrix(queries, gallery, k)
    torch.testing.assert_close(values, expected)
    assert indices.tolist() == rows_expected.tolist()


@pytest.mark.parametrize("columns", [64, 8192])
@pytest.mark.parametrize("k", [1, 4, 50, 199])
def test_ties_go_to_the_lower_gallery_row(rng, monkeypatch, columns, k):
    monkeypatch.setattr(topk, "_COLUMNS", columns)
    # Small whole numbers: their products are exact in float32, and most scores tie.
    queries = torch.randint(-1, 2, (40, 3), generator=rng).float()
    gallery = torch.randint(-1, 2, (200, 3), generator=rng).float()
    found = nearest(queries, gallery, k=k, rows=16)
    expected, rows_expected = whole_matrix(queries, gallery, k)
    assert found.values.tolist() == expected.tolist()
    assert found.indices.tolist() == rows_expected.tolist()


def test_a_gallery_of_one_repeated_row_comes_back_in_order(rng):
    for m in (5, 33, 257, 1003):
        gallery = torch.randn(1, 48, generator=rng).repeat(m, 1)
        for q in (1, 7, 64):
            found = nearest(torch.randn(q, 48, generator=rng), gallery, k=m)
            assert (found.indices == torch.arange(m)).all(), (m, q)


@pytest.mark.parametrize("m", [700, 1024, 3001])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_the_best_of_many_groups_are_the_best_of_all_and_ties_go_to_the_lower_row(rng, m, k):
    for highest in (2, 5, 1000):
        scores = torch.randint(highest, (30, m), generator=rng).float()
        scores[:, ::7] = -torch.inf
        values, indices = scores.sort(dim=1, descending=True, stable=True)
        found = topk.best_columns(scores, k)
        assert torch.equal(found.values, values[:, :k])
        assert torch.equal(found.indices, indices[:, :k])


@pytest.mark.parametrize("q", [1, 2, 5, 9])
@pytest.mark.parametrize("d", [16, 33])
def test_a_large_gallery_is_searched_as_the_whole_matrix_is(rng, monkeypatch, q, d):
    queries = torch.randn(q, d, generator=rng)
    gallery = torch.randn(20_001, d, generator=rng)
    monkeypatch.setattr("align.scoring.inner_products._SHARED_BYTES", 2**12)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    found = nearest(queries, gallery, k=10)
    values, indices = whole_matrix(queries, gallery, 10)
    torch.testing.assert_close(found.values, values)
    assert torch.equal(found.indices, indices)


@pytest.mark.parametrize("q", [1, 2, 8, 9])
@pytest.mark.parametrize(("m", "d"), [(1100, 16), (5003, 48), (5003, 33)])
def test_equal_rows_of_a_large_gallery_score_equally_wherever_they_lie(rng, q, m, d):
    gallery = torch.randn(1, d, generator=rng).repeat(m, 1)
    scores = inner_products(torch.randn(q, d, generator=rng), gallery)
    assert (scores == scores[:, :1]).all()


@pytest.mark.parametrize("q", [1, 2, 9])
@pytest.mark.parametrize(("m", "d"), [(1025, 16), (2111, 48), (1100, 33)])
def test_every_row_of_a_gallery_that_ends_within_a_tile_is_scored_once(rng, q, m, d):
    queries, gallery = torch.randn(q, d, generator=rng), torch.randn(m, d, generator=rng)
    torch.testing.assert_close(inner_products(queries, gallery), queries @ gallery.T)


@pytest.mark.parametrize("q", [1, 3])
def test_one_query_like_several_refuses_scores_without_an_order(q):
    gallery = torch.ones(3, 4)
    gallery[1, 2] = float("nan")
    with pytest.raises(ValueError, match="scores must be finite; they span"):
        nearest(torch.ones(q, 4), gallery, k=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_gallery_rows_score_equally_to_the_last_bit(rng, dtype):
    for m, d in [(5, 17), (33, 3), (100, 64), (1003, 100)]:
        gallery = torch.randn(1, d, generator=rng).to(dtype).repeat(m, 1)
        scores = inner_products(torch.randn(9, d, generator=rng).to(dtype), gallery)
        assert scores.shape == (9, m)
        assert (scores == scores[:, :1]).all()


def test_merging_keeps_the_best_and_the_earlier_part_on_ties():
    first = Neighbours(torch.tensor([[3.0, 1.0]]), torch.tensor([[1, 0]]))
    second = Neighbours(torch.tensor([[4.0, 3.0]]), torch.tensor([[9, 8]]))
    merged = merge_neighbours([first, second], k=3)
    assert merged.values.tolist() == [[4.0, 3.0, 3.0]]
    assert merged.indices.tolist() == [[9, 1, 8]]


def test_neighbours_of_vectors_that_ask_for_gradients_carry_none(rng):
    gallery = torch.randn(4, 3, generator=rng, requires_grad=True)
    assert not nearest(gallery, gallery, k=2).values.requires_grad


@pytest.mark.parametrize("k", [0, 4, -1])
def test_k_outside_the_gallery_is_refused(k):
    with pytest.raises(ValueError, match=rf"k must lie in \[1, 3\].*got {k}"):
        nearest(torch.ones(2, 2), torch.ones(3, 2), k=k)


@pytest.mark.parametrize(
    ("queries", "gallery"),
    [
        (torch.ones(2, 2), torch.ones(3, 4)),
        (torch.ones(2), torch.ones(3, 2)),
        (torch.ones(2, 2), torch.ones(3, 2, dtype=torch.float64)),
        (torch.ones(2, 2, dtype=torch.int64), torch.ones(3, 2, dtype=torch.int64)),
    ],
)
def test_matrices_that_do_not_fit_are_refused(queries, gallery):
    with pytest.raises(ValueError, match=r"\(q, d\) and \(m, d\) of one dtype"):
        nearest(queries, gallery, k=1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_without_an_order_is_refused(bad):
    gallery = torch.ones(3, 2)
    gallery[1, 0] = bad
    with pytest.raises(ValueError, match="scores must be finite; they span"):
        nearest(torch.ones(2, 2), gallery, k=1)


def test_an_overflowing_score_is_refused():
    large = torch.full((2, 2), 1e30)
    with pytest.raises(ValueError, match="so large that they overflow"):
        nearest(large, large, k=1)
