"""``wrap`` over real stores ranks as the plain product of queries and gallery does."""

import numpy as np
import pytest

import align
from tests.integrations import world

IDS = [f"item {row}" for row in range(world.N)]


def in_faiss(vectors, folder):
    faiss = pytest.importorskip("faiss", reason="needs isthmus[faiss]")
    from align.integrations.faiss import faiss_search

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors.numpy())
    return faiss_search(index), list(range(world.N))


def in_qdrant(vectors, folder):
    qdrant_client = pytest.importorskip("qdrant_client", reason="needs isthmus[qdrant]")
    from align.integrations.qdrant import create_gallery, qdrant_search

    client = qdrant_client.QdrantClient(":memory:")
    create_gallery(client, "items", IDS, vectors)
    return qdrant_search(client, "items", using="dense", id_field="id"), IDS


def in_lancedb(vectors, folder):
    lancedb = pytest.importorskip("lancedb", reason="needs isthmus[lancedb]")
    from align.integrations.lancedb import create_gallery, lancedb_search

    return lancedb_search(create_gallery(lancedb.connect(folder), "items", IDS, vectors)), IDS


def in_chroma(vectors, folder):
    chromadb = pytest.importorskip("chromadb", reason="needs isthmus[chroma]")
    from align.integrations.chroma import chroma_search

    settings = chromadb.config.Settings(anonymized_telemetry=False)
    collection = chromadb.PersistentClient(folder, settings=settings).create_collection(
        "items", embedding_function=None, configuration={"hnsw": {"space": "ip"}}
    )
    collection.add(ids=IDS, embeddings=vectors.numpy())
    return chroma_search(collection), IDS


STORES = pytest.mark.parametrize("store", [in_faiss, in_qdrant, in_lancedb, in_chroma])


@STORES
@pytest.mark.parametrize("corrected", [False, True])
def test_a_wrapped_store_ranks_as_queries_and_gallery_do(store, corrected, tmp_path):
    adapter, source, target = world.planted(corrected=corrected)
    search, ids = store(adapter.gallery(target), tmp_path)
    stored = world.ANSWERS, adapter.gallery(target)
    retriever = align.wrap(
        search, adapter, world.questions(), stored=stored, stored_encoder=world.answers()
    )
    found = retriever.search(world.QUESTIONS[:7], k=10)
    scores, rows = world.ranked(adapter, source, target, 10)
    assert [[hit.id for hit in hits] for hits in found] == [
        [ids[row] for row in best] for best in rows.tolist()
    ]
    np.testing.assert_allclose([[hit.score for hit in hits] for hits in found], scores, atol=1e-5)


@STORES
def test_a_store_of_fewer_items_than_asked_for_gives_those_it_has(store, tmp_path):
    adapter, _, target = world.planted(corrected=True)
    search, ids = store(adapter.gallery(target), tmp_path)
    [hits] = align.wrap(search, adapter, world.questions()).search(["question 3"], k=world.N + 5)
    assert sorted(hit.id for hit in hits) == sorted(ids)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
