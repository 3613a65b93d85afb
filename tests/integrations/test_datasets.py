"""Pairs and vectors to and from the installed Hugging Face ``datasets``."""

import numpy as np
import pytest
import torch

import align
from align.data.readers import PairsError
from tests.integrations import world

pytest.importorskip("datasets", reason="needs isthmus[datasets]")

import datasets
from PIL import Image

from align.integrations.datasets import to_paired, to_pairs, with_vectors


@pytest.fixture(autouse=True)
def no_bars():
    datasets.disable_progress_bars()


@pytest.fixture
def photos(tmp_path):
    """Forty questions and pictures, read from files as datasets are loaded."""
    rows = {"question": world.QUESTIONS, "picture": world.PICTURES, "album": [7] * 2 + [*range(38)]}
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "picture": datasets.Image(),
            "album": datasets.Value("int64"),
        }
    )
    made = datasets.Dataset.from_dict(rows, features=features)
    made.save_to_disk(str(tmp_path / "photos"))
    return datasets.load_from_disk(str(tmp_path / "photos"))


def test_pairs_hold_texts_and_decoded_pictures(photos):
    pairs = to_pairs(photos, source="question", target="picture", group="album")
    assert pairs.source == tuple(world.QUESTIONS)
    assert pairs.groups[:3] == ("7", "7", "0") and pairs.ids[:2] == ("0", "1")
    assert all(isinstance(each, Image.Image) for each in pairs.target)
    encoded = pairs.encode(world.questions(), world.pictures())
    assert torch.equal(encoded.source, world.SOURCE[: world.N])
    assert torch.equal(encoded.target, world.TARGET[: world.N])


def test_ids_modalities_and_instructions_come_from_columns():
    made = datasets.Dataset.from_dict(
        {
            "a": ["x", "y"],
            "b": ["def f", "two"],
            "name": ["n1", "n2"],
            "kind": ["code", "text"],
            "task": ["find code", None],
        }
    )
    pairs = to_pairs(
        made, source="a", target="b", id="name", target_modality="kind", instruction="task"
    )
    assert pairs.ids == ("n1", "n2") and pairs.instructions == ("find code", "")
    assert pairs.target_modality == ("code", "text") and pairs.source_modality is None


def test_vectors_become_columns_and_pairs_to_fit(photos):
    questions, pictures = world.questions(), world.pictures()
    both = with_vectors(photos, "question", questions, into="q", batch_size=7)
    both = with_vectors(both, "picture", pictures, into="p", batch_size=16)
    assert both.column_names == ["question", "picture", "album", "q", "p"]
    assert isinstance(both[0]["picture"], Image.Image)
    paired = to_paired(
        both,
        source="q",
        target="p",
        group="album",
        fingerprints=(questions.fingerprint, pictures.fingerprint),
    )
    straight = to_pairs(photos, source="question", target="picture", group="album")
    expected = straight.encode(questions, pictures)
    assert torch.equal(paired.source, expected.source)
    assert torch.equal(paired.target, expected.target)
    assert (paired.ids, paired.groups) == (expected.ids, expected.groups)
    assert paired.source_fingerprint == expected.source_fingerprint
    assert paired.target_fingerprint == expected.target_fingerprint


def test_the_cache_knows_vectors_by_the_encoder_that_made_them(photos):
    calls = []

    def counting(name):
        def function(texts):
            calls.append(name)
            return world.questions().function(texts)

        return align.CallableEncoder(function, name=name, dim=12)

    first = with_vectors(photos, "question", counting("one"), into="q")
    made = len(calls)
    again = with_vectors(photos, "question", counting("one"), into="q")
    assert len(calls) == made > 0 and first._fingerprint == again._fingerprint
    other = with_vectors(photos, "question", counting("two"), into="q")
    assert set(calls[:made]) == {"one"} and set(calls[made:]) == {"two"}
    assert other._fingerprint != first._fingerprint
    np.testing.assert_array_equal(first.with_format("numpy")["q"], other.with_format("numpy")["q"])


def test_a_column_names_the_modality_of_each_item(tmp_path):
    rows = {"item": ["answer 3", "answer 5"], "kind": ["text", "text"]}
    made = datasets.Dataset.from_dict(rows)
    found = with_vectors(made, "item", world.both(), into="v", modality="kind")
    paired = to_paired(found, source="v", target="v")
    assert torch.equal(paired.source, world.both().encode([("text", t) for t in rows["item"]]))


def test_what_is_no_column_or_no_dataset_is_refused(photos):
    with pytest.raises(ValueError, match=r"must be among \['question'.*got \['foto'\]"):
        to_pairs(photos, source="question", target="foto")
    with pytest.raises(TypeError, match=r"one datasets\.Dataset; got a DatasetDict"):
        to_paired(datasets.DatasetDict(train=photos), source="a", target="b")
    with pytest.raises(ValueError, match="'question' is there already"):
        with_vectors(photos, "question", world.questions(), into="question")
    with pytest.raises(ValueError, match="must suit the question encoder"):
        with_vectors(photos, "question", world.pictures(), into="v")


def test_empty_cells_are_named():
    made = datasets.Dataset.from_dict({"a": ["x", None, "z"], "b": ["1", "2", None]})
    with pytest.raises(PairsError, match=r"2 are not.*drop the rows") as caught:
        to_pairs(made, source="a", target="b")
    assert caught.value.problems == ("row 2, a: the cell is empty", "row 3, b: the cell is empty")


@pytest.mark.parametrize("cells", [[[1.0, 2.0], [1.0]], [1.0, 2.0], ["a", "b"]], ids=str)
def test_a_column_that_holds_no_vectors_is_refused(cells):
    made = datasets.Dataset.from_dict({"v": cells})
    with pytest.raises(ValueError, match="column 'v' must hold one vector of numbers per row"):
        to_paired(made, source="v", target="v")
