"""Components against the installed Haystack: alone, in pipelines, and through YAML."""

from io import BytesIO
from pathlib import Path

import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from align.retrieval.hits import Hit
from tests.integrations import world

pytest.importorskip("haystack", reason="needs isthmus[haystack]")

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.core.errors import DeserializationError
from haystack.dataclasses import ByteStream
from haystack.document_stores.in_memory import InMemoryDocumentStore

from align.integrations.haystack import (
    AlignedDocumentEmbedder,
    AlignedTextEmbedder,
    AlignRetriever,
)

TRUSTED = ["align.integrations.haystack", "tests.integrations.world"]


@pytest.fixture
def folder(adapter, tmp_path):
    adapter.save(tmp_path / "adapter")
    return str(tmp_path / "adapter")


def png(image):
    data = BytesIO()
    image.save(data, format="png")
    return ByteStream(data.getvalue(), mime_type="image/png")


def test_a_pipeline_with_the_store_of_haystack_ranks_as_the_adapter_does(adapter, folder):
    documents = [Document(content=text) for text in world.ANSWERS]
    embedder = AlignedDocumentEmbedder(folder, encoder=world.answers)
    store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
    store.write_documents(embedder.run(documents)["documents"])
    pipeline = Pipeline()
    pipeline.add_component("text", AlignedTextEmbedder(folder, encoder=world.questions))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=40))
    pipeline.connect("text.embedding", "retriever.query_embedding")
    for row in (0, 7, 31):
        found = pipeline.run({"text": {"text": world.QUESTIONS[row]}})["retriever"]["documents"]
        assert [each.content for each in found] == [
            world.ANSWERS[i] for i in world.ranking(adapter, row)
        ]
        torch.testing.assert_close(
            torch.tensor([each.score for each in found]),
            world.scores(adapter)[row].sort(descending=True).values,
        )
    assert all(document.embedding is None for document in documents)


def test_pictures_are_embedded_from_blobs_and_files(adapter, folder, tmp_path):
    world.PICTURES[4].save(tmp_path / "4.png")
    documents = [
        Document(blob=png(world.PICTURES[3])),
        Document(meta={"file_path": str(tmp_path / "4.png")}),
    ]
    embedder = AlignedDocumentEmbedder(folder, encoder=world.picture_files)
    found = embedder.run(documents)["documents"]
    expected = adapter.gallery(world.TARGET[3:5])
    torch.testing.assert_close(torch.tensor([each.embedding for each in found]), expected)
    with pytest.raises(ValueError, match=r"needs a blob, or a path in meta\[\"file_path\"\]"):
        embedder.run([Document(content="only words")])


def test_an_encoder_of_both_takes_texts_and_pictures_in_one_run(tmp_path):
    targets = torch.cat([world.TARGET, torch.zeros_like(world.TARGET)], dim=1)
    adapter = rcca(world.SOURCE, targets + 1e-3)
    adapter.save(tmp_path / "adapter")
    embedder = AlignedDocumentEmbedder(str(tmp_path / "adapter"), encoder=world.both)
    documents = [Document(content=world.ANSWERS[2]), Document(blob=png(world.PICTURES[3]))]
    found = embedder.run(documents)["documents"]
    empty = torch.zeros(1, 9)
    rows = [
        torch.cat([world.TARGET[2:3], empty], dim=1),
        torch.cat([empty, world.TARGET[3:4]], dim=1),
    ]
    torch.testing.assert_close(
        torch.tensor([each.embedding for each in found]), adapter.gallery(torch.cat(rows))
    )


def test_a_document_without_content_is_refused_and_no_documents_are_none(folder):
    embedder = AlignedDocumentEmbedder(folder, encoder=world.answers)
    assert embedder.run([]) == {"documents": []}
    with pytest.raises(ValueError, match=r"every document needs content.*has none"):
        embedder.run([Document(content="answer 1"), Document(meta={"file_path": "a.png"})])


def test_the_retriever_gives_hits_as_documents():
    adapter = world.plain_adapter()
    retriever = AlignRetriever(world.plain_retriever, k=12)
    found = retriever.run(world.QUESTIONS[3])["documents"]
    best = world.ranking(adapter, 3)[:12]
    assert [each.id for each in found] == [f"id {row}" for row in best]
    for each, row in zip(found, best, strict=True):
        hit = world.hit(row, each.score)
        assert each.content == (None if row % 2 else world.ANSWERS[row])
        assert each.meta == {**hit.metadata, "modality": hit.modality}
        assert each.score == pytest.approx(world.scores(adapter)[3, row].item(), abs=1e-6)
    assert retriever.run(world.QUESTIONS[3], k=2)["documents"] == found[:2]


def test_whole_numbers_of_a_wrapped_retriever_become_strings():
    found = AlignRetriever(world.wrapped, k=5).run(world.QUESTIONS[3])["documents"]
    assert [each.id for each in found] == [
        str(row) for row in world.ranking(world.plain_adapter(), 3)[:5]
    ]


def test_a_pipeline_comes_back_from_yaml_with_its_components(folder):
    pipeline = Pipeline()
    pipeline.add_component("text", AlignedTextEmbedder(folder, encoder=world.questions))
    pipeline.add_component(
        "documents", AlignedDocumentEmbedder(folder, encoder=world.answers, modality="code")
    )
    pipeline.add_component("retriever", AlignRetriever(world.plain_retriever, k=3))
    written = pipeline.dumps()
    assert folder in written and "tests.integrations.world.questions" in written
    again = Pipeline.loads(written, allowed_modules=TRUSTED)
    assert again.dumps() == written
    asked = {
        "text": {"text": world.QUESTIONS[5]},
        "documents": {"documents": [Document(content=world.ANSWERS[5])]},
        "retriever": {"query": world.QUESTIONS[5]},
    }
    assert again.run(asked) == pipeline.run(asked)


