"""Qdrant in local mode, against exact products and MaxSim."""

import numpy as np
import pytest
import torch

pytest.importorskip("qdrant_client", reason="needs isthmus[qdrant]")

from qdrant_client import QdrantClient, models

from align.integrations.qdrant import create_gallery, qdrant_search, rescored_search
from align.scoring.kernels import reference
from tests.helpers.random_multivectors import ragged
from tests.integrations import world

IDS = [f"picture {row}" for row in range(world.N)]


@pytest.fixture
def client():
    client = QdrantClient(":memory:")
    yield client
    client.close()


def collect(client, vectors, distance, name="own"):
    """A collection as a user may have made it: one vector, numbers as ids."""
    client.create_collection(
        name, vectors_config=models.VectorParams(size=vectors.shape[1], distance=distance)
    )
    client.upsert(
        name,
        [
            models.PointStruct(id=row + 5, vector=vector)
            for row, vector in enumerate(vectors.tolist())
        ],
    )


@pytest.mark.parametrize("corrected", [False, True])
def test_a_gallery_is_ranked_as_the_adapter_ranks_it(client, corrected):
    adapter, source, target = world.planted(corrected=corrected)
    create_gallery(client, "pictures", IDS, adapter.gallery(target))
    search = qdrant_search(client, "pictures", using="dense", id_field="id")
    ids, scores = search(adapter.queries(source).numpy(), 10)
    exact = world.ranked(adapter, source, target, 10)
    assert ids == [[IDS[row] for row in rows] for rows in exact.indices.tolist()]
    np.testing.assert_allclose(scores, exact.values.numpy(), atol=1e-5)


@pytest.mark.parametrize("distance", [models.Distance.DOT, models.Distance.COSINE])
def test_a_collection_of_ones_own_is_ranked_as_the_adapter_ranks_it(client, distance):
    adapter, source, target = world.planted(corrected=False)
    collect(client, adapter.gallery(target), distance)
    ids, scores = qdrant_search(client, "own")(adapter.queries(source).numpy(), 10)
    exact = world.ranked(adapter, source, target, 10)
    assert ids == (exact.indices + 5).tolist()
    np.testing.assert_allclose(scores, exact.values.numpy(), atol=1e-5)


def test_a_cosine_refuses_queries_of_a_corrected_gallery(client):
    adapter, source, target = world.planted(corrected=True)
    collect(client, adapter.gallery(target), models.Distance.COSINE)
    with pytest.raises(ValueError, match="ranks by cosine, which is the inner product for"):
        qdrant_search(client, "own")(adapter.queries(source).numpy(), 10)


def test_short_answers_are_padded_with_none(client):
    create_gallery(client, "pictures", ["a", "b"], torch.eye(2))
    search = qdrant_search(client, "pictures", using="dense", id_field="id")
    ids, scores = search(np.eye(2, dtype=np.float32), 3)
    assert ids == [["a", "b", None], ["b", "a", None]]
    assert scores.tolist() == [[1.0, 0.0, -np.inf]] * 2


@pytest.mark.parametrize("stored", ["float32", "int8"])
def test_candidates_of_single_vectors_are_ranked_by_maxsim(client, stored):
    vectors = torch.randn(12, 5, generator=torch.Generator().manual_seed(3))
    queries = torch.randn(4, 5, generator=torch.Generator().manual_seed(4))
    documents, asked = ragged([1, 2, 4, 3] * 3, seed=1), ragged([2, 1, 3, 5], seed=2)
    documents = documents.quantized() if stored == "int8" else documents
    notes = [{"page": row} for row in range(12)]
    ids = [f"page {row}" for row in range(12)]
    create_gallery(client, "pages", ids, vectors, tokens=documents, metadata=notes)
    found = rescored_search(client, "pages", queries, asked, k=3, candidates=6)
    exact = reference.maxsim(asked, documents)
    for row, hits in enumerate(found):
        candidates = (queries[row] @ vectors.T).topk(6).indices
        best = candidates[exact[row, candidates].sort(descending=True).indices[:3]].tolist()
        assert [hit.id for hit in hits] == [ids[item] for item in best]
        assert [hit.metadata for hit in hits] == [notes[item] for item in best]
        scores = exact[row, best].tolist()
        assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-4)


