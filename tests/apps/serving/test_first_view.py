"""At first a page shows what is in the index, in its own words."""

from __future__ import annotations

import pytest

from align.apps.serving.first_view import (
    caption_field,
    evenly_spaced,
    example_texts,
    missing_pictures,
)
from align.apps.serving.roots import Roots
from align.retrieval.hits import Hit
from align.retrieval.picture_paths import PicturePaths


def items(*held, modality="image"):
    return [Hit(str(row), 0.0, modality, metadata) for row, metadata in enumerate(held)]


@pytest.mark.parametrize(("count", "most"), [(1, 24), (5, 5), (7, 3), (100, 24), (1000, 24)])
def test_a_sample_is_spread_over_the_index_and_always_the_same(count, most):
    held = items(*[{}] * count)
    rows = [int(hit.id) for hit in evenly_spaced(held, most)]
    assert rows == [int(hit.id) for hit in evenly_spaced(held, most)]
    assert len(set(rows)) == min(count, most) and rows == sorted(rows)
    assert min(rows) < count / most + 1 and max(rows) >= count - count / most - 1


def test_captions_come_from_the_field_that_most_items_have():
    held = items({"name": "a", "title": " "}, {"name": "b"}, {"caption": "c"})
    assert caption_field(held, None) == "name"
    assert caption_field(items({"year": 7}, {}), None) is None
    assert caption_field(items({"label": 7, "year": "x"}), None) is None


def test_a_named_field_of_captions_must_be_there():
    held = items({"name": "a", "note": "n"}, {})
    assert caption_field(held, "note") == "note"
    with pytest.raises(ValueError, match=r"none has a text in 'notes'. Choose among \['name'"):
        caption_field(held, "notes")


def test_examples_are_what_the_index_says_of_its_items():
    held = items(*({"name": f"thing {row // 2}"} for row in range(60)))
    found = example_texts(held, "name")
    assert len(set(found)) == 3 and all(text.startswith("thing ") for text in found)
    assert example_texts(items({"name": "x" * 61}, {"name": "y"}), "name")[0] == "an animal"
    assert example_texts(items({}, modality="code"), None)[0] == "read a file line by line"
    assert len(example_texts(items({}, modality=None), None)) == 3


def test_missing_files_are_counted_and_one_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").touch()
    kept = ["photos/1.png", "photos/2.png"]
    paths, roots = PicturePaths.of(tmp_path, kept), Roots.of([tmp_path])
    held = items(*({"path": path} for path in kept), {"text": "no file"})
    said = missing_pictures(held, paths, roots)
    assert said is not None and said.startswith("1 of 2 files of items") and "2.png" in said
    assert missing_pictures(held[:1], paths, roots) is None
    many = items(*({"path": f"photos/{row}.png"} for row in range(5000)))
    assert "of 1,000 files that were looked at" in (missing_pictures(many, paths, roots) or "")
