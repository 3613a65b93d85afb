"""Embeddings, retriever and reranker against the installed langchain-core."""

import asyncio

import pytest
import torch

import align
from align.adapters.closed_form.rcca import rcca
from align.integrations.content import best_first, by_adapter, by_maxsim
from align.retrieval.hits import Hit
from tests.integrations import world

pytest.importorskip("langchain_core", reason="needs isthmus[langchain]")

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.stores import InMemoryByteStore
from langchain_core.vectorstores import InMemoryVectorStore

from align.integrations.langchain import AlignedEmbeddings, AlignReranker, AlignRetriever


def test_inner_products_of_the_embeddings_are_the_scores_of_the_adapter(adapter, embedder):
    embeddings = AlignedEmbeddings(embedder)
    found = torch.tensor(embeddings.embed_documents(world.ANSWERS))
    asked = torch.tensor([embeddings.embed_query(text) for text in world.QUESTIONS])
    torch.testing.assert_close(asked @ found.T, world.scores(adapter))
    assert embeddings.embed_documents([]) == []


def test_the_sides_change_places(adapter, embedder):
    embeddings = AlignedEmbeddings(embedder, documents="source")
    expected = adapter.gallery(world.SOURCE[:3], side="source").tolist()
    assert embeddings.embed_documents(world.QUESTIONS[:3]) == expected
    assert embeddings.embed_query(world.ANSWERS[5]) == pytest.approx(
        adapter.queries(world.TARGET[5:6], side="target")[0].tolist(), abs=1e-6
    )
    with pytest.raises(ValueError, match='side must be "source" or "target"'):
        AlignedEmbeddings(embedder, documents="images")


def test_pictures_are_documents_too(adapter):
    embedder = align.Embedder(adapter, source=world.questions(), target=world.pictures())
    found = AlignedEmbeddings(embedder).embed_images(world.PICTURES)
    torch.testing.assert_close(torch.tensor(found), adapter.gallery(world.TARGET[: world.N]))
    with pytest.raises(ValueError, match="must suit the target encoder"):
        AlignedEmbeddings(embedder).embed_documents(world.ANSWERS)


def test_the_vector_store_of_langchain_ranks_as_an_adapter_without_correction_does():
    adapter = world.plain_adapter()
    embedder = align.Embedder(adapter, source=world.questions(), target=world.answers())
    store = InMemoryVectorStore.from_texts(world.ANSWERS, AlignedEmbeddings(embedder))
    found = store.as_retriever(search_kwargs={"k": 10}).invoke(world.QUESTIONS[7])
    expected = [world.ANSWERS[row] for row in world.ranking(adapter, 7)[:10]]
    assert [document.page_content for document in found] == expected


def test_the_retriever_gives_hits_as_documents(adapter):
    retriever = AlignRetriever(searcher=world.retriever(adapter), k=12)
    found = retriever.invoke(world.QUESTIONS[3])
    best = world.ranking(adapter, 3)[:12]
    assert [document.id for document in found] == [f"id {row}" for row in best]
    for document, row in zip(found, best, strict=True):
        hit = world.hit(row, document.metadata["score"])
        assert document.page_content == (f"id {row}" if row % 2 else world.ANSWERS[row])
        assert document.metadata == {
            **hit.metadata,
            "score": pytest.approx(world.scores(adapter)[3, row].item(), abs=1e-6),
            "modality": hit.modality,
        }


def test_the_content_of_a_document_can_be_chosen(adapter):
    retriever = AlignRetriever(
        searcher=world.retriever(adapter), k=3, content=lambda hit: hit.id.upper()
    )
    found = retriever.invoke(world.QUESTIONS[3])
    assert [each.page_content for each in found] == [each.id.upper() for each in found]


def test_the_retriever_works_in_a_chain_in_batches_and_awaited(adapter, embedder):
    retriever = AlignRetriever(searcher=world.retriever(adapter), k=4)
    chain = retriever | RunnableLambda(lambda found: [each.id for each in found])
    asked = world.QUESTIONS[:3]
    expected = [[f"id {row}" for row in world.ranking(adapter, at)[:4]] for at in range(3)]
    assert chain.batch(asked) == expected
    assert asyncio.run(chain.abatch(asked)) == expected
    embeddings = AlignedEmbeddings(embedder)
    assert asyncio.run(embeddings.aembed_query(asked[0])) == embeddings.embed_query(asked[0])


def some_documents():
    rows = [9, 4, 31, 0, 22]
    return rows, [Document(world.ANSWERS[row], id=str(row), metadata={"row": row}) for row in rows]


