"""Items of several vectors in an index: what is found."""

import pytest
import torch
import torch.nn.functional as F

from align.data.multi_vector import MultiVector
from align.retrieval import first_stages
from align.retrieval.cascade import cascade
from align.retrieval.first_stages import first_stage
from align.retrieval.hits import Hit
from align.retrieval.index import candidates as candidates_module
from align.retrieval.index import exact as scan
from align.retrieval.index.index import Index
from align.scoring.fde import FDE
from tests.retrieval.multi_documents import DTYPES, as_stored, check_search, names, ragged, saved


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("budget", [None, (2, 3)])
def test_search_equals_the_reference_before_and_after_saving(rng, tmp_path, dtype, budget):
    documents, queries = ragged(40, rng), ragged(5, rng)
    held = as_stored(documents, dtype)
    index = Index.create(tmp_path / "idx", dtype=dtype)
    index.add(names(15), documents[:15])
    check_search(index, held[:15], queries, 15, budget=budget)
    index.save()
    index.add(names(3, 15), documents[15:18])
    index.add(names(22, 18), documents[18:])
    check_search(index, held, queries, 10, budget=budget)
    index.save()
    check_search(index, held, queries, 40, budget=budget)
    again = Index.open(tmp_path / "idx")
    assert (len(again), again.dim, again.dtype, again.budget) == (40, 8, dtype, None)
    check_search(again, held, queries, 40, budget=budget)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_stored_comes_back_to_the_bit(rng, tmp_path, dtype):
    documents = ragged(10, rng)
    index = Index.create(tmp_path, dtype=dtype)
    index.add(names(10), documents)
    index.save()
    back = Index.open(tmp_path).get(names(10)).vectors
    assert back.tokens.dtype == getattr(torch, dtype)
    assert torch.equal(back.to(dtype=torch.float32).tokens, as_stored(documents, dtype).tokens)
    assert torch.equal(back.offsets, documents.offsets)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("from_dtype", DTYPES)
def test_documents_of_any_dtype_can_be_added(rng, tmp_path, dtype, from_dtype):
    documents = ragged(6, rng)
    documents = (
        documents.quantized()
        if from_dtype == "int8"
        else documents.to(dtype=getattr(torch, from_dtype))
    )
    index = Index.create(tmp_path, dtype=dtype)
    index.add(names(6), documents)
    check_search(index, as_stored(documents, dtype), ragged(2, rng), 6)


@pytest.mark.parametrize("candidates", [None, 20])
def test_a_budget_may_exceed_the_items_of_one_segment_or_query(rng, tmp_path, candidates):
    documents = MultiVector.pack([*ragged(10, rng, high=2), *ragged(10, rng, low=5)])
    queries = MultiVector.pack([*ragged(2, rng, high=2), *ragged(2, rng, low=5)])
    index = saved(tmp_path, documents, parts=(0.5,))
    check_search(index, documents, queries, 10, budget=(4, 4), candidates=candidates)
    check_search(index, documents, queries[:2], 10, budget=(4, 99), candidates=candidates)


@pytest.mark.parametrize("candidates", [None, 2])
@pytest.mark.parametrize("budget", [(0, 1), (1, 0)])
def test_a_search_budget_below_one_is_refused(rng, tmp_path, candidates, budget):
    index = saved(tmp_path, ragged(5, rng))
    with pytest.raises(ValueError, match=r"budget must .*at least 1; got"):
        index.search(ragged(2, rng), k=1, candidates=candidates, budget=budget)


def test_no_queries_find_nothing(rng, tmp_path):
    index = saved(tmp_path, ragged(5, rng))
    none = MultiVector(torch.empty(0, 8), torch.zeros(1, dtype=torch.int64))
    for candidates in (None, 3):
        assert index.search(none, k=2, budget=(1, 1), candidates=candidates) == []


def test_later_changes_to_added_documents_change_nothing(rng, tmp_path):
    documents, queries = ragged(6, rng), ragged(2, rng)
    index = Index.create(tmp_path, dtype="float32")
    index.add(names(6), documents)
    before = index.search(queries, k=6)
    documents.tokens.zero_()
    documents.offsets[1:-1] = documents.offsets[-1]
    assert index.search(queries, k=6) == before


def test_equal_items_come_back_in_the_order_of_adding(rng, tmp_path):
    same = MultiVector.pack([torch.ones(2, 3)] * 2)
    index = Index.create(tmp_path)
    index.add(["b", "z"], same)
    index.save()
    index.add(["a"], same[:1])
    expected = [[Hit("b", 6.0), Hit("z", 6.0), Hit("a", 6.0)]]
    assert index.search(same[:1], k=3) == expected
    assert index.search(same[:1], k=3, candidates=3) == expected


@pytest.mark.parametrize("budget", [1, 3, 5, 99])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_truncated_index_is_that_of_the_prefixes(rng, tmp_path, dtype, budget):
    documents, queries = ragged(30, rng), ragged(4, rng)
    whole = saved(tmp_path, documents, dtype=dtype)
    opened = Index.open(tmp_path, budget=budget)
    assert (opened.budget, len(opened)) == (budget, 30)
    held = as_stored(documents, dtype).prefix(budget)
    check_search(opened, held, queries, 10)
    check_search(opened, held, queries, 10, budget=(2, min(budget, 2)))
    size = {"float16": 2, "int8": 1}[dtype]
    tokens = documents.lengths.clamp_max(budget).sum().item()
    # Two segments have 32 offsets between them, if any has two vectors; int8 has a scale per item.
    scales = 30 * 4 if dtype == "int8" else 0
    offsets = 32 * 8 if budget > 1 else 0
    assert opened.nbytes == tokens * 8 * size + offsets + scales
    assert opened.nbytes < whole.nbytes or budget == 99


