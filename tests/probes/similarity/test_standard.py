"""The four standard similarities against SciPy and plain loops; their ties, blocks and refusals."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from align.metrics.ranks import ranks
from probes.similarity.standard import (
    chi_square,
    cosine,
    euclidean,
    manhattan,
    match_ranks,
    positive_and_negative_parts,
)
from tests.helpers.planted import rotation

ALL = (cosine, euclidean, manhattan, chi_square)


def clouds(rng, q, m, d, dtype=torch.float64):
    """Rows that every similarity takes: no entry negative, and some of them zero."""
    return tuple(
        (torch.rand(rows, d, generator=rng, dtype=dtype) - 0.2).clamp_min(0) for rows in (q, m)
    )


def chi_square_by_loop(x, y):
    return sum((a - b) ** 2 / (a + b) for a, b in zip(x, y, strict=True) if a + b > 0)


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 70), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_scores_agree_with_scipy_and_with_the_formula(seed, q, m, d):
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.randn(q, d, generator=rng).double(), torch.randn(m, d, generator=rng).double()
    known = {cosine: "cosine", euclidean: "euclidean", manhattan: "cityblock"}
    for ours, theirs in known.items():
        wanted = (ours is cosine) - cdist(x, y, theirs)
        assert np.allclose(ours(x, y), wanted, rtol=1e-12, atol=1e-12), theirs
    x, y = x.abs(), y.clamp_min(0)
    by_loop = [[-chi_square_by_loop(a, b) for b in y.tolist()] for a in x.tolist()]
    assert np.allclose(chi_square(x, y), by_loop, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("similarity", ALL)
def test_numpy_and_half_precision_are_taken_and_scored_in_float32_or_wider(similarity, rng):
    x, y = clouds(rng, 5, 7, 6)
    x[:, 0] = y[:, 0] = 1
    assert similarity(x.numpy(), y).dtype == torch.float64
    assert similarity(x.half(), y.half()).dtype == torch.float32
    assert torch.allclose(similarity(x.numpy(), y.float().numpy()), similarity(x, y.float()))


@pytest.mark.parametrize("similarity", ALL)
def test_a_similarity_is_symmetric_and_highest_for_equal_rows(similarity, rng):
    x, y = clouds(rng, 20, 30, 9)
    x[:, 0] = y[:, 0] = 1
    assert torch.allclose(similarity(x, y), similarity(y, x).T, rtol=1e-14)
    own = similarity(x, x)
    assert torch.allclose(own.diagonal(), torch.full((20,), float(similarity is cosine)).double())
    assert (own.argmax(dim=1) == torch.arange(20)).all()


@pytest.mark.parametrize("similarity", ALL)
def test_scores_do_not_depend_on_how_rows_are_cut_into_blocks(similarity, rng, monkeypatch):
    x, y = clouds(rng, 10, 150, 30, torch.float32)
    x[:, 0] = y[:, 0] = 1
    whole = similarity(x, y)
    assert torch.allclose(similarity(x[3:7], y[20:]), whole[3:7, 20:], rtol=1e-6, atol=1e-7)
    monkeypatch.setattr("probes.similarity.standard._ENTRIES", 7 * 30)
    assert torch.equal(similarity(x, y), whole)
    monkeypatch.setattr("probes.similarity.standard._ENTRIES", 1)
    assert torch.equal(similarity(x, y), whole)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    """Matrix products are cut in another way for every number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("q", [3, 5, 37])