def test_the_reranker_sorts_by_the_adapter_and_changes_no_document(adapter, embedder):
    rows, documents = some_documents()
    reranker = AlignReranker(rescore=by_adapter(embedder), top_n=3)
    found = reranker.compress_documents(documents, world.QUESTIONS[22])
    expected = world.scores(adapter)[22, rows].sort(descending=True)
    assert [each.metadata["row"] for each in found] == [rows[i] for i in expected.indices[:3]]
    assert [each.metadata["relevance_score"] for each in found] == pytest.approx(
        expected.values[:3].tolist(), abs=1e-6
    )
    assert [each.metadata for each in documents] == [{"row": row} for row in rows]
    awaited = asyncio.run(reranker.acompress_documents(documents, world.QUESTIONS[22]))
    assert awaited == found


def test_the_reranker_scores_the_chosen_field_of_a_document(embedder):
    documents = [Document("", metadata={"answer": world.ANSWERS[row]}) for row in (1, 2, 3)]
    reranker = AlignReranker(
        rescore=by_adapter(embedder), item=lambda document: document.metadata["answer"]
    )
    found = reranker.compress_documents(documents, world.QUESTIONS[2])
    assert found[0].metadata["answer"] == world.ANSWERS[2]
    assert len(found) == 3


def test_whole_numbers_of_a_wrapped_retriever_become_strings():
    found = AlignRetriever(searcher=world.wrapped(), k=5).invoke(world.QUESTIONS[3])
    best = [str(row) for row in world.ranking(world.plain_adapter(), 3)[:5]]
    assert [document.id for document in found] == best
    assert [document.page_content for document in found] == best


def test_the_reranker_sorts_by_maxsim(rng):
    tokens = {f"{i}": torch.randn(2 + i, 8, generator=rng) for i in range(4)}

    def encode(texts):
        return [tokens[text] for text in texts]

    documents = [Document(str(i)) for i in range(1, 4)]
    found = AlignReranker(rescore=by_maxsim(encode, encode)).compress_documents(documents, "0")
    exact = {name: rows.double() for name, rows in tokens.items()}
    expected = {i: (exact["0"] @ exact[str(i)].T).amax(1).sum().item() for i in range(1, 4)}
    order = sorted(expected, key=expected.get, reverse=True)
    assert [each.page_content for each in found] == [str(i) for i in order]
    # A sum of maxima may cancel: what float32 loses is a part of the lengths multiplied.
    lengths = {name: rows.norm(dim=1) for name, rows in exact.items()}
    for each, i in zip(found, order, strict=True):
        budget = 8 * torch.finfo(torch.float32).eps * lengths["0"].sum() * lengths[str(i)].max()
        assert abs(each.metadata["relevance_score"] - expected[i]) <= budget


def test_no_documents_stay_none_and_bad_settings_are_refused(embedder):
    assert AlignReranker(rescore=by_adapter(embedder)).compress_documents([], "question 1") == []
    with pytest.raises(ValueError, match="top_n must be finite and at least 1; got 0"):
        best_first(by_adapter(embedder), "question 1", ["answer 1"], top_n=0)
    with pytest.raises(ValueError, match=r"one score per item, shape \(2,\); got \(1, 2\)"):
        best_first(lambda query, items: torch.zeros(1, 2), "q", ["a", "b"], top_n=None)


def test_invoke_takes_another_number_and_a_filter(adapter):
    retriever = AlignRetriever(searcher=world.retriever(adapter), k=12)
    best = [f"id {row}" for row in world.ranking(adapter, 3)]
    pictures = [name for name in best if int(name[3:]) % 2]

    def ids(found):
        return [each.id for each in found]

    asked = world.QUESTIONS[3]
    assert ids(retriever.invoke(asked, k=1)) == best[:1]
    assert ids(asyncio.run(retriever.ainvoke(asked, k=2))) == best[:2]
    assert [ids(each) for each in retriever.batch([asked], k=3)] == [best[:3]]
    assert ids(retriever.bind(k=4).invoke(asked)) == best[:4]
    for word in ("where", "filter"):
        found = retriever.invoke(asked, k=5, **{word: {"modality": "image"}})
        assert ids(found) == pictures[:5]
    only = AlignRetriever(searcher=world.retriever(adapter), k=5, where={"modality": "image"})
    assert ids(only.invoke(asked)) == pictures[:5]
    assert ids(only.invoke(asked, where={})) == best[:5]
    assert ids(asyncio.run(only.ainvoke(asked, k=1, filter={"text": world.ANSWERS[8]}))) == ["id 8"]


