"""Embedding, retriever and reranker against the installed llama-index-core."""

import asyncio
from io import BytesIO
from pathlib import Path

import pytest
import torch

import align
from align.adapters.closed_form.rcca import rcca
from align.integrations.content import by_adapter
from align.retrieval.hits import Hit
from tests.integrations import world

pytest.importorskip("llama_index.core", reason="needs isthmus[llama-index]")

from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from align.integrations.llama_index import (
    AlignedEmbedding,
    AlignReranker,
    AlignRetriever,
    KeyedCache,
    node_of,
)


def test_inner_products_of_the_embeddings_are_the_scores_of_the_adapter(adapter, embedder):
    model = AlignedEmbedding(embedder, embed_batch_size=7)
    found = torch.tensor(model.get_text_embedding_batch(world.ANSWERS))
    asked = torch.tensor([model.get_query_embedding(text) for text in world.QUESTIONS])
    torch.testing.assert_close(asked @ found.T, world.scores(adapter))
    assert model.get_text_embedding(world.ANSWERS[4]) == pytest.approx(found[4].tolist(), abs=1e-6)


def test_awaited_embeddings_are_the_same(embedder):
    model = AlignedEmbedding(embedder)

    async def all_of_them():
        return (
            await model.aget_query_embedding(world.QUESTIONS[1]),
            await model.aget_text_embedding(world.ANSWERS[1]),
            await model.aget_text_embedding_batch(world.ANSWERS[:3]),
        )

    query, text, texts = asyncio.run(all_of_them())
    assert query == model.get_query_embedding(world.QUESTIONS[1])
    assert text == model.get_text_embedding(world.ANSWERS[1])
    assert texts[1] == pytest.approx(text, abs=1e-6)


def test_pictures_are_embedded_from_files_and_from_bytes(adapter, tmp_path):
    seeing = world.picture_files()
    model = AlignedEmbedding(align.Embedder(adapter, source=world.questions(), target=seeing))
    world.PICTURES[3].save(tmp_path / "3.png")
    expected = adapter.gallery(world.TARGET[3:4])[0].tolist()
    assert model.get_image_embedding(str(tmp_path / "3.png")) == pytest.approx(expected, abs=1e-6)
    data = BytesIO((tmp_path / "3.png").read_bytes())
    assert model.get_image_embedding(data) == pytest.approx(expected, abs=1e-6)
    paths = [str(tmp_path / "3.png")] * 2
    both = asyncio.run(model.aget_image_embedding_batch(paths))
    assert both == [pytest.approx(expected, abs=1e-6)] * 2
    assert asyncio.run(model.aget_image_embedding(paths[0])) == pytest.approx(expected, abs=1e-6)


def test_an_encoder_of_both_modalities_takes_texts_and_pictures():
    targets = torch.cat([world.TARGET, torch.zeros_like(world.TARGET)], dim=1)
    adapter = rcca(world.SOURCE, targets + 1e-3)
    embedder = align.Embedder(adapter, source=world.questions(), target=world.both())
    model = AlignedEmbedding(embedder)
    text = embedder.gallery(world.ANSWERS[:1], modality="text")[0].tolist()
    assert model.get_text_embedding(world.ANSWERS[0]) == text
    data = BytesIO()
    world.PICTURES[5].save(data, format="png")
    image = embedder.gallery(world.PICTURES[5:6], modality="image")[0].tolist()
    assert model.get_image_embedding(data) == image


def test_the_index_of_llama_index_ranks_as_an_adapter_without_correction_does():
    adapter = world.plain_adapter()
    embedder = align.Embedder(adapter, source=world.questions(), target=world.answers())
    nodes = [TextNode(text=text) for text in world.ANSWERS]
    index = VectorStoreIndex(nodes, embed_model=AlignedEmbedding(embedder))
    found = index.as_retriever(similarity_top_k=10).retrieve(world.QUESTIONS[7])
    expected = [world.ANSWERS[row] for row in world.ranking(adapter, 7)[:10]]
    assert [each.node.text for each in found] == expected


