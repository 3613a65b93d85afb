"""An adapter as an MTEB model, run by the installed mteb on its own mock tasks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mteb", reason="needs isthmus[mteb]")

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.mocks import mock_tasks
from mteb.models.cache_wrappers import CachedEmbeddingWrapper
from mteb.models.models_protocols import EncoderProtocol
from mteb.types import PromptType
from PIL import Image

from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import InvertedSoftmax
from align.encoders.callable import CallableEncoder
from align.integrations.mteb import AlignEncoder
from align.retrieval.embedder import Embedder
from tests.integrations import world
from tests.integrations.named_encoders import PICTURES, TEXTS, letters

CAPTIONS = [f"caption {row}" for row in range(30)]
IMAGES = [
    Image.fromarray(array)
    for array in np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
]


class PlantedTask(mock_tasks.MockAny2AnyRetrievalT2ITask):
    """Captions ask for pictures; which belong together is drawn at random."""

    def load_data(self, num_proc=None, **kwargs):
        ids = [f"d{row}" for row in range(30)]
        self.dataset = {
            "default": {
                "test": RetrievalSplitData(
                    queries=Dataset.from_dict({"id": CAPTIONS, "text": CAPTIONS}),
                    corpus=Dataset.from_dict({"id": ids, "image": IMAGES}),
                    relevant_docs={name: {own: 1} for name, own in zip(CAPTIONS, ids, strict=True)},
                    top_ranked=None,
                )
            }
        }
        self.data_loaded = True


def model(*, corrected=True, name="isthmus/planted"):
    adapter, _, _ = world.planted(corrected=corrected)
    return AlignEncoder(Embedder(adapter, source=TEXTS, target=PICTURES), name=name)


def run(encoder, task):
    results = mteb.evaluate(encoder, task, cache=None, show_progress_bar=False, co2_tracker=False)
    return results.task_results[0].scores["test"][0]


def encoded(encoder, field, items, prompt, category="t2i"):
    metadata = mock_tasks.MockAny2AnyRetrievalT2ITask.metadata.model_copy()
    metadata.category = category
    return encoder.encode(
        [{field: items[:20]}, {field: items[20:]}],
        task_metadata=metadata,
        hf_split="test",
        hf_subset="default",
        prompt_type=prompt,
    )


def test_recall_of_a_task_is_that_of_the_corrected_gallery():
    encoder = model()
    scores = run(encoder, PlantedTask())
    adapter = encoder.embedder.adapter
    products = adapter.queries(TEXTS.encode(CAPTIONS)) @ adapter.gallery(PICTURES.encode(IMAGES)).T
    ranks = (products >= products.diagonal()[:, None]).sum(dim=1)
    for k in (1, 5, 10):
        assert scores[f"recall_at_{k}"] == pytest.approx(
            (ranks <= k).float().mean().item(), abs=1e-4
        )
    plain = adapter.source(TEXTS.encode(CAPTIONS)) @ adapter.target(PICTURES.encode(IMAGES)).T
    uncorrected = (plain >= plain.diagonal()[:, None]).sum(dim=1)
    assert not torch.equal(ranks, uncorrected)


@pytest.mark.parametrize(
    "task",
    [
        "MockRetrievalTask",
        "MockAny2AnyRetrievalI2TTask",
        "MockRerankingTask",
        "MockSTSTask",
        "MockImageTextPairClassificationTask",
        "MockClassificationTask",
        "MockImageClassificationTask",
    ],
)
def test_mock_tasks_of_texts_and_images_run(task):
    assert 0 <= run(model(), getattr(mock_tasks, task)())["main_score"] <= 1


def test_across_sides_vectors_carry_the_correction():
    encoder = model()
    adapter = encoder.embedder.adapter
    texts, pictures = TEXTS.encode(CAPTIONS), PICTURES.encode(IMAGES)
    ask, answer = PromptType.query, PromptType.document
    assert torch.equal(encoded(encoder, "text", CAPTIONS, ask), adapter.queries(texts))
    assert torch.equal(encoded(encoder, "image", IMAGES, answer), adapter.gallery(pictures))
    backwards = encoded(encoder, "image", IMAGES, ask, "i2t")
    assert torch.equal(backwards, adapter.queries(pictures, side="target"))
    found = encoded(encoder, "text", CAPTIONS, answer, "i2t")
    assert torch.equal(found, adapter.gallery(texts, side="source"))


def test_within_one_side_and_outside_retrieval_vectors_are_plain():
    encoder = model()
    adapter = encoder.embedder.adapter
    texts, pictures = (
        adapter.source(TEXTS.encode(CAPTIONS)),
        adapter.target(PICTURES.encode(IMAGES)),
    )
    for prompt, category in (
        (PromptType.query, "t2t"),
        (PromptType.document, "t2t"),
        (None, "t2i"),
    ):
        assert torch.equal(encoded(encoder, "text", CAPTIONS, prompt, category), texts)
    assert torch.equal(encoded(encoder, "image", IMAGES, None), pictures)
    torch.testing.assert_close(encoder.similarity(texts, pictures), texts @ pictures.T)


def test_where_both_sides_are_of_text_queries_are_sources():
    code = CallableEncoder(letters, name="code 1", dim=12, modality="code")
    sides = torch.randn(2, 60, 12, generator=torch.Generator().manual_seed(0))
    adapter = rcca(sides[0], sides[0] + 0.1 * sides[1])
    encoder = AlignEncoder(Embedder(adapter, source=TEXTS, target=code), name="isthmus/code")
    vectors = TEXTS.encode(CAPTIONS)
    asked = encoded(encoder, "text", CAPTIONS, PromptType.query, "t2t")
    found = encoded(encoder, "text", CAPTIONS, PromptType.document, "t2t")
    assert torch.equal(asked, adapter.queries(vectors))
    assert torch.equal(found, adapter.gallery(vectors))
    assert not torch.equal(asked, found)
    assert encoder.mteb_model_meta.modalities == ["text"]


def test_the_model_says_what_it_is():
    encoder = model()
    about = encoder.mteb_model_meta
    assert isinstance(encoder, EncoderProtocol)
    assert (about.name, about.modalities) == ("isthmus/planted", ["image", "text"])
    assert about.similarity_fn_name.value == "dot"


def test_the_revision_changes_with_the_adapter_and_with_its_encoders():
    def revision(adapter, texts=TEXTS):
        embedder = Embedder(adapter, source=texts, target=PICTURES)
        return AlignEncoder(embedder, name="isthmus/planted").mteb_model_meta.revision

    adapter, _, _ = world.planted(corrected=True)
    seen = [revision(adapter), revision(world.planted(corrected=False)[0])]
    assert revision(world.planted(corrected=True)[0]) == seen[0]
    seen.append(revision(adapter, CallableEncoder(letters, name="letters 2", dim=12)))
    adapter.reference.hubness = InvertedSoftmax(20.0)
    seen.append(revision(adapter))
    adapter.source_map.weight.add_(1e-3)
    seen.append(revision(adapter))
    assert len(set(seen)) == 5


def test_items_that_no_side_takes_are_refused():
    code = CallableEncoder(letters, name="code 1", dim=12, modality="code")
    x = F.normalize(torch.randn(60, 12, generator=torch.Generator().manual_seed(0)), dim=1)
    texts_only = AlignEncoder(Embedder(rcca(x, x), source=TEXTS, target=code), name="a/b")
    with pytest.raises(ValueError, match=r"must be of \['text'\], .* this task has 'image'"):
        encoded(texts_only, "image", IMAGES, PromptType.query)
    with pytest.raises(ValueError, match=r"gives items with \['text', 'image'\]"):
        model().encode(
            [{"text": CAPTIONS, "image": IMAGES}],
            task_metadata=PlantedTask.metadata,
            hf_split="test",
            hf_subset="default",
        )


def test_wrong_names_and_modalities_are_refused():
    for name in ("planted", "/planted", "a/b/c"):
        with pytest.raises(ValueError, match=f'"organisation/model"; got {name!r}'):
            model(name=name)
    adapter, _, _ = world.planted(corrected=False)
    sound = CallableEncoder(letters, name="sound 1", dim=12, modality="audio")
    with pytest.raises(ValueError, match=r"of \['code', 'image', 'text'\]; got \['audio'\]"):
        AlignEncoder(Embedder(adapter, source=sound, target=PICTURES), name="a/b")


def both_of_text():
    """Two languages: questions for sources and answers for targets, and no other texts."""
    adapter, _, _ = world.planted(corrected=True)
    embedder = Embedder(adapter, source=world.questions(), target=world.answers())
    return AlignEncoder(embedder, name="isthmus/bitext")


def bitext(base, columns):
    """A task of two languages, question i with answer i, whatever the order of its columns."""

    class Task(base):
        def load_data(self, num_proc=None, **kwargs):
            texts = dict(zip(columns, (world.QUESTIONS, world.ANSWERS), strict=True))
            data = {"test": Dataset.from_dict(texts)}
            self.dataset = (
                data
                if base is not mock_tasks.MockMultilingualBitextMiningTask
                else {name: data for name in self.hf_subsets}
            )
            self.data_loaded = True

    return Task()


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")
@pytest.mark.parametrize(
    ("base", "columns"),
    [
        (mock_tasks.MockBitextMiningTask, ("sentence1", "sentence2")),
        (mock_tasks.MockMultilingualBitextMiningTask, ("sentence1", "sentence2")),
        (mock_tasks.MockMultilingualParallelBitextMiningTask, ("eng_Latn", "fra_Latn")),
    ],
)
def test_the_columns_of_a_bitext_go_through_their_own_sides(base, columns):
    encoder = both_of_text()
    expected = world.scores(encoder.embedder.adapter).argmax(dim=1)
    accuracy = (expected == torch.arange(world.N)).float().mean().item()
    for _ in range(2):
        assert run(encoder, bitext(base, columns))["accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.5


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")
def test_a_bitext_whose_columns_come_in_the_other_order_is_refused():
    code = CallableEncoder(letters, name="code 1", dim=12, modality="code")
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(0))
    encoder = AlignEncoder(Embedder(rcca(x, x), source=TEXTS, target=code), name="a/b")

    class Turned(mock_tasks.MockBitextMiningTask):
        def load_data(self, num_proc=None, **kwargs):
            texts = {"sentence2": world.ANSWERS, "sentence1": world.QUESTIONS}
            self.dataset = {"test": Dataset.from_dict(texts)}
            self.data_loaded = True

    with pytest.raises(ValueError, match="encoded the queries second"):
        run(encoder, Turned())
    ordered = bitext(mock_tasks.MockBitextMiningTask, ("sentence1", "sentence2"))
    assert run(encoder, ordered)["accuracy"] >= 0


def test_a_bitext_that_failed_begins_with_its_first_column_again():
    encoder = both_of_text()

    def column(texts):
        return encoder.encode(
            [{"text": texts}],
            task_metadata=mock_tasks.MockBitextMiningTask.metadata,
            hf_split="test",
            hf_subset="default",
        )

    column(world.QUESTIONS)
    with pytest.raises(ValueError, match="unknown"):
        column(["unknown"])
    assert torch.equal(column(world.QUESTIONS), encoder.embedder.queries(world.QUESTIONS))
    assert torch.equal(column(world.ANSWERS), encoder.embedder.gallery(world.ANSWERS))


def test_a_language_on_both_sides_needs_to_be_placed():
    def column(encoder, language, texts):
        metadata = mock_tasks.MockMultilingualParallelBitextMiningTask.metadata.model_copy()
        pairs = ("eng_Latn-fra_Latn", "fra_Latn-dan_Latn", "dan_Latn-eng_Latn")
        metadata.eval_langs = {pair: ["eng-Latn", "fra-Latn"] for pair in pairs}
        return encoder.encode(
            [{"text": texts}], task_metadata=metadata, hf_split="test", hf_subset=language
        )

    encoder = both_of_text()
    with pytest.raises(ValueError, match=r"'fra_Latn' on both. Pass AlignEncoder languages="):
        column(encoder, "fra_Latn", world.QUESTIONS)
    embedder = encoder.embedder
    model = AlignEncoder(embedder, name="a/b", languages={"fra": "source", "eng": "target"})
    assert torch.equal(column(model, "eng_Latn", world.ANSWERS), embedder.gallery(world.ANSWERS))
    asked = column(model, "fra_Latn", world.QUESTIONS)
    assert torch.equal(asked, embedder.queries(world.QUESTIONS))
    with pytest.raises(ValueError, match='side must be "source" or "target"'):
        AlignEncoder(embedder, name="a/b", languages={"fra": "left"})


def test_prompts_choose_the_side_of_a_pair_but_bring_no_correction():
    encoder = both_of_text()
    adapter = encoder.embedder.adapter
    metadata = mock_tasks.MockPairClassificationTask.metadata
    for prompt, texts, expected in (
        (PromptType.query, world.QUESTIONS, adapter.source(world.SOURCE[: world.N])),
        (PromptType.document, world.ANSWERS, adapter.target(world.TARGET[: world.N])),
    ):
        found = encoder.encode(
            [{"text": texts}],
            task_metadata=metadata,
            hf_split="test",
            hf_subset="default",
            prompt_type=prompt,
        )
        assert torch.equal(found, expected)


@pytest.mark.filterwarnings("ignore:Dimension file not found:UserWarning")
@pytest.mark.filterwarnings("ignore:No existing files found:UserWarning")
def test_one_folder_of_cached_vectors_serves_two_adapters(tmp_path):
    for corrected in (True, False, True):
        encoder = model(corrected=corrected)
        cached = CachedEmbeddingWrapper(encoder, tmp_path)
        task = PlantedTask()
        assert run(cached, task) == run(encoder, task)