def test_what_the_search_cannot_do_is_refused_not_left_out():
    retriever = AlignRetriever(searcher=world.wrapped(), k=5)
    with pytest.raises(ValueError, match=r"takes where=.*Wrapped.search takes none"):
        retriever.invoke("question 3", where={"year": 1999})
    with pytest.raises(ValueError, match="two words for one thing"):
        retriever.invoke("question 3", where={}, filter={})
    with pytest.raises(TypeError, match="search_kwargs"):
        retriever.invoke("question 3", search_kwargs={"k": 1})


def test_metadata_named_like_ours_is_neither_hidden_nor_hides_it():
    class Scored:
        def search(self, items, *, k=10):
            return [[Hit("a", 0.5, "text", {"score": 9.5, "modality": "text"})]]

    with pytest.raises(ValueError, match=r"'score' free, where 0.5 goes; it holds 9.5.*score_key"):
        AlignRetriever(searcher=Scored()).invoke("any")
    [found] = AlignRetriever(searcher=Scored(), score_key="cosine").invoke("any")
    assert found.metadata == {"score": 9.5, "cosine": 0.5, "modality": "text"}


def test_the_modality_in_the_metadata_stays_where_the_search_knows_none():
    class Plain:
        def search(self, items, *, k=10):
            return [
                [
                    Hit("a", 0.5, None, {"modality": "poem"}),
                    Hit("b", 0.5, "text", {"modality": "x"}),
                ]
            ]

    class First(Plain):
        def search(self, items, *, k=10):
            return [super().search(items)[0][:1]]

    [found] = AlignRetriever(searcher=First()).invoke("any")
    assert found.metadata == {"score": 0.5, "modality": "poem"}
    with pytest.raises(ValueError, match="'modality' free, where 'text' goes; it holds 'x'"):
        AlignRetriever(searcher=Plain()).invoke("any")


def test_a_score_of_an_earlier_reranker_is_not_overwritten(embedder):
    _, documents = some_documents()
    reranker = AlignReranker(rescore=by_adapter(embedder))
    once = reranker.compress_documents(documents, world.QUESTIONS[22])
    with pytest.raises(ValueError, match=r"'relevance_score' free.*score_key of AlignReranker"):
        reranker.compress_documents(once, world.QUESTIONS[4])
    twice = AlignReranker(rescore=by_adapter(embedder), score_key="second").compress_documents(
        once, world.QUESTIONS[4]
    )
    assert {"relevance_score", "second"} <= set(twice[0].metadata)


def test_scores_that_are_nan_are_refused():
    _, documents = some_documents()
    with pytest.raises(ValueError, match=r"1 of 5 scores are NaN, the first at \[2\]"):
        AlignReranker(rescore=world.half_scored).compress_documents(documents, "question 3")
    with pytest.raises(ValueError, match=r"hit 1, 'b', has NaN"):
        AlignRetriever(searcher=world.Broken()).invoke("question 3")


def test_the_namespace_tells_adapters_encoders_sides_and_modalities_apart(embedder):
    other = align.Embedder(embedder.adapter, source=world.questions(), target=world.pictures())
    plain = rcca(world.SOURCE, world.TARGET)
    third = align.Embedder(plain, source=world.questions(), target=world.answers())
    found = [
        AlignedEmbeddings(embedder),
        AlignedEmbeddings(other),
        AlignedEmbeddings(third),
        AlignedEmbeddings(embedder, documents="source"),
        AlignedEmbeddings(embedder, modality="code"),
    ]
    assert len({each.namespace for each in found}) == 5
    assert AlignedEmbeddings(embedder).namespace == found[0].namespace


def test_one_cache_gives_each_adapter_its_own_vectors_under_its_namespace():
    classic = pytest.importorskip("langchain_classic.embeddings")
    documents, queries = InMemoryByteStore(), InMemoryByteStore()
    for adapter in (world.plain_adapter(), world.corrected_adapter()) * 2:
        embedder = align.Embedder(adapter, source=world.questions(), target=world.answers())
        embeddings = AlignedEmbeddings(embedder)
        cached = classic.CacheBackedEmbeddings.from_bytes_store(
            embeddings,
            documents,
            namespace=embeddings.namespace,
            query_embedding_cache=queries,
            key_encoder="sha256",
        )
        texts = world.ANSWERS[:3]
        assert cached.embed_documents(texts) == embeddings.embed_documents(texts)
        assert cached.embed_query("question 1") == embeddings.embed_query("question 1")