@pytest.mark.parametrize("similarity", ALL)
def test_equal_rows_score_equally_to_the_last_bit_on_either_side(similarity, q, rng, threads):
    for d, m in ((3, 5), (40, 33), (40, 65), (384, 127)):
        x, y = clouds(rng, q, m, d, torch.float32)
        x[:, 0] = y[:, 0] = 1
        x[-1] = x[q // 2] = x[0]
        y[-1] = y[m // 2] = y[0]
        scores = similarity(x, y)
        assert torch.equal(scores[:, -1], scores[:, 0])
        assert torch.equal(scores[:, m // 2], scores[:, 0])
        assert torch.equal(scores[-1], scores[0]) and torch.equal(scores[q // 2], scores[0])


def test_euclidean_ranks_unit_vectors_as_the_cosine_does(rng):
    x, y = (torch.nn.functional.normalize(torch.randn(60, 8, generator=rng)) for _ in range(2))
    codes = torch.arange(60)
    by_angle = match_ranks(cosine, x.double(), y.double(), codes)
    assert torch.equal(match_ranks(euclidean, x.double(), y.double(), codes), by_angle)
    assert not torch.equal(match_ranks(manhattan, x.double(), y.double(), codes), by_angle)


def test_small_distances_keep_their_digits(rng):
    x = torch.randn(4, 300, generator=rng)
    y = x + 1e-4
    assert np.allclose(euclidean(x, y).diagonal(), -cdist(x, y).diagonal(), rtol=1e-4)


def test_what_each_similarity_does_not_see(rng):
    x, y = torch.randn(2, 20, 6, generator=rng, dtype=torch.float64)
    turn = rotation(6, rng, torch.float64)
    shift = torch.randn(6, generator=rng, dtype=torch.float64)
    assert torch.allclose(cosine(3 * x @ turn, 0.1 * y @ turn), cosine(x, y))
    assert torch.allclose(euclidean(x @ turn + shift, y @ turn + shift), euclidean(x, y))
    assert torch.allclose(manhattan(x + shift, y + shift), manhattan(x, y))
    assert not torch.allclose(manhattan(x @ turn, y @ turn), manhattan(x, y))
    x, y = positive_and_negative_parts(x), positive_and_negative_parts(y)
    assert torch.allclose(chi_square(5 * x, 5 * y), 5 * chi_square(x, y))
    order = torch.randperm(12, generator=rng)
    assert torch.allclose(chi_square(x[:, order], y[:, order]), chi_square(x, y))


def test_zeros_in_both_rows_add_nothing_to_a_chi_square_distance():
    x, y = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, 4.0], [0.0, 1.0, 0.0]])
    assert chi_square(x, y).tolist() == [[-5.0, 0.0]]
    assert chi_square(torch.zeros(1, 3), torch.zeros(2, 3)).tolist() == [[0.0, 0.0]]


def test_parts_are_not_negative_and_lose_nothing(rng):
    x, y = torch.randn(2, 8, 5, generator=rng, dtype=torch.float64)
    parts = positive_and_negative_parts(x)
    assert parts.shape == (8, 10) and (parts >= 0).all()
    assert torch.equal(parts[:, :5] - parts[:, 5:], x)
    absolute = (x - y).square() / (x.abs() + y.abs())
    found = chi_square(parts, positive_and_negative_parts(y)).diagonal()
    assert torch.allclose(found, -absolute.sum(dim=1))


def test_ranks_of_matches_are_those_of_align_in_both_directions(rng):
    x, y = (torch.nn.functional.normalize(torch.randn(50, 6, generator=rng)) for _ in range(2))
    found = match_ranks(cosine, x, y, torch.arange(50))
    assert found[:, 0].tolist() == ranks(x, y).tolist()
    assert found[:, 1].tolist() == ranks(y, x).tolist()


@pytest.mark.parametrize("similarity", ALL)
def test_a_point_that_everything_collapsed_to_ranks_last(similarity, rng):
    x, _ = clouds(rng, 70, 1, 6, torch.float32)
    point = torch.ones(70, 6)
    assert (match_ranks(similarity, x + 0.1, point, torch.arange(70))[:, 0] == 70).all()
    assert (match_ranks(similarity, point, x + 0.1, torch.arange(70))[:, 1] == 70).all()


def test_rows_of_one_group_answer_each_other():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    y = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]])
    assert match_ranks(cosine, x, y, torch.tensor([0, 1, 2])).tolist() == [[2, 3], [2, 3], [3, 3]]
    assert match_ranks(cosine, x, y, torch.tensor([0, 0, 1])).tolist() == [[1, 1], [1, 1], [3, 3]]


def test_noise_is_ranked_by_chance(rng):
    n = 1500
    for similarity in (cosine, euclidean, manhattan):
        x, y = torch.randn(2, n, 10, generator=rng)
        found = match_ranks(similarity, x, y, torch.arange(n))
        assert found.double().mean().item() == pytest.approx((n + 1) / 2, rel=0.06)


@pytest.mark.parametrize("similarity", ALL)
def test_widths_that_differ_and_rows_that_are_not_finite_are_refused(similarity):
    with pytest.raises(ValueError, match="must lie in one space; got widths 3 and 4"):
        similarity(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="gallery must be finite"):
        similarity(torch.ones(2, 3), torch.full((2, 3), float("nan")))
    with pytest.raises(ValueError, match="queries must be finite"):
        similarity(torch.full((2, 3), float("inf")), torch.ones(2, 3))


def test_a_row_without_direction_has_no_cosine():
    with pytest.raises(ValueError, match=r"every row of queries needs a direction.*\[1\]"):
        cosine(torch.tensor([[1.0], [0.0]]), torch.ones(1, 1))
    with pytest.raises(ValueError, match="every row of gallery needs a direction"):
        cosine(torch.ones(1, 1), torch.zeros(1, 1))


def test_negative_entries_have_no_chi_square_distance():
    good, bad = torch.ones(2, 2), torch.tensor([[1.0, 1.0], [0.5, -0.25]])
    with pytest.raises(ValueError, match=r"gallery must not be negative.* 1 of 2 rows.*-0\.25"):
        chi_square(good, bad)
    with pytest.raises(ValueError, match=r"queries must not be negative.*and_negative_parts"):
        chi_square(bad, good)
    assert torch.isfinite(chi_square(*map(positive_and_negative_parts, (good, bad)))).all()


def test_parts_of_what_is_not_finite_are_refused():
    with pytest.raises(ValueError, match="x must be finite"):
        positive_and_negative_parts(torch.tensor([[float("nan")]]))


def test_scores_that_are_not_a_finite_matrix_are_refused(rng):
    x, codes = torch.randn(3, 2, generator=rng), torch.arange(3)
    broken = partial(torch.full, (3, 3), float("nan"))
    with pytest.raises(ValueError, match="scores must be finite"):
        match_ranks(lambda queries, gallery: broken(), x, x, codes)
    with pytest.raises(ValueError, match="query_groups must be one int64 code per row"):
        match_ranks(lambda queries, gallery: torch.ones(2, 2), x, x, codes)
