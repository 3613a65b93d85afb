"""FAISS as the first stage of our own ``Index``: what it puts forward is scored exactly."""

import pytest

pytest.importorskip("faiss", reason="needs isthmus[faiss]")

import torch

from align import Index
from align.integrations.faiss import faiss_stage
from tests.helpers.random_multivectors import ragged

N = 400
IDS = [f"item {row}" for row in range(N)]
EVEN = [{"even": row % 2 == 0} for row in range(N)]
QUERIES, DOCUMENTS = ragged([2] * 6, d=8, seed=1), ragged([3] * N, d=8, seed=2)


@pytest.fixture
def index(tmp_path):
    """In two segments, one of them saved."""
    found = Index.create(tmp_path / "index")
    found.add(IDS[:250], DOCUMENTS[:250], metadata=EVEN[:250])
    found.save()
    found.add(IDS[250:], DOCUMENTS[250:], metadata=EVEN[250:])
    return found


def check_same(found, exact):
    """The same items in the same order, with scores equal to rounding."""
    for hits, best in zip(found, exact, strict=True):
        assert [hit.id for hit in hits] == [hit.id for hit in best]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in best], abs=1e-5)


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "IVF3,SQ8"])
def test_all_items_as_candidates_give_the_exact_answer(index, factory):
    found = index.search(QUERIES, k=10, candidates=N, first=faiss_stage(factory))
    check_same(found, index.search(QUERIES, k=10))


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "IVF3,SQ8"])
def test_candidates_have_the_scores_of_an_exact_search(index, factory):
    scores = [{hit.id: hit.score for hit in hits} for hits in index.search(QUERIES, k=N)]
    found = index.search(QUERIES, k=10, candidates=40, first=faiss_stage(factory))
    for hits, exact in zip(found, scores, strict=True):
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert {hit.id: hit.score for hit in hits} == pytest.approx(
            {hit.id: exact[hit.id] for hit in hits}, abs=1e-5
        )


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "IVF3,Flat"])
def test_deleted_items_neither_come_back_nor_take_the_place_of_others(index, factory):
    stage = faiss_stage(factory)
    best = index.search(QUERIES, k=60, candidates=60, first=stage)
    gone = sorted({hit.id for hits in best for hit in hits})
    index.delete(gone)
    left = N - len(gone)
    for hits in index.search(QUERIES, k=60, candidates=60, first=stage):
        assert len({hit.id for hit in hits}) == 60
        assert not {hit.id for hit in hits} & set(gone)
    found = index.search(QUERIES, k=10, candidates=left, first=stage)
    check_same(found, index.search(QUERIES, k=10))


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "IVF3,Flat"])
def test_filtered_items_do_not_starve_the_stage(index, factory):
    stage = faiss_stage(factory)
    even = {"even": True}
    for hits in index.search(QUERIES, k=30, candidates=30, first=stage, where=even):
        assert len({hit.id for hit in hits}) == 30
        assert all(hit.metadata["even"] for hit in hits)
    found = index.search(QUERIES, k=10, candidates=N // 2, first=stage, where=even)
    check_same(found, index.search(QUERIES, k=10, where=even))


@pytest.mark.parametrize("factory", ["Flat", "HNSW32"])
def test_when_all_that_a_query_likes_is_deleted_the_next_are_put_forward(index, factory):
    stage, query = faiss_stage(factory), QUERIES[:1]
    likes = query[0][0] @ torch.stack([each[0] for each in DOCUMENTS]).T
    order = [IDS[row] for row in likes.argsort(descending=True).tolist()]
    index.delete(order[:300])
    [hits] = index.search(query, k=2, candidates=2, first=stage)
    assert {hit.id for hit in hits} == set(order[300:302])


def test_one_item_in_a_hundred_is_found_by_a_narrow_search(tmp_path):
    rare = [{"rare": row % 100 == 7} for row in range(N)]
    index = Index.create(tmp_path / "index")
    index.add(IDS, DOCUMENTS, metadata=rare)
    narrow = faiss_stage("IVF3,Flat", settings="nprobe=1")
    found = index.search(QUERIES, k=4, candidates=4, first=narrow, where={"rare": True})
    assert [len(hits) for hits in found] == [4] * 6
    check_same(found, index.search(QUERIES, k=4, where={"rare": True}))


def test_the_faiss_index_of_a_segment_is_built_once(index):
    made = []
    stage = faiss_stage("Flat")

    def counting(documents):
        made.append(len(documents))
        return stage(documents)

    for _ in range(3):
        index.search(QUERIES, k=5, candidates=20, first=counting)
    index.delete(IDS[:5])
    index.search(QUERIES, k=5, candidates=20, first=counting)
    assert made == [250, 150]