def test_a_truncated_index_keeps_only_the_prefix_in_memory(rng, tmp_path):
    saved(tmp_path, ragged(30, rng))
    for part in Index.open(tmp_path, budget=2)._segments:
        tokens = part.segment.tokens
        assert tokens.untyped_storage().nbytes() == tokens.nbytes


def test_saving_a_truncated_index_loses_nothing(rng, tmp_path):
    documents, queries = ragged(30, rng), ragged(4, rng)
    saved(tmp_path, documents)
    Index.open(tmp_path, budget=1).save()
    check_search(Index.open(tmp_path), documents, queries, 30)


def test_a_truncated_index_refuses_new_items_and_longer_budgets(rng, tmp_path):
    saved(tmp_path, ragged(30, rng))
    opened = Index.open(tmp_path, budget=2)
    changes = (
        lambda: opened.add(["new"], ragged(1, rng)),
        lambda: opened.update(["item 1"], ragged(1, rng)),
        lambda: opened.delete(["item 1"]),
        opened.compact,
    )
    for change in changes:
        with pytest.raises(RuntimeError, match=r"only searched; this one has 2\. Open it without"):
            change()
    with pytest.raises(ValueError, match=r"first 2 vectors of each item; got budget \(9, 3\)"):
        opened.search(ragged(1, rng), budget=(9, 3))
    with pytest.raises(ValueError, match="budget must be finite and at least 1; got 0"):
        Index.open(tmp_path, budget=0)


@pytest.mark.parametrize("first", [(1, 1), (2, 3), FDE(8, 3, 2), FDE(8, 3, 2, 4)], ids=str)
@pytest.mark.parametrize("budget", [None, (3, 4)])
def test_a_cascade_over_segments_is_one_over_all_documents(rng, tmp_path, first, budget):
    documents, queries = ragged(40, rng), ragged(5, rng)
    index = saved(tmp_path, documents)
    index.add(names(10, 40), more := ragged(10, rng))
    everything = MultiVector.pack([*documents, *more])
    expected = cascade(
        queries, everything, 4, candidates=9, first=first_stage(everything, first), budget=budget
    )
    for _ in range(2):
        hits = index.search(queries, k=4, candidates=9, first=first, budget=budget)
        assert [[hit.id for hit in row] for row in hits] == [
            [f"item {place}" for place in row] for row in expected.indices.tolist()
        ]
        scores = torch.tensor([[hit.score for hit in row] for row in hits])
        torch.testing.assert_close(scores, expected.values)
        index.save()
    check_search(index, everything, queries, 4, candidates=50, first=first, budget=budget)


def test_saved_documents_are_encoded_once(rng, tmp_path, monkeypatch):
    documents, queries = ragged(30, rng), ragged(2, rng)
    index = saved(tmp_path, documents)
    encoded = []

    def counted(documents, first):
        encoded.append(len(documents))
        return first_stage(documents, first)

    monkeypatch.setattr(candidates_module, "first_stage", counted)
    fde = FDE(8, 2, 2)
    index.search(queries, k=2, candidates=5, first=fde)
    assert encoded == [18, 12]
    index.search(queries, k=2, candidates=5, first=fde)
    assert encoded == [18, 12]
    index.add(names(5, 30), ragged(5, rng))
    index.save()
    index.search(queries, k=2, candidates=5, first=fde)
    index.search(queries, k=2, candidates=5, first=FDE(8, 2, 2))
    assert encoded == [18, 12, 5]
    index.search(queries, k=2, candidates=5, first=FDE(8, 2, 2, seed=1))
    assert encoded == [18, 12, 5, 18, 12, 5]


def test_scores_of_all_queries_with_all_documents_are_never_held(rng, tmp_path, monkeypatch):
    index = saved(tmp_path, ragged(30, rng))
    shapes = []
    for where, name in (
        (candidates_module, "maxsim_pairs"),
        (first_stages, "nearest"),
        (scan, "topk"),
    ):
        plain = getattr(where, name)

        def watched(*args, plain=plain, **options):
            found = plain(*args, **options)
            shapes.append((found if isinstance(found, torch.Tensor) else found.values).shape)
            return found

        monkeypatch.setattr(where, name, watched)
    index.search(ragged(6, rng), k=2)
    assert shapes == [(6, 2)] * 2
    shapes.clear()
    index.search(ragged(6, rng), k=2, candidates=4, first=FDE(8, 2, 2))
    assert shapes[:2] == [(6, 4)] * 2
    assert sum(shape.numel() for shape in shapes[2:]) == 24


def test_int8_finds_what_float32_finds_among_clusters(rng, tmp_path):
    topics = F.normalize(torch.randn(40, 16, generator=rng), dim=1)
    own = torch.randint(40, (400, 3), generator=rng)
    picked = own.repeat(1, 2)
    tokens = topics[picked] + 0.15 * torch.randn(400, 6, 16, generator=rng)
    documents = MultiVector.from_equal(F.normalize(tokens, dim=2))
    queries_of_items = F.normalize(documents.tokens.view(400, 6, 16)[:40] + 0.1, dim=2)
    queries = MultiVector.from_equal(queries_of_items)
    found, sizes = {}, {}
    for dtype in ("float32", "int8"):
        index = Index.create(tmp_path / dtype, dtype=dtype)
        index.add(names(400), documents)
        found[dtype] = [{hit.id for hit in row} for row in index.search(queries, k=10)]
        sizes[dtype] = index.nbytes
    shared = [len(a & b) / 10 for a, b in zip(found["float32"], found["int8"], strict=True)]
    assert sum(shared) / len(shared) >= 0.97
    # Offsets and scales are not made smaller.
    assert sizes["int8"] - 401 * 8 - 400 * 4 == (sizes["float32"] - 401 * 8) / 4
