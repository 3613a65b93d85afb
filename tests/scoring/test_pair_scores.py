"""Scores of given pairs are those of all pairs at these places, and best tokens say why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import align
from align.data.multi_vector import MultiVector
from align.scoring.kernels import pairs as kernel
from align.scoring.kernels import reference
from align.scoring.pair_scores import best_tokens, maxsim_pairs
from tests.helpers.largest_storage import LargestStorage
from tests.helpers.one_thread import one_thread
from tests.helpers.random_multivectors import SEEDS, ragged

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
NONE = MultiVector(torch.empty(0, 6), torch.zeros(1, dtype=torch.int64))
LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=6)


def unit(lengths, rng, d=6, dtype=torch.float32):
    items = [F.normalize(torch.randn(t, d, generator=rng), dim=1) for t in lengths]
    return MultiVector.pack(items).to(dtype=dtype)


def drawn(queries, documents, rng, p=70):
    """Pairs in any order, some of them twice, some rows never."""
    columns = [torch.randint(len(side), (p,), generator=rng) for side in (queries, documents)]
    return torch.stack(columns, dim=1)


def tiny_blocks(patch, columns=3):
    patch.setattr(kernel, "_TOKEN_BYTES", 1)
    patch.setattr(kernel, "_COLUMNS", columns)
    patch.setattr(kernel, "_ENTRIES", 50)


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    if request.param == "many blocks":
        tiny_blocks(monkeypatch)


@pytest.fixture
def queries(rng):
    return unit((3, 1, 8, 5, 8), rng)


@pytest.fixture
def documents(rng):
    return unit((1, 63, 64, 65, 130, 5, 5, 2, 17, 20), rng)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int8], ids=str)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_scores_are_those_of_all_pairs_at_the_given_ones(
    queries, documents, rng, blocks, dtype, reduction
):
    pairs = drawn(queries, documents, rng)
    if dtype == torch.int8:
        queries, documents = queries.quantized(), documents.quantized()
    else:
        queries, documents = queries.to(dtype=dtype), documents.to(dtype=dtype)
    scores = maxsim_pairs(queries, documents, pairs, reduction=reduction)
    everything = reference.maxsim(queries, documents, reduction=reduction)
    assert scores.dtype == everything.dtype
    torch.testing.assert_close(scores, everything[pairs[:, 0], pairs[:, 1]])


@pytest.mark.parametrize("int8", ["queries", "documents"])
def test_one_side_alone_may_be_int8(queries, documents, rng, blocks, int8):
    pairs = drawn(queries, documents, rng)
    queries = queries.quantized() if int8 == "queries" else queries
    documents = documents.quantized() if int8 == "documents" else documents
    everything = reference.maxsim(queries, documents)
    torch.testing.assert_close(
        maxsim_pairs(queries, documents, pairs), everything[pairs[:, 0], pairs[:, 1]]
    )


@pytest.mark.parametrize("budget", [(1, 1), (2, 4), (8, 130)])
def test_a_budget_scores_the_prefixes(queries, documents, rng, blocks, budget):
    pairs = drawn(queries, documents, rng)
    cut = queries.prefix(budget[0]), documents.prefix(budget[1])
    everything = reference.maxsim(*cut, reduction="mean")
    scores = maxsim_pairs(queries, documents, pairs, budget=budget, reduction="mean")
    torch.testing.assert_close(scores, everything[pairs[:, 0], pairs[:, 1]])
    best, expected = best_tokens(queries, documents, pairs, budget=budget), best_tokens(*cut, pairs)
    assert all(torch.equal(one, other) for one, other in zip(best, expected, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    found=LENGTHS,
    pairs=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=30),
    columns=st.integers(1, 9),
    seed=SEEDS,
)
def test_any_pairs_of_any_shapes_in_any_blocks(asked, found, pairs, columns, seed):
    queries = ragged(asked, d=5, seed=seed, dtype=torch.float64)
    documents = ragged(found, d=5, seed=seed + 1, dtype=torch.float64)
    pairs = [(query % len(asked), document % len(found)) for query, document in pairs]
    with pytest.MonkeyPatch.context() as patch:
        tiny_blocks(patch, columns)
        scores = maxsim_pairs(queries, documents, pairs)
        best = best_tokens(queries, documents, pairs)
    assert len(scores) == len(pairs)
    for (query, document), score, low, high in zip(
        pairs, scores, best.offsets[:-1], best.offsets[1:], strict=True
    ):
        met = (queries[query] @ documents[document].T).max(dim=1)
        torch.testing.assert_close(score, met.values.sum())
        torch.testing.assert_close(best.values[low:high], met.values)
        assert torch.equal(best.places[low:high], met.indices)


def test_the_order_of_the_pairs_is_kept_and_a_pair_may_come_twice(queries, documents):
    scores = maxsim_pairs(queries, documents, [(4, 0), (0, 9), (4, 0), (2, 4)])
    everything = reference.maxsim(queries, documents)
    torch.testing.assert_close(scores, everything[[4, 0, 4, 2], [0, 9, 0, 4]])
    assert scores[0] == scores[2]


@pytest.mark.parametrize("integers", [torch.int32, torch.uint8, torch.int64])
def test_pairs_may_be_lists_arrays_or_tensors_of_any_integers(queries, documents, integers):
    pairs = [(0, 1), (3, 7)]
    expected = maxsim_pairs(queries, documents, pairs)
    assert torch.equal(maxsim_pairs(queries, documents, np.array(pairs)), expected)
    given = torch.tensor(pairs, dtype=integers)
    assert torch.equal(maxsim_pairs(queries, documents, given), expected)


@pytest.mark.parametrize("pairs", [[], torch.empty(0, 2, dtype=torch.int64)])
@pytest.mark.parametrize("side", ["something", "nothing"])
def test_no_pairs_have_no_scores(queries, documents, pairs, side):
    sides = (queries, documents) if side == "something" else (NONE, NONE)
    assert maxsim_pairs(*sides, pairs).shape == (0,)
    best = best_tokens(*sides, pairs)
    assert best.values.shape == best.places.shape == (0,)
    assert best.offsets.tolist() == [0]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("d", [3, 17, 48, 130])
def test_equal_documents_score_equally_to_the_last_bit(rng, blocks, dtype, d):
    queries, once = unit((3, 1, 7), rng, d, dtype), unit((1, 63, 64, 65, 5, 20), rng, d, dtype)
    rows = torch.randint(len(once), (60,), generator=rng)
    documents = once.take(rows)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(60))
    scores = maxsim_pairs(queries, documents, pairs).view(3, 60)
    for document in range(len(once)):
        equal = scores[:, rows == document]
        assert (equal == equal[:, :1]).all()


@pytest.mark.parametrize("d", [2, 17])
def test_of_equal_tokens_the_first_is_the_best(blocks, d):
    # 200 tokens are several pieces of a small block.
    documents = MultiVector(torch.ones(204, d), torch.tensor([0, 1, 201, 204]))
    queries = MultiVector.pack([torch.ones(2, d), torch.ones(1, d)])
    best = best_tokens(queries, documents, [(0, 1), (1, 2), (1, 0)])
    assert best.places.tolist() == [0, 0, 0, 0]
    assert best.offsets.tolist() == [0, 2, 3, 4]
    assert best.values.tolist() == [d] * 4


def test_best_tokens_find_a_planted_alignment(rng, blocks):
    # Query i holds the tokens of document i at planted places, a little turned.
    documents = unit((150, 3, 40), rng, 32)
    places = [torch.randint(len(item), (t,), generator=rng) for item, t in
              zip(documents, (4, 1, 9), strict=True)]  # fmt: skip
    queries = MultiVector.pack(
        [
            F.normalize(item[at] + 0.01 * torch.randn(len(at), 32, generator=rng), dim=1)
            for item, at in zip(documents, places, strict=True)
        ]
    )
    best = best_tokens(queries, documents.quantized(), [(2, 2), (0, 0), (1, 1)])
    assert best.places.tolist() == torch.cat([places[2], places[0], places[1]]).tolist()
    assert best.values.min() > 0.98
    scores = maxsim_pairs(queries, documents.quantized(), [(2, 2), (0, 0), (1, 1)])
    sums = torch.segment_reduce(best.values, "sum", lengths=best.offsets.diff())
    torch.testing.assert_close(scores, sums)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_gradients_are_those_of_the_reference(queries, documents, rng, blocks, dtype):
    pairs, weights = drawn(queries, documents, rng), torch.randn(70, generator=rng)
    found = []
    for by_pairs in (True, False):
        sides = [
            MultiVector(side.tokens.to(dtype).requires_grad_(), side.offsets)
            for side in (queries, documents)
        ]
        scores = (
            maxsim_pairs(*sides, pairs, budget=(4, 60), reduction="mean")
            if by_pairs
            else reference.maxsim(sides[0].prefix(4), sides[1].prefix(60), reduction="mean")[
                pairs[:, 0], pairs[:, 1]
            ]
        )
        (scores * weights).sum().backward()
        found.append([side.tokens.grad for side in sides])
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_gets_gradients_though_the_other_is_int8(queries, documents, rng, side):
    pairs, found = drawn(queries, documents, rng), []
    for score in (maxsim_pairs, lambda a, b, at: reference.maxsim(a, b)[at[:, 0], at[:, 1]]):
        sides = [queries.quantized(), documents.quantized()]
        given = (queries, documents)[side]
        tokens = given.tokens.clone().requires_grad_()
        sides[side] = MultiVector(tokens, given.offsets)
        score(*sides, pairs).square().sum().backward()
        found.append(tokens.grad)
    torch.testing.assert_close(*found)


def test_a_second_derivative_is_refused(rng):
    tokens = torch.randn(3, 4, generator=rng, requires_grad=True)
    items = MultiVector(tokens, torch.tensor([0, 1, 3]))
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(maxsim_pairs(items, items, [(0, 1)]), tokens, create_graph=True)


def test_best_tokens_carry_no_gradient(documents):
    leaf = MultiVector(documents.tokens.clone().requires_grad_(), documents.offsets)
    assert not best_tokens(leaf, leaf, [(0, 1)]).values.requires_grad


@pytest.mark.parametrize("kind", ["equal", "ragged", "one long document", "int8", "long queries"])
def test_no_temporary_grows_with_the_collection_or_its_pairs(rng, tmp_path, kind):
    tokens = torch.randint(-99, 99, (400_000, 64), generator=rng, dtype=torch.int8)
    tokens = tokens if kind == "int8" else tokens.half()
    ends = torch.arange(0, len(tokens) + 1, 100)
    if kind == "ragged":
        ends[1:-1] += torch.randint(-40, 40, (len(ends) - 2,), generator=rng)
    if kind == "one long document":
        ends = torch.tensor([0, 5, len(tokens)])
    scales = torch.ones(len(ends) - 1) if kind == "int8" else None
    MultiVector(tokens, ends, scales).save(tmp_path / "documents.safetensors")
    documents = MultiVector.open(tmp_path / "documents.safetensors")
    s = 3000 if kind == "long queries" else 8
    queries = MultiVector.from_equal(torch.randn(2, s, 64, generator=rng))
    rows = torch.arange(2, 22) if kind == "long queries" else torch.arange(len(documents))
    pairs = torch.cartesian_prod(torch.arange(2), rows)
    with one_thread(), LargestStorage() as largest:
        scores = maxsim_pairs(queries, documents, pairs)
    assert largest.bytes <= 2**22
    some = documents.take(rows) if kind == "long queries" else documents
    torch.testing.assert_close(scores, align.maxsim(queries, some).flatten(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "pairs",
    [[(0.0, 1.0)], [1, 2], [[1, 2, 3]], torch.ones(3, 2, dtype=torch.bool), torch.ones(2, 2, 2)],
)
def test_pairs_that_are_no_two_columns_of_integers_are_refused(queries, documents, pairs):
    for call in (maxsim_pairs, best_tokens):
        with pytest.raises(ValueError, match=r"integers \(p, 2\), .*; got shape .*Stack them"):
            call(queries, documents, pairs)


@pytest.mark.parametrize("bad", [(5, 0), (0, 10), (-1, 0), (0, -1)])
def test_a_row_that_is_not_there_is_refused(queries, documents, bad):
    with pytest.raises(ValueError, match=rf"1 of 3 do not, the first is pair 1, \({bad[0]}, "):
        maxsim_pairs(queries, documents, [(0, 0), bad, (1, 1)])


@pytest.mark.parametrize("call", [maxsim_pairs, best_tokens])
def test_sides_budgets_and_scores_are_checked_as_for_all_pairs(queries, documents, call):
    with pytest.raises(TypeError, match="must both be MultiVector"):
        call(queries.tokens, documents, [(0, 0)])
    with pytest.raises(ValueError, match=r"\(8, 130\); got \(9, 1\)"):
        call(queries, documents, [(0, 0)], budget=(9, 1))
    queries.tokens[0] = float("nan")
    with pytest.raises(ValueError, match="scores must be finite"):
        call(queries, documents, [(1, 0), (0, 0)])
    # A row that no pair names is not read.
    call(queries, documents, [(1, 0)])


def test_an_unknown_reduction_is_refused(queries, documents):
    with pytest.raises(ValueError, match=r"got 'max'\. Choose"):
        maxsim_pairs(queries, documents, [(0, 0)], reduction="max")
