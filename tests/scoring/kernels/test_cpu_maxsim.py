"""The fast CPU scorer means what the reference means, as accurately."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from align import _threads
from align.data.multi_vector import MultiVector
from align.scoring.kernels import cpu_blocks as maxsim_blocks
from align.scoring.kernels import cpu_maxsim as kernel
from align.scoring.kernels import cpu_topk, reference
from align.scoring.kernels.cpu_maxsim import maxsim
from align.scoring.kernels.cpu_topk import topk
from tests.helpers.largest_storage import LargestStorage
from tests.helpers.one_thread import one_thread

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
RAGGED = (1, 63, 64, 65, 130, 5, 5, 2)
# Documents and queries of one length, of many, of one token, one of each, and of many tokens.
SHAPES = (
    ((4, 4, 4), (9,) * 12),
    ((3, 1, 7, 2), RAGGED),
    ((5,), RAGGED),
    ((32,), (128,) * 3),
    ((1, 1), (1, 1, 1, 1)),
    ((1,), (1,)),
    ((60, 2), (700, 3, 150)),
)


def unit(lengths, d, rng, dtype=torch.float32):
    items = [
        F.normalize(torch.randn(t, d, generator=rng, dtype=torch.float64), dim=1) for t in lengths
    ]
    return MultiVector.pack([item.to(dtype) for item in items])


def tiny_blocks(patch, *, columns=5, slice_items=3):
    """Blocks so small that several, and remainders, occur; 64 rows is the least."""
    patch.setattr(maxsim_blocks, "_COLUMNS", columns)
    patch.setattr(maxsim_blocks, "_TOKEN_BYTES", 1)
    patch.setattr(maxsim_blocks, "_SLICE_ITEMS", slice_items)


@pytest.fixture(params=["one block", "many blocks", "blocks shared out"])
def blocks(request, monkeypatch):
    if request.param != "one block":
        tiny_blocks(monkeypatch)
    if request.param == "blocks shared out":
        monkeypatch.setattr(maxsim_blocks, "_SMALL", 0)
        monkeypatch.setattr(_threads, "workers", lambda: 3)


def with_gradients(score, queries, documents, weights):
    """Scores, and the gradients of their weighted sum by both sides."""
    sides = [
        MultiVector(side.tokens.detach().clone().requires_grad_(), side.offsets)
        for side in (queries, documents)
    ]
    scores = score(*sides)
    scores.backward(weights.to(scores.dtype))
    return [scores.detach(), *(side.tokens.grad for side in sides)]


@pytest.mark.parametrize("d", [3, 17, 48, 100, 128])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{len(shape[0])}x{len(shape[1])}")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_scores_and_gradients_are_as_accurate_as_the_reference(rng, blocks, dtype, shape, d):
    # Round to dtype first: all three runs then see the same numbers, and only arithmetic differs.
    queries, documents = (unit(lengths, d, rng, dtype) for lengths in shape)
    weights = torch.randn(len(queries), len(documents), generator=rng)
    exact_sides = [side.to(dtype=torch.float64) for side in (queries, documents)]
    exact = with_gradients(reference.maxsim, *exact_sides, weights)
    plain = with_gradients(reference.maxsim, queries, documents, weights)
    fast = with_gradients(maxsim, queries, documents, weights)
    for ours, theirs, right in zip(fast, plain, exact, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        # Above the usual floor, one rounding of a sum as large as a query has tokens.
        floor = 1e-5 + max(shape[0]) * torch.finfo(torch.float32).eps
        floor = floor * 1e-8 if dtype == torch.float64 else floor
        allowed = 2 * (theirs.double() - right).abs().max() + floor
        assert (ours.double() - right).abs().max() <= allowed


@pytest.mark.parametrize("d", [1, 3, 17, 64])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{len(shape[0])}x{len(shape[1])}")
@pytest.mark.parametrize("int8", ["documents", "queries", "both"])
def test_int8_tokens_mean_codes_times_scales(rng, blocks, int8, shape, d):
    queries, documents = (unit(lengths, d, rng) for lengths in shape)
    queries = queries if int8 == "documents" else queries.quantized()
    documents = documents if int8 == "queries" else documents.quantized()
    exact_sides = [side.to(dtype=torch.float64) for side in (queries, documents)]
    exact = reference.maxsim(*exact_sides)
    plain, fast = reference.maxsim(queries, documents), maxsim(queries, documents)
    assert fast.dtype == torch.float32
    floor = 1e-5 + max(shape[0]) * torch.finfo(torch.float32).eps
    allowed = 2 * (plain.double() - exact).abs().max() + floor
    assert (fast.double() - exact).abs().max() <= allowed


@pytest.mark.parametrize("exact", [True, False])
def test_int8_sides_score_alike_where_the_processor_saturates(rng, monkeypatch, exact):
    monkeypatch.setattr(kernel, "multiplies_exactly", lambda d: exact)
    monkeypatch.setattr(cpu_topk, "multiplies_exactly", lambda d: exact)
    queries, documents = unit((3, 4), 16, rng), unit(RAGGED, 16, rng).quantized()
    both = maxsim(queries.quantized(), documents)
    torch.testing.assert_close(both, reference.maxsim(queries.quantized(), documents))
    torch.testing.assert_close(
        topk(queries, documents, 3).values, reference.maxsim(queries, documents).topk(3).values
    )


def test_a_processor_that_saturates_is_found_out(monkeypatch):
    def saturating(left, right):
        # The left side is shifted to be unsigned; pairs of its products are kept in 16 bits.
        products = (left.int() + 128)[:, :, None] * right.int()[None]
        pairs = (products[:, ::2] + products[:, 1::2]).clamp(-(2**15), 2**15 - 1)
        return (pairs.sum(1) - 128 * right.int().sum(0)).int()

    maxsim_blocks.multiplies_exactly.cache_clear()
    monkeypatch.setattr(torch, "_int_mm", saturating)
    try:
        assert not maxsim_blocks.multiplies_exactly(8)
    finally:
        maxsim_blocks.multiplies_exactly.cache_clear()


@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float32), (torch.float16, torch.float64)])
def test_sides_of_two_dtypes_are_multiplied_in_float32(rng, dtypes):
    queries, documents = unit((3, 4), 20, rng, dtypes[0]), unit(RAGGED, 20, rng, dtypes[1])
    scores = maxsim(queries, documents)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, reference.maxsim(queries, documents))


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    found=st.lists(st.integers(1, 90), min_size=1, max_size=9),
    d=st.integers(1, 20),
    columns=st.integers(1, 9),
    slice_items=st.integers(1, 4),
    spare=st.integers(0, 2**10),
)
def test_any_shape_in_any_blocks_scores_as_the_reference(
    asked, found, d, columns, slice_items, spare
):
    rng = torch.Generator().manual_seed(sum(asked) + d)
    queries, documents = unit(asked, d, rng, torch.float64), unit(found, d, rng, torch.float64)
    weights = torch.randn(len(asked), len(found), generator=rng)
    expected = with_gradients(reference.maxsim, queries, documents, weights)
    with pytest.MonkeyPatch.context() as patch:
        tiny_blocks(patch, columns=columns, slice_items=slice_items)
        patch.setattr(maxsim_blocks, "_SPARE_ENTRIES", spare)
        given = with_gradients(maxsim, queries, documents, weights)
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_scores_agree_with_a_loop_over_numpy_arrays(rng, blocks):
    queries, documents = unit((3, 1, 7, 2), 17, rng), unit(RAGGED, 17, rng)
    loop = [
        [(query.numpy() @ document.numpy().T).max(1).sum() for document in documents]
        for query in queries
    ]
    np.testing.assert_allclose(maxsim(queries, documents).numpy(), loop, rtol=1e-5, atol=1e-6)


def test_scores_agree_with_sentence_transformers_where_similarities_are_positive(rng):
    from sentence_transformers.util import maxsim as peer

    queries = [torch.rand(t, 24, generator=rng) for t in (3, 8, 5)]
    documents = [torch.rand(t, 24, generator=rng) for t in RAGGED]
    ours = maxsim(MultiVector.pack(queries), MultiVector.pack(documents))
    torch.testing.assert_close(ours, peer(queries, documents))


def test_all_negative_similarities_keep_their_sign(blocks):
    queries = MultiVector.pack([torch.ones(4, 2), torch.ones(1, 2)])
    documents = MultiVector.pack([-torch.ones(t, 2) for t in (3, 7, 1)])
    for docs in (documents, documents.quantized()):
        torch.testing.assert_close(maxsim(queries, docs), torch.tensor([[-8.0] * 3, [-2.0] * 3]))


def test_the_mean_divides_by_the_tokens_of_each_query(rng, blocks):
    queries, documents = unit((3, 1, 7), 6, rng), unit(RAGGED, 6, rng)
    torch.testing.assert_close(
        maxsim(queries, documents, reduction="mean"),
        maxsim(queries, documents) / torch.tensor([[3.0], [1.0], [7.0]]),
    )


def test_repeating_document_tokens_changes_no_score(rng, blocks):
    queries, documents = unit((3, 1, 7), 10, rng), unit(RAGGED, 10, rng)
    repeated = MultiVector.pack([torch.cat([item, item[:2], item[-1:]]) for item in documents])
    assert torch.equal(maxsim(queries, documents), maxsim(queries, repeated))


def test_the_order_of_document_tokens_changes_no_score(rng, blocks):
    queries, documents = unit((3, 1, 7), 10, rng), unit(RAGGED, 10, rng)
    turned = MultiVector.pack([item.flip(0) for item in documents])
    assert torch.equal(maxsim(queries, documents), maxsim(queries, turned))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("d", [3, 17, 48, 100, 130])
def test_equal_documents_score_equally_to_the_last_bit(rng, blocks, dtype, d):
    queries, documents = unit((3, 1, 7), d, rng, dtype), unit(RAGGED, d, rng, dtype)
    rows = torch.randint(len(documents), (60,), generator=rng)
    scores, once = maxsim(queries, documents.take(rows)), maxsim(queries, documents)
    for document in range(len(documents)):
        equal = scores[:, rows == document]
        assert (equal == equal[:, :1]).all()
    torch.testing.assert_close(scores, once[:, rows])


@pytest.mark.parametrize("shape", SHAPES[1:3], ids=["4x8", "1x8"])
def test_the_number_of_threads_changes_no_score(rng, shape):
    queries, documents = (unit(lengths, 48, rng) for lengths in shape)
    threads = torch.get_num_threads()
    try:
        scores = []
        for count in (1, 2):
            torch.set_num_threads(count)
            scores.append(maxsim(queries, documents))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(scores[0], scores[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tokens_that_are_a_strided_view_are_read_right(rng, blocks, dtype):
    wide = torch.randn(40, 24, generator=rng).to(dtype)
    for ends in ([0, 20, 40], [0, 3, 4, 40]):
        view = MultiVector(wide[:, ::2], torch.tensor(ends))
        copy = MultiVector(wide[:, ::2].contiguous(), torch.tensor(ends))
        torch.testing.assert_close(maxsim(view, view), reference.maxsim(copy, copy))


@pytest.mark.parametrize("d", [0, 4])
def test_nothing_on_a_side_gives_no_rows_or_no_columns(d):
    none = MultiVector(torch.empty(0, d), torch.zeros(1, dtype=torch.int64))
    some = MultiVector.pack([torch.ones(2, d), torch.ones(1, d)])
    assert maxsim(none, some).shape == (0, 2)
    assert maxsim(some, none).shape == (2, 0)
    assert maxsim(none, none).shape == (0, 0)
    assert maxsim(some, some).shape == (2, 2)


@pytest.mark.parametrize("shape", [((2, 1), (66, 2, 1)), ((2, 2), (3, 3))], ids=["ragged", "equal"])
def test_gradients_pass_gradcheck(rng, blocks, shape):
    asked, found = (unit(lengths, 3, rng, torch.float64) for lengths in shape)

    def score(query_tokens, document_tokens):
        return maxsim(
            MultiVector(query_tokens, asked.offsets),
            MultiVector(document_tokens, found.offsets),
            reduction="mean",
        )

    inputs = asked.tokens.requires_grad_(), found.tokens.requires_grad_()
    assert torch.autograd.gradcheck(score, inputs)


@pytest.mark.parametrize("d", [2, 17])
def test_the_gradient_of_a_maximum_goes_to_the_first_token_that_attains_it(blocks, d):
    # 200 tokens are several pieces of a small block; all of them tie, and so do both queries.
    tokens = torch.ones(1 + 200 + 3, d, requires_grad=True)
    documents = MultiVector(tokens, torch.tensor([0, 1, 201, 204]))
    queries = MultiVector.pack([torch.ones(2, d), torch.ones(1, d)])
    maxsim(queries, documents).sum().backward()
    expected = torch.zeros(204)
    expected[[0, 1, 201]] = 3.0
    assert torch.equal(tokens.grad, expected[:, None].expand(-1, d))


def test_gradients_are_the_same_each_time(rng):
    queries, documents = unit((3, 1, 7), 16, rng), unit(RAGGED, 16, rng)
    weights = torch.randn(3, len(RAGGED), generator=rng)
    first = with_gradients(maxsim, queries, documents, weights)
    for _ in range(5):
        again = with_gradients(maxsim, queries, documents, weights)
        assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


@pytest.mark.parametrize("side", ["queries", "documents"])
def test_a_side_gets_gradients_though_the_other_is_int8(rng, blocks, side):
    queries, documents = unit((3, 1, 7), 8, rng), unit(RAGGED, 8, rng)
    weights = torch.randn(3, len(RAGGED), generator=rng)
    grads = []
    for score in (maxsim, reference.maxsim):
        sides = {"queries": queries.quantized(), "documents": documents.quantized()}
        given = {"queries": queries, "documents": documents}[side]
        tokens = given.tokens.clone().requires_grad_()
        sides[side] = MultiVector(tokens, given.offsets)
        (score(**sides) * weights).sum().backward()
        grads.append(tokens.grad)
    torch.testing.assert_close(*grads)


def test_places_of_winners_are_kept_only_for_a_gradient(rng, monkeypatch):
    monkeypatch.setattr(kernel, "first_places", None)
    queries, documents = unit((3,), 4, rng), unit(RAGGED, 4, rng)
    leaf = MultiVector(queries.tokens.clone().requires_grad_(), queries.offsets)
    maxsim(queries, documents)
    with torch.no_grad():
        assert not maxsim(leaf, documents).requires_grad
    with pytest.raises(TypeError):
        maxsim(leaf, documents)


def test_a_second_derivative_is_refused(rng):
    tokens = torch.randn(3, 4, generator=rng, requires_grad=True)
    items = MultiVector(tokens, torch.tensor([0, 1, 3]))
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(maxsim(items, items).sum(), tokens, create_graph=True)


@pytest.mark.parametrize("kind", ["equal", "ragged", "one long document", "int8"])
def test_no_temporary_grows_with_the_collection(rng, kind):
    tokens = torch.randint(-99, 99, (400_000, 64), generator=rng, dtype=torch.int8)
    tokens = tokens if kind == "int8" else tokens.half()
    ends = torch.arange(0, len(tokens) + 1, 100)
    if kind == "ragged":
        ends[1:-1] += torch.randint(-40, 40, (len(ends) - 2,), generator=rng)
    if kind == "one long document":
        ends = torch.tensor([0, 5, len(tokens)])
    scales = torch.ones(len(ends) - 1) if kind == "int8" else None
    documents = MultiVector(tokens, ends, scales)
    queries = MultiVector.pack([torch.randn(32, 64, generator=rng)])
    for work in (lambda: maxsim(queries, documents), lambda: topk(queries, documents, 2)):
        with one_thread(), LargestStorage() as largest:
            work()
        assert 2**20 < largest.bytes <= 2**24


def test_no_temporary_grows_with_the_queries(rng):
    queries = MultiVector.from_equal(torch.randn(5000, 32, 4, generator=rng))
    with one_thread(), LargestStorage() as largest:
        maxsim(queries, unit((100,) * 3, 4, rng))
    assert largest.bytes <= 2**24
