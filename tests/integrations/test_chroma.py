"""A collection that remembers the adapter, against exact products, by the installed Chroma."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("chromadb", reason="needs isthmus[chroma]")

import chromadb
from chromadb.config import Settings
from PIL import Image

import align
from align.adapters.adapter import Adapter
from align.adapters.closed_form.rcca import rcca
from align.integrations.chroma import AlignEmbeddingFunction, chroma_search, open_collection
from tests.integrations import world
from tests.integrations.named_encoders import PICTURES, TEXTS

QUESTIONS = ["a red house", "the sea", "a dog on a beach"]


def connect(folder):
    return chromadb.PersistentClient(folder, settings=Settings(anonymized_telemetry=False))


def arrays(count=40):
    drawn = np.random.default_rng(0)
    return [drawn.integers(0, 256, (6, 5, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture
def folder(tmp_path):
    adapter, _, _ = world.planted(corrected=True)
    adapter.save(tmp_path / "adapter")
    return tmp_path / "adapter"


def embedding_of(folder, **options):
    return AlignEmbeddingFunction(folder, source=TEXTS, target=PICTURES, **options)


def exact(embedding, count=40):
    """Scores and rows of the pictures for the questions, best first, without Chroma."""
    pictures = PICTURES.encode([Image.fromarray(array) for array in arrays(count)])
    return world.ranked(embedding.embedder.adapter, TEXTS.encode(QUESTIONS), pictures, 5)


def fill(client, embedding):
    collection = client.create_collection("pictures", embedding_function=embedding)
    collection.add(ids=[str(row) for row in range(40)], images=arrays())
    return collection


def test_texts_find_images_as_the_adapter_ranks_them(tmp_path, folder):
    embedding = embedding_of(folder)
    collection = fill(connect(tmp_path / "db"), embedding)
    found = collection.query(query_texts=QUESTIONS, n_results=5)
    scores, rows = exact(embedding)
    assert found["ids"] == [[str(row) for row in some] for some in rows.tolist()]
    np.testing.assert_allclose(1 - np.array(found["distances"]), scores.numpy(), atol=1e-5)
    assert collection.configuration_json["hnsw"]["space"] == "ip"


def test_images_find_texts_where_sources_are_added(tmp_path, folder):
    embedding = embedding_of(folder, side="source")
    collection = connect(tmp_path / "db").create_collection("texts", embedding_function=embedding)
    collection.add(ids=["a", "b", "c"], documents=QUESTIONS)
    found = collection.query(query_images=arrays(4), n_results=3)
    adapter = embedding.embedder.adapter
    pictures = PICTURES.encode([Image.fromarray(array) for array in arrays(4)])
    scores = (
        adapter.queries(pictures, side="target")
        @ adapter.gallery(TEXTS.encode(QUESTIONS), side="source").T
    )
    best = scores.sort(dim=1, descending=True)
    assert found["ids"] == [["abc"[row] for row in rows] for rows in best.indices.tolist()]
    np.testing.assert_allclose(1 - np.array(found["distances"]), best.values.numpy(), atol=1e-5)


def remembering(folder, sbert):
    """An adapter from texts to texts whose card says how its encoder is built."""
    encoder = align.TextEncoder(str(sbert))
    rows = torch.randn(50, encoder.dim, generator=torch.Generator().manual_seed(0))
    adapter = rcca(rows, rows.flip(1))
    card = replace(adapter.card, encoders=dict.fromkeys(("source", "target"), f"text:{sbert}"))
    Adapter(adapter.source_map, adapter.target_map, card).save(folder)
    return folder


def test_another_process_opens_the_collection_without_naming_the_adapter(tmp_path, sbert):
    embedding = AlignEmbeddingFunction(remembering(tmp_path / "adapter", sbert))
    collection = connect(tmp_path / "db").create_collection("texts", embedding_function=embedding)
    collection.add(ids=["a", "b", "c"], documents=QUESTIONS)
    found = collection.query(query_texts=QUESTIONS, n_results=3)
    code = (
        "import sys, chromadb, align.integrations.chroma\n"
        "from chromadb.config import Settings\n"
        "client = chromadb.PersistentClient(sys.argv[1], Settings(anonymized_telemetry=False))\n"
        "found = client.get_collection('texts').query(query_texts=sys.argv[2:], n_results=3)\n"
        "print(found['ids'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "db"), *QUESTIONS],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(found["ids"])


def test_encoders_that_were_passed_are_passed_again(tmp_path, folder):
    found = fill(connect(tmp_path / "db"), embedding_of(folder)).query(query_texts=QUESTIONS)
    again = connect(tmp_path / "db").get_collection(
        "pictures", embedding_function=embedding_of(folder)
    )
    assert again.query(query_texts=QUESTIONS)["ids"] == found["ids"]


def test_the_configuration_holds_the_folder_the_side_and_digests(tmp_path, sbert, monkeypatch):
    folder = remembering(tmp_path / "adapter", sbert)
    monkeypatch.chdir(tmp_path)
    embedding = AlignEmbeddingFunction("adapter", side="source")
    config = embedding.get_config()
    assert (config["adapter"], config["side"]) == (str(folder), "source")
    again = AlignEmbeddingFunction.build_from_config(config)
    assert again.get_config() == config
    assert np.array_equal(again(QUESTIONS), embedding(QUESTIONS))


def test_a_collection_is_opened_with_the_adapter_encoders_and_side_that_filled_it(tmp_path, folder):
    client = connect(tmp_path / "db")
    fill(client, embedding_of(folder))
    assert open_collection(client, "pictures", embedding_of(folder)).count() == 40
    world.plain_adapter().save(tmp_path / "other")
    others = [
        embedding_of(tmp_path / "other"),
        embedding_of(folder, side="source"),
        AlignEmbeddingFunction(folder, source=align.CallableEncoder(len, name="n", dim=12)),
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"'pictures' must be opened with what filled it"):
            open_collection(client, "pictures", other)


def test_a_replaced_adapter_is_refused_by_the_collection_that_remembers_it(tmp_path, sbert):
    folder = remembering(tmp_path / "adapter", sbert)
    client = connect(tmp_path / "db")
    collection = client.create_collection(
        "texts", embedding_function=AlignEmbeddingFunction(folder)
    )
    collection.add(ids=["a"], documents=QUESTIONS[:1])
    encoder = align.TextEncoder(str(sbert))
    rows = torch.randn(50, encoder.dim, generator=torch.Generator().manual_seed(1))
    other = rcca(rows, rows.flip(0))
    Adapter(other.source_map, other.target_map, align.load(folder).card).save(folder)
    with pytest.raises(ValueError, match="must be the one that the stored vectors came from"):
        connect(tmp_path / "db").get_collection("texts").query(query_texts=QUESTIONS)


def test_chroma_warns_of_a_space_that_would_rank_otherwise(tmp_path, folder):
    with pytest.warns(UserWarning, match="space cosine is not supported by isthmus"):
        connect(tmp_path / "db").create_collection(
            "pictures",
            embedding_function=embedding_of(folder),
            configuration={"hnsw": {"space": "cosine"}},
        )


def test_wrong_sides_and_missing_encoders_are_refused(folder):
    with pytest.raises(ValueError, match=r"side must be .* got 'pictures'"):
        embedding_of(folder, side="pictures")
    with pytest.raises(ValueError, match="the target encoder must be known"):
        AlignEmbeddingFunction(folder, source=TEXTS)([np.zeros((2, 2, 3), dtype=np.uint8)])


@pytest.mark.parametrize("space", ["ip", "cosine", "l2"])
def test_a_collection_of_ones_own_gives_inner_products(tmp_path, space):
    adapter, source, target = world.planted(corrected=False)
    collection = connect(tmp_path / "db").create_collection(
        "own", embedding_function=None, configuration={"hnsw": {"space": space}}
    )
    collection.add(
        ids=[str(row) for row in range(world.N)], embeddings=adapter.gallery(target).numpy()
    )
    ids, scores = chroma_search(collection)(adapter.queries(source).numpy(), 10)
    best = world.ranked(adapter, source, target, 10)
    assert ids == [[str(row) for row in rows] for rows in best.indices.tolist()]
    np.testing.assert_allclose(scores, best.values.numpy(), atol=1e-5)


def test_short_answers_are_padded_and_corrected_queries_refused_by_cosine(tmp_path):
    client = connect(tmp_path / "db")
    for space in ("ip", "cosine"):
        collection = client.create_collection(
            f"own-{space}", embedding_function=None, configuration={"hnsw": {"space": space}}
        )
        collection.add(ids=["a", "b"], embeddings=np.eye(2, dtype=np.float32))
    ids, scores = chroma_search(client.get_collection("own-ip"))(np.eye(2, dtype=np.float32), 3)
    assert ids == [["a", "b", None], ["b", "a", None]]
    assert scores.tolist() == [[1.0, 0.0, -np.inf]] * 2
    with pytest.raises(ValueError, match="ranks by cosine, which is the inner product for"):
        chroma_search(collection)(torch.ones(1, 2).numpy(), 1)
