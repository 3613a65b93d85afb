"""Pages with a photo and text: what is drawn where, what may be printed, and what a table shows."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.pairs import Pairs
from align.data.token_pairs import TokenPairs
from experiments import document_pages
from experiments.document_pages import (
    BOTH,
    COSINE,
    HEAD,
    KINDS,
    MARGIN,
    ONE,
    PATCHES,
    PHOTO,
    PHOTO_SIZE,
    PHOTO_TOP,
    PRINTED,
    SIDE,
    TEXT,
    TEXT_SIZES,
    TEXT_TOP,
    WHOLE,
    Config,
    Document,
    documents,
    figure,
    is_printed,
    measured,
    page,
    picture_of,
    summarised,
    typeset,
)
from experiments.tasks import Task

TEXTS = (
    "A brown dog runs along the shore .",
    "The dog is wet, and looks at a ball .",
    "An animal at the sea on a sunny day .",
    "Waves behind a dog with a red collar .",
)


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (192, 192), "red").save(path)
    return Document("red.png", "A dog plays on the beach .", TEXTS, path)


def ink(picture, *, above=None, below=None):
    """Whether pixels are other than white, in the rows asked for, (h, w)."""
    return (np.asarray(picture)[above:below] != 255).any(axis=2)


def test_a_page_is_the_same_each_time_and_differs_with_what_is_on_it(document):
    drawn = {kind: np.asarray(picture_of(document, kind)) for kind in (BOTH, TEXT, PHOTO)}
    for kind, pixels in drawn.items():
        assert pixels.shape == (SIDE, SIDE, 3)
        assert np.array_equal(pixels, np.asarray(picture_of(document, kind)))
    assert not np.array_equal(drawn[BOTH], drawn[TEXT])
    assert not np.array_equal(drawn[BOTH], drawn[PHOTO])
    other = dataclasses.replace(document, texts=(*TEXTS[:3], "Waves behind a cat ."))
    assert not np.array_equal(drawn[BOTH], np.asarray(page(other)))
    assert picture_of(document, WHOLE) == document.photo


def test_photo_and_text_have_their_own_room_which_is_white_without_them(document):
    both, text, photo = (picture_of(document, kind) for kind in (BOTH, TEXT, PHOTO))
    end = PHOTO_TOP + PHOTO_SIZE[1]
    assert end <= TEXT_TOP
    assert ink(both, above=PHOTO_TOP, below=end).sum() == PHOTO_SIZE[0] * PHOTO_SIZE[1]
    assert not ink(text, above=PHOTO_TOP, below=TEXT_TOP).any()
    assert ink(text, above=TEXT_TOP).any() and not ink(photo, above=TEXT_TOP).any()
    assert np.array_equal(np.asarray(both)[TEXT_TOP:], np.asarray(text)[TEXT_TOP:])
    assert np.array_equal(np.asarray(both)[:TEXT_TOP], np.asarray(photo)[:TEXT_TOP])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_text_stays_within_the_margins(document, times):
    pixels = ink(
        page(dataclasses.replace(document, texts=tuple(" ".join(TEXTS[:times]) for _ in "1234")))
    )
    assert not pixels[SIDE - MARGIN + 2 :].any()  # tails of letters
    assert not pixels[:, : MARGIN - 2].any() and not pixels[:, SIDE - MARGIN + 2 :].any()


def test_every_word_is_set_in_the_largest_letters_that_have_room():
    size, lines = typeset(TEXTS)
    assert size == TEXT_SIZES[0] and " ".join(lines) == " ".join(TEXTS)
    smaller, more = typeset(TEXTS * 3)
    assert smaller < size and " ".join(more) == " ".join(TEXTS * 3)
    for texts in (TEXTS * 12, ["w" * 200]):
        with pytest.raises(ValueError, match="must have room"):
            typeset(texts)


def test_a_query_is_never_printed(monkeypatch, tmp_path):
    assert is_printed("A dog runs.", ["Here a DOG runs , fast"])
    assert not is_printed("A dog runs.", ["A dog run", "A brown dog runs"])
    asked = ["A dog runs .", "A cat sleeps .", "Two men talk .", "A boat ."]
    captions = [
        [asked[0], *TEXTS],
        [asked[1], "a cat sleeps", *TEXTS[:3]],
        [asked[2], *TEXTS],
        [asked[3], *TEXTS],
    ]
    for name in "abcd":
        (tmp_path / f"{name}.jpg").touch()
    made = Pairs.from_lists(
        [text for each in captions for text in each],
        [tmp_path / f"{name}.jpg" for name in "abcd" for _ in range(5)],
        ids=[f"{name}{at}" for name in "abcd" for at in range(5)],
    )
    monkeypatch.setattr(document_pages, "flickr8k", lambda part, *, captions: made)
    found = documents("dev", 2)
    assert [each.name for each in found] == ["a.jpg", "c.jpg"]
    assert [each.query for each in found] == [asked[0], asked[2]]
    assert not any(is_printed(each.query, each.texts) for each in found)


def planted(n=260):
    """Queries of six factors, and pages of four patches; the mean of a page shows the factors."""
    rng = torch.Generator().manual_seed(0)
    meaning = torch.randn(n, 6, generator=rng)
    shown = meaning @ torch.randn(6, 9, generator=rng)
    patches = shown[:, None] + 0.5 * torch.randn(n, 4, 9, generator=rng)
    pooled = PairedEmbeddings.from_arrays(meaning, patches.mean(dim=1))
    pairs = TokenPairs(pooled, None, MultiVector.from_equal(patches.half()))
    return Task(pairs.take(range(200)), pairs.take(range(200, 260)))


@pytest.fixture(scope="module")
def values():
    return measured(planted(), Config(n=150, draws=2))


@pytest.fixture(scope="module")
def result(values):
    found, verdicts = values
    less = {name: each - 0.25 for name, each in found.items()}
    head = {HEAD: found[ONE][:, :1]}
    printed = {COSINE: found[ONE][:, :1]}
    every = {BOTH: found | head, TEXT: less, PHOTO: less, WHOLE: found, PRINTED: printed}
    return summarised(every, dict.fromkeys(KINDS, verdicts[0]))


def test_planted_pages_are_found_by_one_vector_and_by_several(values):
    found, verdicts = values
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        ONE: (60, 2, 4),
        PATCHES: (60, 2, 4),
    }
    assert all(each[..., 0].mean() > 0.5 for each in found.values())
    assert len(verdicts) == 1 and "chance" in verdicts[0]


def test_gains_are_over_the_same_pages_without_text(result):
    assert result.gallery == 60 and result.chance["recall_at_10"] == pytest.approx(1 / 6)
    gains = {(line.pages, line.system): line.gain for line in result.lines}
    for system in (ONE, PATCHES):
        assert gains.pop((BOTH, system)).value == pytest.approx(0.25)
    assert set(gains.values()) == {None}


def test_table_and_figure_show_every_line(result, monkeypatch, tmp_path):
    content = json.loads(json.dumps({"result": dataclasses.asdict(result)}))
    monkeypatch.setattr(document_pages, "read_record", lambda name: content)
    shown = document_pages.table().splitlines()
    assert len(shown) == 3 + len(result.lines)
    assert shown[2].startswith("| chance |  | 1.7 | 16.7 |")
    assert shown[3].startswith(f"| {BOTH} | {ONE} |") and "25.0 [25.0, 25.0]" in shown[3]
    figure(result, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as drawn:
        assert drawn.size[0] > 500


def test_a_page_says_so_where_nothing_is_recorded(monkeypatch):
    def missing(name):
        raise FileNotFoundError(name)

    monkeypatch.setattr(document_pages, "read_record", missing)
    assert document_pages.table() == "Not recorded yet."