def test_the_retriever_gives_hits_as_nodes_of_texts_and_images(adapter):
    retriever = AlignRetriever(world.retriever(adapter), k=12)
    found = retriever.retrieve(world.QUESTIONS[3])
    best = world.ranking(adapter, 3)[:12]
    assert [each.node.node_id for each in found] == [f"id {row}" for row in best]
    for each, row in zip(found, best, strict=True):
        assert each.score == pytest.approx(world.scores(adapter)[3, row].item(), abs=1e-6)
        if row % 2:
            # A path of the metadata is read from the folder of the index.
            folder = Path.cwd() / retriever._searcher.index.folder
            assert isinstance(each.node, ImageNode)
            assert each.node.image_path == str(folder / f"{row}.png")
        else:
            assert each.node.text == world.ANSWERS[row]
    assert asyncio.run(retriever.aretrieve(world.QUESTIONS[3])) == found


def test_a_hit_without_text_or_path_shows_its_id():
    node = node_of(Hit("cat 7", 1.0, "image", {"year": 1999}))
    assert node.text == node.node_id == "cat 7" and node.metadata == {"year": 1999}


def test_whole_numbers_of_a_wrapped_retriever_become_strings():
    found = AlignRetriever(world.wrapped(), k=5).retrieve(world.QUESTIONS[3])
    best = [str(row) for row in world.ranking(world.plain_adapter(), 3)[:5]]
    assert [each.node.node_id for each in found] == [each.node.text for each in found] == best
    assert node_of(Hit(7, 1.0, "image", {"path": "7.png"})).node_id == "7"


def test_a_query_may_be_an_image_but_not_both():
    asked = []

    class Recording:
        def search(self, items, *, k=10):
            asked.extend(items)
            return [[] for _ in items]

    retriever = AlignRetriever(Recording())
    retriever.retrieve(QueryBundle("", image_path="cat.png"))
    assert asked == [Path("cat.png")]
    with pytest.raises(ValueError, match=r"a text or an image; got both, 'a cat' and 'cat.png'"):
        retriever.retrieve(QueryBundle("a cat", image_path="cat.png"))


def some_nodes():
    rows = [9, 4, 31, 0, 22]
    texts = [TextNode(text=world.ANSWERS[row], metadata={"row": row}) for row in rows]
    return rows, [NodeWithScore(node=node, score=0.5) for node in texts]


def test_the_reranker_sorts_by_the_adapter(adapter, embedder):
    rows, nodes = some_nodes()
    reranker = AlignReranker(rescore=by_adapter(embedder), top_n=3)
    found = reranker.postprocess_nodes(nodes, query_str=world.QUESTIONS[22])
    expected = world.scores(adapter)[22, rows].sort(descending=True)
    assert [each.node.metadata["row"] for each in found] == [rows[i] for i in expected.indices[:3]]
    assert [each.score for each in found] == pytest.approx(expected.values[:3].tolist(), abs=1e-6)
    assert {each.score for each in nodes} == {0.5}
    awaited = asyncio.run(reranker.apostprocess_nodes(nodes, query_str=world.QUESTIONS[22]))
    assert awaited == found


def test_the_reranker_scores_the_chosen_field_and_needs_a_query(embedder):
    _, nodes = some_nodes()
    reranker = AlignReranker(
        rescore=by_adapter(embedder), item=lambda node: f"answer {node.metadata['row']}"
    )
    found = reranker.postprocess_nodes(nodes, query_str=world.QUESTIONS[31])
    assert found[0].node.metadata["row"] == 31 and len(found) == 5
    with pytest.raises(ValueError, match="compares nodes with a query; got none"):
        reranker.postprocess_nodes(nodes)
    with pytest.raises(ValueError, match='side must be "source" or "target"'):
        AlignedEmbedding(embedder, documents="nodes")


def word(text):
    """Letters as vectors, for both sides: a query may have the text of a document."""
    return torch.tensor([[text.count(letter) + 0.1 for letter in "abcdefghi"]])


def everything(width):
    def encode(texts):
        rows = torch.cat([word(text) for text in texts])
        return torch.cat([rows, rows[:, : width - 9]], dim=1)

    return align.CallableEncoder(encode, name=f"letters {width}", dim=width)


def same_texts(adapter):
    return align.Embedder(adapter, source=everything(12), target=everything(9))