def test_what_the_card_names_need_not_be_passed(folder):
    embedder = AlignedTextEmbedder(folder)
    assert AlignedTextEmbedder.from_dict(embedder.to_dict()).to_dict() == embedder.to_dict()
    with pytest.raises(ValueError, match="the source encoder must be known"):
        embedder.run("question 1")


def test_a_function_that_haystack_does_not_trust_is_not_imported(folder):
    pipeline = Pipeline()
    pipeline.add_component("text", AlignedTextEmbedder(folder, encoder=world.questions))
    with pytest.raises(DeserializationError, match="allowlist"):
        Pipeline.loads(pipeline.dumps(), allowed_modules=TRUSTED[:1])


@pytest.mark.parametrize("component", [AlignedTextEmbedder, AlignedDocumentEmbedder])
def test_a_side_that_is_none_is_refused(component):
    with pytest.raises(ValueError, match='side must be "source" or "target"'):
        component("adapter", side="query")


def test_top_k_and_filters_are_those_of_the_run_or_of_the_component():
    adapter = world.plain_adapter()
    best = [f"id {row}" for row in world.ranking(adapter, 3)]
    pictures = [name for name in best if int(name[3:]) % 2]

    def ids(component, **asked):
        return [each.id for each in component.run(world.QUESTIONS[3], **asked)["documents"]]

    is_image = {"field": "meta.modality", "operator": "==", "value": "image"}
    retriever = AlignRetriever(world.plain_retriever, k=7)
    assert ids(retriever, top_k=2) == ids(retriever, k=2) == best[:2]
    assert ids(retriever, filters=is_image) == pictures[:7]
    assert ids(retriever, filters={"modality": "image"}, top_k=3) == pictures[:3]
    named = {
        "operator": "AND",
        "conditions": [
            is_image,
            {
                "operator": "OR",
                "conditions": [
                    {"field": "meta.path", "operator": "in", "value": ["3.png", "5.png"]},
                    {"field": "path", "operator": "==", "value": "7.png"},
                ],
            },
        ],
    }
    assert sorted(ids(retriever, filters=named)) == ["id 3", "id 5", "id 7"]
    only = AlignRetriever(world.plain_retriever, k=7, filters=is_image)
    assert ids(only) == pictures[:7]
    pipeline = Pipeline()
    pipeline.add_component("retriever", only)
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=TRUSTED)
    assert ids(again.get_component("retriever")) == pictures[:7]
    asked = {"query": world.QUESTIONS[3], "top_k": 1, "filters": {}}
    [found] = pipeline.run({"retriever": asked})["retriever"]["documents"]
    assert found.id == best[0]
    with pytest.raises(ValueError, match="top_k and k are two words for one number; got 1 and 2"):
        retriever.run("question 3", k=2, top_k=1)


def test_filters_that_an_index_cannot_look_up_are_refused():
    retriever = AlignRetriever(world.plain_retriever)
    one = {"field": "meta.a", "operator": "==", "value": 1}
    two = {"field": "meta.b", "operator": "==", "value": 1}
    with pytest.raises(ValueError, match=r"must be about one field.*about \['a', 'b'\]"):
        retriever.run("question 3", filters={"operator": "OR", "conditions": [one, two]})
    with pytest.raises(ValueError, match="about metadata; got one about 'content'"):
        AlignRetriever(world.plain_retriever, filters={**one, "field": "content"})
    with pytest.raises(ValueError, match=r"Wrapped.search takes none"):
        AlignRetriever(world.wrapped).run("question 3", filters=one)


def test_an_adapter_may_be_a_path_and_is_written_as_text(folder):
    pipeline = Pipeline()
    pipeline.add_component("text", AlignedTextEmbedder(Path(folder), encoder=world.questions))
    pipeline.add_component("all", AlignedDocumentEmbedder(Path(folder), encoder=world.answers))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=TRUSTED)
    assert again.get_component("text").adapter == again.get_component("all").adapter == folder
    assert again.dumps() == pipeline.dumps()


@pytest.mark.parametrize("component", [AlignedTextEmbedder, AlignedDocumentEmbedder])
def test_a_pipeline_refuses_an_adapter_that_was_replaced(component, tmp_path):
    folder = tmp_path / "adapter"
    world.plain_adapter().save(folder)
    written = component(folder).to_dict()
    component.from_dict(written).warm_up()
    world.corrected_adapter().save(folder)
    assert component(folder).to_dict() != written
    with pytest.raises(ValueError, match="must be the one that the stored vectors came from"):
        component.from_dict(written).warm_up()


def test_a_modality_in_the_metadata_is_neither_hidden_nor_hides_ours():
    class Named:
        def search(self, items, *, k=10):
            return [[Hit("a", 0.5, "text", {"modality": "poem"})]]

    with pytest.raises(ValueError, match="'modality' free, where 'text' goes; it holds 'poem'"):
        AlignRetriever(Named).run("any")


def test_scores_that_are_nan_are_refused():
    with pytest.raises(ValueError, match=r"hit 1, 'b', has NaN"):
        AlignRetriever(world.Broken).run("question 3")
