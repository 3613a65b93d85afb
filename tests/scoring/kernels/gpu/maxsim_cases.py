"""What the GPU scorer must do, on a GPU or in Triton's interpreter.

Not collected by itself: ``test_maxsim.py`` runs it in a process of its own, because the
interpreter must be chosen before anything imports triton. By hand, without a GPU:
``TRITON_INTERPRET=1 python -m pytest tests/scoring/kernels/gpu/maxsim_cases.py``.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from align.data.multi_vector import MultiVector
from align.scoring.kernels import reference
from align.scoring.kernels.gpu import gradients
from align.scoring.kernels.gpu import maxsim as maxsim_triton

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
FLOOR = 1e-5  # of the error budget, for scores that are sums of cosines
FLOATS = (torch.float32, torch.float16, torch.bfloat16)

# Lengths of queries and documents, and the width: each takes another way through the kernels.
SHAPES = {
    "one-of-each": ((1,), (1,), 16),
    "edges-of-a-tile": ((5, 32, 1), (1, 63, 64, 65, 127, 128, 129), 32),
    "short-documents": ((4, 3), (2, 1, 3, 9, 4, 4, 4, 4, 20), 48),
    "one-token-documents": ((16,), (1,) * 70, 16),
    "one-token-queries": ((1,) * 19, (7, 1, 12), 3),
    "long-queries": ((131, 3), (70, 1), 32),
    "wide-tokens": ((8, 7, 2), (17, 40), 136),
    "odd-width": ((9, 2), (33, 150), 37),
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
dtypes = pytest.mark.parametrize("dtype", FLOATS, ids=str)


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """Programs that take several documents each, and are few: the interpreter runs them in turn."""
    monkeypatch.setattr(maxsim_triton, "PROGRAMS", 2)


@pytest.fixture(autouse=True)
def bfloat16_in_the_interpreter(monkeypatch):
    """Triton's interpreter knows no bfloat16 (triton issue 11584); make it compute as a GPU would.

    It multiplies and converts their bits, and cuts float32 off instead of rounding it.
    """
    dot, cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def widened(builder, part):
        return cast(builder, part, tl.float32) if part.dtype.scalar == tl.bfloat16 else part

    def create_dot(self, left, right, *rest):
        return dot(self, widened(self, left), widened(self, right), *rest)

    def cast_impl(self, part, dtype):
        if dtype.scalar != tl.bfloat16 or part.dtype.scalar == tl.bfloat16:
            return cast(self, part, dtype)
        rounded = torch.from_numpy(part.data).bfloat16().view(torch.int16).numpy()
        return TensorHandle(rounded.view(np.uint16), tl.bfloat16)

    if INTERPRETED:
        monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)
        monkeypatch.setattr(InterpreterBuilder, "cast_impl", cast_impl)


def items(lengths, d, dtype, rng):
    """Unit vectors, rounded to ``dtype``: all who score them see the same numbers."""
    tokens = F.normalize(torch.randn(sum(lengths), d, generator=rng), dim=1)
    ends = torch.tensor([0, *lengths]).cumsum(0)
    return MultiVector(tokens.to(DEVICE, dtype), ends.to(DEVICE))


def pack(rows, dtype=torch.float32):
    return MultiVector.pack([torch.tensor(row).to(DEVICE, dtype) for row in rows])


def exact(queries, documents, **options):
    wide = [side.to(dtype=torch.float64) for side in (queries, documents)]
    return reference.maxsim(*wide, **options)


def assert_as_accurate(fast, plain, truth):
    budget = 2 * (plain.double() - truth).abs().max() + FLOOR
    assert (fast.double() - truth).abs().max() <= budget


@shapes
@dtypes
def test_scores_are_as_accurate_as_those_of_the_reference(shape, dtype, rng):
    asked, found, d = shape
    queries, documents = items(asked, d, dtype, rng), items(found, d, dtype, rng)
    scores = maxsim_triton.maxsim(queries, documents)
    assert scores.dtype == torch.float32
    assert_as_accurate(scores, reference.maxsim(queries, documents), exact(queries, documents))


@pytest.mark.parametrize(
    "shape",
    [((1,), (1,), 16), ((5, 2), (1, 20, 3), 48), ((1, 1, 2), (30,), 3), ((37,), (2, 1), 16),
     ((3, 1), (9, 2), 144)],
    ids=str,
)  # fmt: skip
@dtypes
def test_gradients_are_as_accurate_as_those_of_the_reference(shape, dtype, rng):
    asked, found, d = shape
    queries, documents = items(asked, d, dtype, rng), items(found, d, dtype, rng)
    incoming = torch.randn(len(asked), len(found), generator=rng).to(DEVICE)

    def gradients_of(score):
        sides = [side.tokens.detach().requires_grad_() for side in (queries, documents)]
        packed = [
            MultiVector(tokens, side.offsets)
            for tokens, side in zip(sides, (queries, documents), strict=True)
        ]
        return torch.autograd.grad(score(*packed), sides, incoming)

    fast, plain, truth = map(gradients_of, (maxsim_triton.maxsim, reference.maxsim, exact))
    for ours, theirs, right in zip(fast, plain, truth, strict=True):
        assert ours.dtype == dtype
        assert_as_accurate(ours, theirs, right.double())


@shapes
def test_the_best_documents_are_those_of_the_scores(shape, rng):
    asked, found, d = shape
    queries, documents = items(asked, d, torch.float16, rng), items(found, d, torch.float16, rng)
    scores = maxsim_triton.maxsim(queries, documents)
    values, indices = scores.sort(dim=1, descending=True, stable=True)
    k = max(1, len(found) - 1)
    best = maxsim_triton.topk(queries, documents, k)
    assert torch.equal(best.indices, indices[:, :k])
    torch.testing.assert_close(best.values, values[:, :k], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 129])
@dtypes
def test_all_negative_scores_stay_negative_at_every_tile_edge(length, dtype):
    documents = MultiVector.from_equal(-torch.ones(3, length, 8, device=DEVICE, dtype=dtype))
    queries = MultiVector.from_equal(torch.ones(1, 5, 8, device=DEVICE, dtype=dtype))
    assert maxsim_triton.maxsim(queries, documents).tolist() == [[-40.0] * 3]
    assert maxsim_triton.topk(queries, documents, 2).values.tolist() == [[-40.0] * 2]


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int8], ids=str)
def test_int8_documents_are_scored_as_what_they_stand_for(dtype, rng):
    queries, documents = (
        items((5, 9, 1), 40, torch.float32, rng),
        items((70, 3, 1, 12), 40, torch.float32, rng),
    )
    queries = queries.quantized() if dtype == torch.int8 else queries.to(dtype=dtype)
    documents = documents.quantized()
    truth = exact(queries, documents)
    scores = maxsim_triton.maxsim(queries, documents)
    assert_as_accurate(scores, reference.maxsim(queries, documents), truth)
    best = maxsim_triton.topk(queries, documents, 4)
    assert torch.equal(best.indices, truth.sort(dim=1, descending=True).indices)


def test_int8_queries_are_scored_as_what_they_stand_for(rng):
    queries, documents = (
        items((5, 9), 40, torch.float32, rng),
        items((7, 3), 40, torch.float16, rng),
    )
    queries = queries.quantized()
    truth, plain = exact(queries, documents), reference.maxsim(queries, documents)
    assert_as_accurate(maxsim_triton.maxsim(queries, documents), plain, truth)


def test_queries_get_a_gradient_from_int8_documents(rng):
    documents = items((7, 3), 40, torch.float32, rng).quantized()
    queries = items((5, 9), 40, torch.float32, rng)
    queries.tokens.requires_grad_()
    fast, plain, truth = (
        torch.autograd.grad(score(queries, documents).sum(), queries.tokens)[0]
        for score in (maxsim_triton.maxsim, reference.maxsim, exact)
    )
    assert_as_accurate(fast, plain, truth)


@pytest.mark.parametrize("other", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_sides_of_two_dtypes_count_as_what_they_hold(other, rng):
    queries, documents = items((5, 9), 24, torch.float32, rng), items((7, 3), 24, other, rng)
    for sides in ((queries, documents), (documents, queries)):
        scores = maxsim_triton.maxsim(*sides)
        assert scores.dtype == torch.float32
        assert_as_accurate(scores, reference.maxsim(*sides), exact(*sides))


def test_two_sides_of_float64_are_refused(rng):
    queries = items((2,), 8, torch.float64, rng)
    with pytest.raises(ValueError, match=r"both float64\. Convert one side"):
        maxsim_triton.maxsim(queries, queries)
    with pytest.raises(ValueError, match=r"both float64\. Convert one side"):
        maxsim_triton.topk(queries, queries, 1)


def test_a_mean_divides_by_the_tokens_of_each_query(rng):
    queries, documents = (
        items((5, 9, 1), 24, torch.float32, rng),
        items((7, 3), 24, torch.float32, rng),
    )
    scores = maxsim_triton.maxsim(queries, documents, reduction="mean")
    plain = reference.maxsim(queries, documents, reduction="mean")
    assert_as_accurate(scores, plain, exact(queries, documents, reduction="mean"))
    best = maxsim_triton.topk(queries, documents, 2, reduction="mean")
    torch.testing.assert_close(best.values, scores.sort(dim=1, descending=True).values)
    queries.tokens.requires_grad_()
    fast, plain = (
        torch.autograd.grad(score(queries, documents, reduction="mean").sum(), queries.tokens)[0]
        for score in (maxsim_triton.maxsim, reference.maxsim)
    )
    torch.testing.assert_close(fast, plain)


def test_of_equal_tokens_the_first_gets_the_gradient():
    # Token 0 and its copies, in the same tile and in the next one; a better one for axis 2 there.
    document = torch.zeros(140, 4)
    document[[0, 5, 135]] = 1.0
    document[137, 2] = 3.0
    queries, documents = pack([[[1.0, 0, 0, 0], [0, 2.0, 4.0, 0]]]), pack([document.tolist()])
    documents.tokens.requires_grad_()
    maxsim_triton.maxsim(queries, documents).sum().backward()
    expected = torch.zeros(140, 4, device=DEVICE)
    expected[[0, 137]] = queries.tokens
    assert torch.equal(documents.tokens.grad, expected)


def test_every_part_of_a_long_query_gets_its_gradient():
    # Token i of the query is +1 or -1 and picks the document's token of the same sign.
    signs = torch.tensor([1.0, -1.0])[torch.arange(140) % 3 % 2]
    queries, documents = (
        pack([[[sign] for sign in signs]]),
        pack([[[-1.0], [1.0]], [[-2.0], [2.0]]]),
    )
    queries.tokens.requires_grad_()
    maxsim_triton.maxsim(queries, documents).sum().backward()
    assert queries.tokens.grad.flatten().tolist() == (3 * signs).tolist()


def test_of_equal_documents_the_lower_index_comes_first():
    better, worse, minus = [[2.0, 0.0]], [[1.0, 0.0], [1.0, 5.0]], [[-1.0, 0.0]]
    documents = pack([worse, better, worse, better, minus, better, worse, minus] * 6)
    best = maxsim_triton.topk(pack([[[1.0, 0.0]]]), documents, 40)
    kinds = [1 if at % 8 in (0, 2, 6) else 0 if at % 8 in (1, 3, 5) else 2 for at in range(48)]
    expected = sorted(range(48), key=lambda at: (kinds[at], at))[:40]
    assert best.indices.tolist() == [expected]
    assert best.values.tolist() == [
        [(1.0, 2.0, -1.0)[[1, 0, 2].index(kinds[at])] for at in expected]
    ]


def test_minus_zero_and_zero_are_equal_scores():
    documents = pack([[[-0.0, -1.0]], [[0.0, 0.0]], [[-0.0, 0.0]], [[1.0, 0.0]]])
    best = maxsim_triton.topk(pack([[[1.0, 0.0]]]), documents, 4)
    assert best.indices.tolist() == [[3, 0, 1, 2]]


@pytest.mark.parametrize("k", [3, 20])
def test_a_large_k_is_found_block_by_block(k, rng, monkeypatch):
    queries, documents = (
        items((3, 2), 8, torch.float32, rng),
        items((2,) * 25, 8, torch.float32, rng),
    )
    fused = maxsim_triton.topk(queries, documents, k)
    monkeypatch.setattr(maxsim_triton, "MOST_SLOTS", 2)
    monkeypatch.setattr(maxsim_triton, "_BLOCK", 8)
    by_blocks = maxsim_triton.topk(queries, documents, k)
    assert torch.equal(fused.indices, by_blocks.indices)
    torch.testing.assert_close(fused.values, by_blocks.values)


def test_runs_and_lists_of_any_size_give_the_same_bits(rng, monkeypatch):
    queries, documents = (
        items((5, 9), 24, torch.float16, rng),
        items((3, 9, 1) * 2, 24, torch.float16, rng),
    )

    def everything():
        sides = [side.tokens.detach().requires_grad_() for side in (queries, documents)]
        packed = MultiVector(sides[0], queries.offsets), MultiVector(sides[1], documents.offsets)
        scores = maxsim_triton.maxsim(*packed)
        best = maxsim_triton.topk(*packed, 4)
        return scores, *best, *torch.autograd.grad(scores.square().sum(), sides)

    first, again = everything(), everything()
    monkeypatch.setattr(maxsim_triton, "PROGRAMS", 4096)
    monkeypatch.setattr(gradients, "_PAIRS", 50)
    for one, *others in zip(first, again, everything(), strict=True):
        assert all(torch.equal(one, other) for other in others)


def test_only_a_score_with_a_gradient_remembers_tokens(rng, monkeypatch):
    queries, documents = items((5,), 8, torch.float32, rng), items((3,), 8, torch.float32, rng)
    wanting = MultiVector(queries.tokens.clone().requires_grad_(), queries.offsets)
    assert maxsim_triton.maxsim(wanting, documents).grad_fn is not None
    monkeypatch.setattr(maxsim_triton, "_MaxSim", None)
    maxsim_triton.maxsim(queries, documents)
    with torch.no_grad():
        maxsim_triton.maxsim(wanting, documents)


def test_no_queries_or_no_documents_have_no_scores(rng):
    some = items((2, 3), 8, torch.float32, rng)
    none = MultiVector(some.tokens[:0], some.offsets[:1])
    assert maxsim_triton.maxsim(some, none).shape == (2, 0)
    assert maxsim_triton.maxsim(none, some).shape == (0, 2)
    assert maxsim_triton.topk(none, some, 1).indices.shape == (0, 1)
    some.tokens.requires_grad_()
    maxsim_triton.maxsim(some, none).sum().backward()
    assert not some.tokens.grad.any()


@pytest.mark.parametrize("d", [0, 1])
def test_tokens_may_be_as_narrow_as_can_be(d, rng):
    queries, documents = items((2, 3), d, torch.float32, rng), items((4, 1), d, torch.float32, rng)
    queries.tokens.requires_grad_()
    scores = maxsim_triton.maxsim(queries, documents)
    torch.testing.assert_close(scores, reference.maxsim(queries, documents))
    assert torch.autograd.grad(scores.sum(), queries.tokens)[0].shape == (5, d)
    assert maxsim_triton.topk(queries, documents, 2).indices.shape == (2, 2)


def test_tokens_beyond_two_to_the_31_numbers_are_found():
    # Only the last rows are ever touched, so that the other 2 GiB take no memory.
    rows, d = 2**27 + 4, 16
    tokens = torch.empty(rows, d, dtype=torch.int8, device=DEVICE)
    tokens[-4:] = torch.arange(64, dtype=torch.int8, device=DEVICE).view(4, d)
    ends = torch.tensor([rows - 4, rows - 1, rows], device=DEVICE)
    one = torch.ones(1, device=DEVICE)
    found = maxsim_triton._Side(tokens, ends, one.repeat(2), longest=3)
    asked = maxsim_triton._Side(one.repeat(2, d), torch.tensor([0, 2], device=DEVICE), one, 2)
    best = [sum(range(32, 48)), sum(range(48, 64))]
    assert maxsim_triton._scores(asked, found, None).tolist() == [[2.0 * each for each in best]]