def models():
    """Embeddings of two adapters, of either side, and of two modalities."""
    plain, corrected = same_texts(world.plain_adapter()), same_texts(world.corrected_adapter())
    return [
        AlignedEmbedding(plain),
        AlignedEmbedding(corrected),
        AlignedEmbedding(plain, documents="source"),
        AlignedEmbedding(plain, modality="code"),
        AlignedEmbedding(align.Embedder(world.plain_adapter(), source=everything(12))),
    ]


def test_settings_differ_where_vectors_may_and_are_equal_where_they_are():
    assert len({str(model.to_dict()) for model in models()}) == 5
    assert [each.to_dict() for each in models()] == [each.to_dict() for each in models()]


def test_an_ingestion_cache_gives_each_adapter_and_side_its_own_vectors():
    cache = IngestionCache()
    texts = ["a bad cab", "high hedge"]
    for _ in range(2):
        for model in models()[:3]:
            pipeline = IngestionPipeline(transformations=[model], cache=cache)
            nodes = pipeline.run(nodes=[TextNode(text=text) for text in texts])
            expected = model.get_text_embedding_batch(texts)
            assert [node.embedding for node in nodes] == expected


def test_a_shared_cache_of_embeddings_keeps_adapters_sides_and_queries_apart():
    store = SimpleKVStore()
    texts = ["a bad cab", "high hedge"]
    for _ in range(2):
        for fresh, model in zip(models()[:3], models()[:3], strict=True):
            model.embeddings_cache = store
            assert model.get_text_embedding_batch(texts) == fresh.get_text_embedding_batch(texts)
            assert model.get_query_embedding(texts[0]) == fresh.get_query_embedding(texts[0])
            assert model.get_text_embedding(texts[0]) == fresh.get_text_embedding_batch(texts)[0]
            query = asyncio.run(model.aget_query_embedding(texts[1]))
            assert query == fresh.get_query_embedding(texts[1])
            text = asyncio.run(model.aget_text_embedding(texts[1]))
            assert text == fresh.get_text_embedding_batch(texts)[1]
    assert len(store.get_all("embeddings")) == 3 * 4


def test_a_cache_of_embeddings_spares_the_encoder():
    calls = []

    def encode(texts):
        calls.extend(texts)
        return torch.cat([word(text) for text in texts])

    target = align.CallableEncoder(encode, name="counted", dim=9)
    embedder = align.Embedder(world.plain_adapter(), source=everything(12), target=target)
    store = SimpleKVStore()
    for _ in range(3):
        model = AlignedEmbedding(embedder, embeddings_cache=store)
        model.get_text_embedding_batch(["abc", "def"])
    assert calls == ["abc", "def"]
    with pytest.raises(TypeError, match="must be a key-value store of LlamaIndex; got a dict"):
        AlignedEmbedding(embedder, embeddings_cache={})


def test_a_keyed_cache_lists_and_removes_only_its_own():
    store = SimpleKVStore()
    ours, others = KeyedCache(store, "one"), KeyedCache(store, "two")
    ours.put("a", {"v": 1})
    others.put("a", {"v": 2})
    asyncio.run(ours.aput("b", {"v": 3}))
    assert ours.get_all() == asyncio.run(ours.aget_all()) == {"a": {"v": 1}, "b": {"v": 3}}
    assert ours.delete("a") and not ours.delete("a") and asyncio.run(ours.adelete("b"))
    assert others.get("a") == asyncio.run(others.aget("a")) == {"v": 2}


def test_the_retriever_filters_and_refuses_scores_that_are_nan():
    searcher = world.retriever(world.plain_adapter())
    found = AlignRetriever(searcher, k=5, where={"modality": "image"}).retrieve("question 3")
    best = [row for row in world.ranking(world.plain_adapter(), 3) if row % 2][:5]
    assert [each.node.node_id for each in found] == [f"id {row}" for row in best]
    with pytest.raises(ValueError, match=r"takes where=.*Wrapped.search takes none"):
        AlignRetriever(world.wrapped(), where={"modality": "image"}).retrieve("question 3")
    with pytest.raises(ValueError, match=r"hit 1, 'b', has NaN"):
        AlignRetriever(world.Broken()).retrieve("question 3")


def test_a_reranker_that_gives_nan_is_refused():
    _, nodes = some_nodes()
    with pytest.raises(ValueError, match=r"1 of 5 scores are NaN, the first at \[2\]"):
        AlignReranker(rescore=world.half_scored).postprocess_nodes(nodes, query_str="question 3")
