"""LanceDB in a folder, against exact products and MaxSim."""

import numpy as np
import pytest
import torch

pytest.importorskip("lancedb", reason="needs isthmus[lancedb]")

import lancedb
import pyarrow as pa
from lancedb.index import IvfFlat

from align.integrations.lancedb import create_gallery, lancedb_search, maxsim_search
from align.scoring.kernels import reference
from tests.helpers.random_multivectors import ragged
from tests.integrations import world

IDS = [f"picture {row}" for row in range(world.N)]


@pytest.fixture
def database(tmp_path):
    return lancedb.connect(tmp_path)


@pytest.mark.parametrize("asked", [1, 7])
@pytest.mark.parametrize("corrected", [False, True])
def test_a_gallery_is_ranked_as_the_adapter_ranks_it(database, corrected, asked):
    adapter, source, target = world.planted(corrected=corrected)
    table = create_gallery(database, "pictures", IDS, adapter.gallery(target))
    ids, scores = lancedb_search(table)(adapter.queries(source[:asked]).numpy(), 10)
    exact = world.ranked(adapter, source[:asked], target, 10)
    assert ids == [[IDS[row] for row in rows] for rows in exact.indices.tolist()]
    np.testing.assert_allclose(scores, exact.values.numpy(), atol=1e-5)


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_other_distances_give_inner_products_of_unit_vectors(database, distance):
    adapter, source, target = world.planted(corrected=False)
    table = create_gallery(database, "pictures", IDS, adapter.gallery(target))
    search = lancedb_search(table, distance=distance)
    ids, scores = search(adapter.queries(source).numpy(), 10)
    exact = world.ranked(adapter, source, target, 10)
    assert ids == [[IDS[row] for row in rows] for rows in exact.indices.tolist()]
    np.testing.assert_allclose(scores, exact.values.numpy(), atol=1e-5)
    corrected, source, _ = world.planted(corrected=True)
    with pytest.raises(ValueError, match=rf"ranks by {distance}, which is the inner product"):
        search(corrected.queries(source).numpy(), 10)


def test_a_table_of_ones_own_with_a_search_index_is_searched(database):
    adapter, source, target = world.planted(corrected=False)
    vectors = pa.array(adapter.gallery(target).tolist(), type=pa.list_(pa.float32(), adapter.dim))
    table = database.create_table("own", pa.table({"key": range(world.N), "embedding": vectors}))
    table.create_index("embedding", config=IvfFlat(distance_type="cosine", num_partitions=1))
    search = lancedb_search(table, column="embedding", id_column="key", distance="cosine")
    ids, _ = search(adapter.queries(source).numpy(), 5)
    assert ids == world.ranked(adapter, source, target, 5).indices.tolist()


def test_short_answers_are_padded_with_none(database):
    table = create_gallery(database, "pictures", ["a", "b"], torch.eye(2))
    ids, scores = lancedb_search(table)(np.eye(2, dtype=np.float32), 3)
    assert ids == [["a", "b", None], ["b", "a", None]]
    assert scores.tolist() == [[1.0, 0.0, -np.inf]] * 2


@pytest.mark.parametrize("stored", ["float32", "int8"])
def test_items_of_several_vectors_are_ranked_by_maxsim(database, stored):
    documents, asked = ragged([1, 2, 4, 3] * 5, seed=1), ragged([2, 1, 3, 5], seed=2)
    documents = documents.quantized() if stored == "int8" else documents
    ids = [f"page {row}" for row in range(20)]
    create_gallery(
        database, "pages", ids, torch.eye(20), tokens=documents, metadata={"page": range(20)}
    )
    found = maxsim_search(database.open_table("pages"), asked, k=6)
    best = reference.maxsim(asked, documents).topk(6, dim=1)
    for hits, rows, scores in zip(found, best.indices.tolist(), best.values.tolist(), strict=True):
        assert [hit.id for hit in hits] == [ids[row] for row in rows]
        assert [hit.metadata for hit in hits] == [{"page": row} for row in rows]
        assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-4)


def test_galleries_that_do_not_fit_together_are_refused(database):
    with pytest.raises(ValueError, match="vectors must have one entry per row, 1; got 2"):
        create_gallery(database, "x", ["a"], torch.eye(2))
    with pytest.raises(ValueError, match="ids must be unique; 1 repeat: 'a'"):
        create_gallery(database, "x", ["a", "a"], torch.eye(2))
    with pytest.raises(ValueError, match="tokens must have one entry per row, 2; got 3"):
        create_gallery(database, "x", ["a", "b"], torch.eye(2), tokens=ragged([1, 1, 1]))
    with pytest.raises(ValueError, match="page must have one entry per row, 2; got 1"):
        create_gallery(database, "x", ["a", "b"], torch.eye(2), metadata={"page": [1]})
    with pytest.raises(ValueError, match=r"metadata must not name the columns .* got 'vector'"):
        create_gallery(database, "x", ["a", "b"], torch.eye(2), metadata={"vector": [1, 2]})


def test_searches_that_do_not_fit_are_refused(database):
    table = create_gallery(database, "x", ["a", "b"], torch.eye(2))
    with pytest.raises(ValueError, match=r"\['embedding'\] are not among \['id', 'vector'\]"):
        lancedb_search(table, column="embedding")
    with pytest.raises(ValueError, match="already exists"):
        create_gallery(database, "x", ["a"], torch.eye(1))
    with pytest.raises(ValueError, match=r"dim\(3\) doesn't match .* dim\(2\)"):
        lancedb_search(table)(np.ones((1, 3), dtype=np.float32), 1)
    with pytest.raises(ValueError, match=r"needs the column 'tokens' .* it has \['id', 'vector'\]"):
        maxsim_search(table, ragged([1]))
    with pytest.raises(ValueError, match="k must be finite and at least 1; got 0"):
        maxsim_search(table, ragged([1]), k=0)
