"""The door of late interaction: what it refuses, budgets, exact top-k, and what it holds."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import align.scoring.kernels.gpu
from align.data.multi_vector import MultiVector
from align.scoring import late_interaction
from align.scoring.kernels import cpu_topk, reference
from align.scoring.kernels.pairs import scores as pair_scores
from align.scoring.late_interaction import EXTRA_BYTES, maxsim, topk
from align.scoring.topk import Neighbours
from tests.helpers.largest_storage import LargestStorage
from tests.helpers.one_thread import one_thread

NONE = MultiVector(torch.empty(0, 6), torch.zeros(1, dtype=torch.int64))


def packed(lengths, rng, d=6, dtype=torch.float32):
    return MultiVector.pack(
        [F.normalize(torch.randn(t, d, generator=rng), dim=1).to(dtype) for t in lengths]
    )


@pytest.fixture
def queries(rng):
    return packed((3, 1, 8, 5), rng)


@pytest.fixture
def documents(rng):
    """Ninety documents, every third one twice."""
    once = packed(torch.randint(1, 12, (60,), generator=rng).tolist(), rng)
    return once.take(torch.cat([torch.arange(60), torch.arange(0, 60, 2)]))


@pytest.fixture(params=["one part", "many parts"])
def parts(request, monkeypatch):
    if request.param == "many parts":
        monkeypatch.setattr(late_interaction, "_SLICE_BYTES", 300)
        monkeypatch.setattr(cpu_topk, "_SCORES", 28)
        monkeypatch.setattr(cpu_topk, "_QUERIES", 3)
        monkeypatch.setattr(cpu_topk, "_ROUNDED_ENTRIES", 150)


def ranked(scores, k):
    values, indices = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :k], indices[:, :k]


def test_scores_are_those_of_the_reference(queries, documents):
    for reduction in ("sum", "mean"):
        torch.testing.assert_close(
            maxsim(queries, documents, reduction=reduction),
            reference.maxsim(queries, documents, reduction=reduction),
        )


@pytest.mark.parametrize("budget", [(1, 1), (2, 4), (8, 11), (8, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int8])
def test_a_budget_scores_the_prefixes(queries, documents, parts, budget, dtype):
    if dtype == torch.int8:
        documents = documents.quantized()
    else:
        queries, documents = queries.to(dtype=dtype), documents.to(dtype=dtype)
    cut = queries.prefix(budget[0]), documents.prefix(budget[1])
    scores = maxsim(queries, documents, budget=budget)
    torch.testing.assert_close(scores, reference.maxsim(*cut))
    found, expected = topk(queries, documents, 7, budget=budget), topk(*cut, 7)
    torch.testing.assert_close(found.values, expected.values)
    assert torch.equal(found.indices, expected.indices)


def test_gradients_pass_through_a_budget_and_stay_in_it(queries, documents, parts):
    tokens = documents.tokens.clone().requires_grad_()
    leaf = MultiVector(tokens, documents.offsets)
    maxsim(queries, leaf, budget=(2, 3)).sum().backward()
    again = documents.tokens.clone().requires_grad_()
    cut = MultiVector(again, documents.offsets).prefix(3)
    reference.maxsim(queries.prefix(2), cut).sum().backward()
    torch.testing.assert_close(tokens.grad, again.grad)


@pytest.mark.parametrize("k", [1, 7, 90])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int8])
def test_topk_is_the_head_of_all_scores_in_order(queries, documents, parts, dtype, reduction, k):
    if dtype == torch.int8:
        documents = documents.quantized()
    else:
        queries, documents = queries.to(dtype=dtype), documents.to(dtype=dtype)
    found = topk(queries, documents, k, reduction=reduction)
    values, indices = ranked(maxsim(queries, documents, reduction=reduction), k)
    torch.testing.assert_close(found.values, values)
    assert found.values.dtype == values.dtype
    # Documents come twice, so that many scores tie to the last bit.
    assert torch.equal(found.indices, indices)


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("k", [1, 4, 50, 199])
def test_ties_go_to_the_lower_document(rng, parts, int8, k):
    # Small whole numbers: their products are exact in float32, and most scores tie.
    lengths = torch.randint(1, 4, (200,), generator=rng)
    tokens = torch.randint(-1, 2, (int(lengths.sum()), 3), generator=rng)
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    documents = (
        MultiVector(tokens.to(torch.int8), ends, torch.ones(200))
        if int8
        else MultiVector(tokens.float(), ends)
    )
    queries = MultiVector.from_equal(torch.randint(-1, 2, (9, 2, 3), generator=rng).float())
    found = topk(queries, documents, k)
    values, indices = ranked(reference.maxsim(queries, documents), k)
    assert torch.equal(found.values, values)
    assert torch.equal(found.indices, indices)


def test_topk_of_int8_documents_sees_what_rounding_the_query_hides():
    # The second entry of the query is below half a step of its codes: both documents tie in whole
    # numbers, and only the exact score tells them apart.
    queries = MultiVector.pack([torch.tensor([[1.0, 1e-5]])])
    tokens = torch.tensor([[100, 0], [100, 127], [99, 127]], dtype=torch.int8)
    documents = MultiVector(tokens, torch.arange(4), torch.ones(3))
    found = topk(queries, documents, 3)
    assert found.indices.tolist() == [[1, 0, 2]]
    torch.testing.assert_close(found.values, torch.tensor([[100 + 127e-5, 100, 99 + 127e-5]]))


@pytest.mark.parametrize("d", [1, 3, 64, 768])
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("int8", [True, False])
def test_the_bound_covers_the_error_of_whole_number_scores(rng, parts, d, heavy, int8):
    queries, documents = packed((3, 1, 8), rng, d), packed((1, 5, 30, 9), rng, d)
    if heavy:
        # One large entry takes the codes away from the others.
        queries.tokens[:, 0] *= 1e4
        documents.tokens[:, -1] *= 1e3
    documents = documents.quantized() if int8 else documents
    rounded = cpu_topk._rounded(queries, digits=2 if int8 else 1)
    assert rounded.codes.abs().max() > (20_000 if int8 else 126)
    scores, bound = cpu_topk._coarse(queries, rounded, documents)
    exact = reference.maxsim(queries.to(dtype=torch.float64), documents.to(dtype=torch.float64))
    error = (scores.double() - exact).abs()
    assert (error <= bound).all()
    if d > 1:
        assert (error > bound / 2_000).any()


def test_topk_scores_few_int8_documents_twice(rng, monkeypatch):
    seen = []

    def counting(queries, documents, pairs):
        seen.append(len(pairs.asked))
        return pair_scores(queries, documents, pairs)

    queries, documents = packed((8,), rng, 32), packed([6] * 500, rng, 32).quantized()
    expected = ranked(reference.maxsim(queries, documents), 10)
    monkeypatch.setattr(cpu_topk, "pair_scores", counting)
    found = topk(queries, documents, 10)
    assert torch.equal(found.indices, expected[1])
    assert 10 <= sum(seen) <= 20


@pytest.fixture
def many(monkeypatch):
    """Every query counts as many, on a processor made for int8; all documents may be candidates."""
    monkeypatch.setattr(cpu_topk, "_MANY", 1)
    monkeypatch.setattr(cpu_topk, "_RARE", 0)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(cpu_topk, "_MOST_CANDIDATES", 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_many_queries_find_by_whole_numbers_what_all_scores_say(
    rng, parts, many, documents, dtype, reduction
):
    # Of each document but the first there is a second one that rounding to int8 makes equal to it.
    near = documents.tokens + 1e-4 * torch.randn(documents.tokens.shape, generator=rng)
    both = MultiVector(torch.cat([documents.tokens, near]), _end_to_end(documents, documents))
    queries, both = packed((3, 1, 8, 5), rng).to(dtype=dtype), both.to(dtype=dtype)
    found = topk(queries, both, 7, reduction=reduction)
    expected = ranked(maxsim(queries, both, reduction=reduction), 7)
    assert torch.equal(found.indices, expected[1])
    torch.testing.assert_close(found.values, expected[0])


def _end_to_end(first, second):
    return torch.cat([first.offsets, second.offsets[1:] + first.offsets[-1]])


def test_all_documents_are_scored_at_once_where_rounding_leaves_too_many(rng, many, monkeypatch):
    monkeypatch.setattr(cpu_topk, "_MOST_CANDIDATES", 0.1)
    monkeypatch.setattr(cpu_topk, "pair_scores", None)
    queries, documents = packed((3, 4), rng), packed([5] * 20, rng)
    found = topk(queries, documents, 4)
    assert torch.equal(found.indices, ranked(maxsim(queries, documents), 4)[1])


@pytest.mark.parametrize("side", [0, 1])
def test_numbers_that_are_not_finite_are_refused_by_whole_numbers_too(rng, many, side):
    sides = [packed((3, 4), rng), packed([5] * 20, rng)]
    sides[side].tokens[3, 0] = torch.nan
    with pytest.raises(ValueError, match="scores must be finite"):
        topk(*sides, 4)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_topk_of_negative_scores_is_right_for_sums_and_means(rng, parts, reduction):
    queries = MultiVector.pack([torch.rand(t, 6, generator=rng) for t in (4, 9)])
    documents = MultiVector.pack([-torch.rand(3, 6, generator=rng) for _ in range(80)]).quantized()
    found = topk(queries, documents, 3, reduction=reduction)
    values, indices = ranked(reference.maxsim(queries, documents, reduction=reduction), 3)
    torch.testing.assert_close(found.values, values)
    assert torch.equal(found.indices, indices)


def test_a_query_of_zeros_has_zero_scores(documents):
    queries = MultiVector.pack([torch.zeros(2, 6)])
    found = topk(queries, documents.quantized(), 3)
    assert found.values.tolist() == [[0.0, 0.0, 0.0]]
    assert found.indices.tolist() == [[0, 1, 2]]


def test_nothing_to_ask_or_to_find_gives_empty_scores(queries, documents):
    assert maxsim(NONE, documents).shape == (0, 90)
    assert maxsim(queries, NONE).shape == (4, 0)
    assert maxsim(NONE, documents, budget=(4, 2)).shape == (0, 90)
    assert maxsim(queries, NONE, budget=(2, 4)).shape == (4, 0)
    for budget in (None, (4, 2)):
        found = topk(NONE, documents, 5, budget=budget)
        assert found.values.shape == found.indices.shape == (0, 5)


def test_neighbours_of_tokens_that_ask_for_gradients_carry_none(documents):
    leaf = MultiVector(documents.tokens.clone().requires_grad_(), documents.offsets)
    assert not topk(leaf, leaf, 2).values.requires_grad


@pytest.mark.parametrize("budget", [None, (2, 16)])
def test_a_collection_on_disk_is_never_copied_whole(rng, tmp_path, budget):
    tokens = torch.randint(-99, 99, (500_000, 64), generator=rng, dtype=torch.int8).half()
    MultiVector.from_equal(tokens.view(-1, 50, 64)).save(tmp_path / "documents.safetensors")
    documents = MultiVector.open(tmp_path / "documents.safetensors")
    queries = packed((4, 4), rng, 64)
    assert documents.nbytes > 2**25
    for work in (
        lambda: maxsim(queries, documents, budget=budget),
        lambda: topk(queries, documents, 5, budget=budget),
    ):
        with one_thread(), LargestStorage() as largest:
            work()
        assert 2**19 < largest.bytes <= EXTRA_BYTES // 4


@pytest.mark.parametrize("call", [maxsim, lambda a, b: topk(a, b, 1)])
@pytest.mark.parametrize("side", [0, 1])
def test_sides_that_are_no_multivectors_are_refused(queries, call, side):
    sides = [queries, queries]
    sides[side] = queries.tokens
    with pytest.raises(
        TypeError, match=r"must both be MultiVector; got .*Tensor.*MultiVector\.pack"
    ):
        call(*sides)


@pytest.mark.parametrize("call", [maxsim, lambda a, b: topk(a, b, 1)])
def test_sides_of_two_widths_are_refused(queries, rng, call):
    with pytest.raises(ValueError, match=r"one width; got 6 and 7\. Map both"):
        call(queries, packed((2,), rng, 7))


def test_sides_on_two_devices_are_refused(queries):
    class Elsewhere(MultiVector):
        def __post_init__(self):
            pass

    tokens = torch.empty(3, 6, device="meta")
    with pytest.raises(ValueError, match=r"one device; got cpu and meta\. Move one"):
        maxsim(queries, Elsewhere(tokens, torch.tensor([0, 3])))


@pytest.mark.parametrize("budget", [(1,), (1, 2, 3), (0, 1), (1, -2), (1.0, 2), 3, (True, 2), "12"])
def test_a_budget_that_is_no_pair_of_counts_is_refused(queries, documents, budget):
    for call in (maxsim, lambda *sides, **options: topk(*sides, 1, **options)):
        with pytest.raises(
            ValueError, match=r"pair \(r_q, r_c\) of whole numbers.*; got .*Say how"
        ):
            call(queries, documents, budget=budget)


@pytest.mark.parametrize("budget", [(9, 1), (1, 12), (99, 99)])
def test_a_budget_beyond_the_longest_item_is_refused(queries, documents, budget):
    with pytest.raises(
        ValueError, match=rf"\(8, 11\); got \({budget[0]}, {budget[1]}\)\. Lower it"
    ):
        maxsim(queries, documents, budget=budget)


def test_an_unknown_reduction_is_refused(queries, documents):
    with pytest.raises(ValueError, match=r"got 'max'\. Choose"):
        maxsim(queries, documents, reduction="max")


@pytest.mark.parametrize("k", [0, 91, -1])
def test_k_outside_the_documents_is_refused(queries, documents, k):
    with pytest.raises(ValueError, match=rf"\[1, 90\], the number of documents; got {k}"):
        topk(queries, documents, k)


def test_k_of_no_documents_is_refused(queries):
    with pytest.raises(ValueError, match=r"\[1, 0\], the number of documents; got 1"):
        topk(queries, NONE, 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("call", [maxsim, lambda a, b: topk(a, b, 1)])
def test_a_score_that_is_not_finite_is_refused(queries, documents, bad, int8, call):
    queries.tokens[4] = bad
    with pytest.raises(ValueError, match=r"scores must be finite; they span.*Look for NaN"):
        call(queries, documents.quantized() if int8 else documents)


@pytest.mark.parametrize("bad", [float("nan"), -float("inf")])
def test_a_bad_score_is_refused_though_it_would_not_be_found(bad):
    documents = MultiVector.pack([torch.ones(1, 2), torch.full((1, 2), bad)])
    with pytest.raises(ValueError, match="scores must be finite"):
        topk(MultiVector.pack([torch.ones(3, 2)]), documents, 1)


def test_tensors_on_a_gpu_go_to_the_gpu_kernels(monkeypatch):
    gpu = SimpleNamespace(maxsim=object(), topk=object())
    monkeypatch.setattr(align.scoring.kernels.gpu, "maxsim", gpu, raising=False)
    assert late_interaction._kernel(torch.device("cuda")) == (gpu.maxsim, gpu.topk)
    assert late_interaction._kernel(torch.device("cpu")).maxsim is late_interaction.maxsim_on_cpu


def test_a_gpu_without_triton_is_refused_and_nothing_falls_back(monkeypatch):
    monkeypatch.delattr(align.scoring.kernels.gpu, "maxsim", raising=False)
    monkeypatch.setitem(sys.modules, "align.scoring.kernels.gpu.maxsim", None)
    with pytest.raises(ImportError, match=r"on cuda:0 needs triton; .*Install isthmus\[gpu\]"):
        late_interaction._kernel(torch.device("cuda", 0))


@pytest.mark.parametrize("budget", [None, (2, 3)])
def test_the_kernels_of_the_device_do_the_work(queries, documents, monkeypatch, budget):
    def scored(queries, documents, *, reduction):
        return reference.maxsim(queries, documents, reduction=reduction) + 1000

    def best(queries, documents, k, *, reduction):
        return Neighbours(*ranked(scored(queries, documents, reduction=reduction), k))

    kernel = late_interaction._Kernel(scored, best)
    monkeypatch.setattr(late_interaction, "_kernel", lambda device: kernel)
    assert maxsim(queries, documents, budget=budget).min() > 900
    assert topk(queries, documents, 4, budget=budget).values.min() > 900
