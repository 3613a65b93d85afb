"""Candidates and searches by the installed FAISS, against exact products."""

import re

import numpy as np
import pytest
import torch

pytest.importorskip("faiss", reason="needs isthmus[faiss]")

import faiss

from align import candidates_for, cascade, first_stage, topk
from align.data.multi_vector import MultiVector
from align.integrations.faiss import faiss_search, faiss_stage
from tests.helpers.random_multivectors import ragged
from tests.integrations import world


@pytest.fixture(autouse=True)
def one_thread():
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


def equal_length(n, t, *, d=8, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    tokens = torch.nn.functional.normalize(torch.randn(n, t, d, generator=drawn), dim=2)
    return MultiVector.from_equal(tokens)


def test_a_flat_stage_puts_forward_what_first_vectors_do():
    queries, documents = ragged([2, 1, 3], seed=1), ragged([1, 4, 2, 3, 5, 1, 2, 6], seed=2)
    stage = faiss_stage("Flat")(documents)
    found, exact = stage(queries, 5), first_stage(documents, (1, 1))(queries, 5)
    assert len(stage) == 8
    assert torch.equal(found.indices, exact.indices)
    torch.testing.assert_close(found.values, exact.values)
    assert stage.flops(queries) == 2 * 3 * 8 * 4 == first_stage(documents, (1, 1)).flops(queries)


@pytest.mark.parametrize("factory", ["HNSW32", "IVF8,Flat", "HNSW32,SQ8", "IVF8,SQ8"])
def test_a_cascade_over_all_candidates_is_exact(factory):
    queries, documents = equal_length(4, 2, seed=1), equal_length(400, 3)
    stage = faiss_stage(factory)(documents)
    found = cascade(queries, documents, 10, candidates=400, first=stage)
    exact = topk(queries, documents, 10)
    assert torch.equal(found.indices, exact.indices)
    assert torch.equal(found.values, exact.values)


def test_documents_that_were_not_looked_at_come_last_and_each_once():
    queries, documents = equal_length(5, 1, seed=1), equal_length(400, 1)
    stage = faiss_stage("IVF8,Flat")(documents)
    found = stage(queries, 400)
    assert all(sorted(rows) == list(range(400)) for rows in found.indices.tolist())
    for values, rows in zip(found.values, found.indices, strict=True):
        seen = int(values.isfinite().sum())
        assert 0 < seen < 400
        assert torch.equal(values, values.sort(descending=True).values)
        assert rows[seen:].tolist() == sorted(rows[seen:].tolist())


def test_settings_let_the_index_look_further():
    queries, documents = equal_length(5, 1, seed=1), equal_length(400, 1)
    wide = faiss_stage("IVF8,Flat", settings="nprobe=8")(documents)
    assert wide(queries, 400).values.isfinite().all()
    exact = first_stage(documents, (1, 1))(queries, 400)
    assert torch.equal(wide(queries, 400).indices, exact.indices)


def test_the_number_of_candidates_can_be_chosen_by_measurement():
    queries, documents = equal_length(20, 1, seed=1), equal_length(400, 1)
    stage = faiss_stage("IVF8,Flat", settings="nprobe=4")(documents)
    choice = candidates_for(queries, documents, 5, recall=0.9, first=stage)
    assert choice.agreement >= 0.9
    found = cascade(queries, documents, 5, candidates=choice.candidates, first=stage)
    exact = topk(queries, documents, 5)
    kept = [
        len(set(some) & set(all_)) / 5
        for some, all_ in zip(found.indices.tolist(), exact.indices.tolist(), strict=True)
    ]
    assert np.mean(kept) == pytest.approx(choice.agreement)


def test_a_stage_refuses_a_number_it_does_not_hold_and_other_widths():
    stage = faiss_stage("Flat")(equal_length(6, 1))
    with pytest.raises(
        ValueError, match=re.escape("n must lie in [1, 6], the number of documents")
    ):
        stage(equal_length(1, 1), 7)
    with pytest.raises(ValueError, match=r"must have width 8, .* got 5"):
        stage(equal_length(1, 1, d=5), 3)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "IDMap,Flat"])
def test_an_index_of_ones_own_ranks_as_the_adapter_does(factory, corrected):
    adapter, source, target = world.planted(corrected=corrected)
    index = faiss.index_factory(adapter.d_search, factory, faiss.METRIC_INNER_PRODUCT)
    names = np.arange(len(target))
    if factory.startswith("IDMap"):
        names = names + 1000
        index.add_with_ids(adapter.gallery(target).numpy(), names)
    else:
        index.add(adapter.gallery(target).numpy())
    ids, scores = faiss_search(index)(adapter.queries(source).numpy(), 10)
    exact = world.ranked(adapter, source, target, 10)
    assert np.array_equal(ids, names[exact.indices.numpy()])
    np.testing.assert_allclose(scores, exact.values.numpy(), atol=1e-5)


def test_an_index_by_l2_over_unit_vectors_gives_the_same_scores():
    adapter, source, target = world.planted(corrected=False)
    index = faiss.IndexFlatL2(adapter.d_search)
    index.add(adapter.gallery(target).numpy())
    ids, scores = faiss_search(index)(adapter.queries(source).numpy(), 10)
    exact = world.ranked(adapter, source, target, 10)
    assert np.array_equal(ids, exact.indices.numpy())
    np.testing.assert_allclose(scores, exact.values.numpy(), atol=1e-5)


def test_an_index_by_l2_refuses_queries_of_a_corrected_gallery():
    adapter, source, target = world.planted(corrected=True)
    index = faiss.IndexFlatL2(adapter.d_search)
    index.add(adapter.gallery(target).numpy())
    with pytest.raises(ValueError, match=r"ranks by L2 distance.*7 of 7 queries.*first 1\.414"):
        faiss_search(index)(adapter.queries(source).numpy(), 10)


def test_short_answers_are_padded_with_minus_one():
    index = faiss.IndexFlatIP(2)
    index.add(np.eye(2, dtype=np.float32))
    ids, _ = faiss_search(index)(np.eye(2, dtype=np.float32), 3)
    assert ids.tolist() == [[0, 1, -1], [1, 0, -1]]


def test_other_metrics_and_widths_are_refused():
    with pytest.raises(ValueError, match=r"inner product or L2 .* got metric"):
        faiss_search(faiss.IndexFlat(4, faiss.METRIC_L1))
    with pytest.raises(ValueError, match=r"must have width 4, .* got 3"):
        faiss_search(faiss.IndexFlatIP(4))(np.ones((1, 3), dtype=np.float32), 1)