def test_a_gallery_on_disk_is_found_again(tmp_path):
    adapter, source, target = world.planted(corrected=True)
    first = QdrantClient(path=str(tmp_path))
    create_gallery(first, "pictures", IDS, adapter.gallery(target))
    first.close()
    again = QdrantClient(path=str(tmp_path))
    search = qdrant_search(again, "pictures", using="dense", id_field="id")
    ids, _ = search(adapter.queries(source).numpy(), 1)
    again.close()
    exact = world.ranked(adapter, source, target, 1)
    assert ids == [[IDS[row]] for [row] in exact.indices.tolist()]


def test_several_vectors_get_no_search_graph(client):
    create_gallery(client, "pages", ["a", "b"], torch.eye(2), tokens=ragged([1, 2]))
    fields = client.get_collection("pages").config.params.vectors
    assert fields["tokens"].hnsw_config.m == 0
    assert {field.distance for field in fields.values()} == {models.Distance.DOT}


def test_galleries_that_do_not_fit_together_are_refused(client):
    with pytest.raises(ValueError, match="vectors must have one entry per row, 1; got 2"):
        create_gallery(client, "x", ["a"], torch.eye(2))
    with pytest.raises(ValueError, match="ids must be unique; 1 repeat: 'a'"):
        create_gallery(client, "x", ["a", "a"], torch.eye(2))
    with pytest.raises(ValueError, match="tokens must have one entry per row, 2; got 3"):
        create_gallery(client, "x", ["a", "b"], torch.eye(2), tokens=ragged([1, 1, 1]))
    with pytest.raises(ValueError, match="metadata must have one entry per row, 2; got 1"):
        create_gallery(client, "x", ["a", "b"], torch.eye(2), metadata=[{}])
    assert not client.collection_exists("x")


def test_searches_that_do_not_fit_are_refused(client):
    create_gallery(client, "pages", ["a", "b"], torch.eye(2), tokens=ragged([1, 2]))
    collect(client, torch.eye(2), models.Distance.EUCLID, "by distance")
    for using in (None, "tokens", "other"):
        with pytest.raises(ValueError, match=rf"got {using!r}, and it holds \['dense', 'tokens'\]"):
            qdrant_search(client, "pages", using=using)
    with pytest.raises(ValueError, match="'by distance' ranks by Euclid"):
        qdrant_search(client, "by distance")
    with pytest.raises(ValueError, match=r"must have width 2, that of .* 'pages'; got 3"):
        qdrant_search(client, "pages", using="dense")(np.ones((1, 3), dtype=np.float32), 1)
    with pytest.raises(ValueError, match="tokens must have one entry per row, 2; got 1"):
        rescored_search(client, "pages", torch.eye(2), ragged([1]))
    with pytest.raises(ValueError, match="candidates must be finite and at least 1; got 0"):
        rescored_search(client, "pages", torch.eye(2), ragged([1, 1]), candidates=0)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 4\], the number of candidates"):
        rescored_search(client, "pages", torch.eye(2), ragged([1, 1]), k=5, candidates=4)


def test_whole_numbers_as_ids_come_back_as_they_are(client):
    ids = [7, "7", np.int64(8)]
    create_gallery(client, "numbers", ids, torch.eye(3))
    found, _ = qdrant_search(client, "numbers", using="dense", id_field="id")(
        np.eye(3, dtype=np.float32), 1
    )
    assert [name for [name] in found] == [7, "7", 8]
    tokens = ragged([1, 1, 1])
    create_gallery(client, "several", ids, torch.eye(3), tokens=tokens)
    hits = rescored_search(client, "several", torch.eye(3), tokens, k=1, candidates=1)
    assert [hit.id for [hit] in hits] == [7, "7", 8]
    for wrong in (1.5, None, True, ("a",)):
        with pytest.raises(TypeError, match="ids must be strings or whole numbers; id 1 is"):
            create_gallery(client, "x", ["a", wrong], torch.eye(2))


def test_a_gallery_that_cannot_be_filled_leaves_no_collection_behind(client):
    with pytest.raises(Exception, match=r".") as caught:
        create_gallery(client, "x", ["a"], torch.eye(1), metadata=[{"time": object()}])
    assert not isinstance(caught.value, AssertionError)
    with pytest.raises(ValueError, match="vectors must be finite"):
        create_gallery(client, "x", ["a"], torch.full((1, 2), torch.nan))
    assert not client.collection_exists("x")


def test_a_gallery_that_exists_is_left_as_it_is(client):
    create_gallery(client, "x", ["a"], torch.eye(1))
    with pytest.raises(ValueError, match="already exists"):
        create_gallery(client, "x", ["b"], torch.eye(1))
    assert client.count("x").count == 1
