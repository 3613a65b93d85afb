"""A hit is shown by what it is: a picture, a text, or its name."""

from __future__ import annotations

import pytest

from align.apps.serving.answers import SNIPPET, shown_item
from align.retrieval.hits import Hit


@pytest.mark.parametrize(
    ("modality", "metadata", "picture"),
    [
        ("image", {"path": "a/b.png"}, True),
        ("text|image", {"path": "a/b.png", "text": "a caption"}, True),
        (None, {"path": "a/b.png"}, True),
        (None, {"path": "a/b.txt", "text": "what it says"}, False),
        ("code", {"path": "a/b.py", "text": "pass"}, False),
        ("code", {"path": "a/b.py"}, False),
        ("image", {}, False),
        ("image", {"path": 3}, False),
    ],
)
def test_only_what_may_be_a_picture_has_a_thumbnail(modality, metadata, picture):
    assert shown_item(Hit("1", 0.5, modality, metadata)).picture is picture


def test_an_item_is_named_by_its_file_or_its_id_and_tells_nothing_else():
    found = shown_item(Hit("7", 0.5, "image", {"path": "/home/me/b.png", "secret": "x"}))
    assert found.title == "b.png" and found.text is None and found.id == "7"
    assert "me" not in str(found) and "secret" not in str(found)
    assert shown_item(Hit("7", 0.5)).title == "7"


def test_a_text_of_just_the_length_is_whole():
    assert not shown_item(Hit("1", 0.5, "text", {"text": "a" * SNIPPET})).truncated
    assert shown_item(Hit("1", 0.5, "text", {"text": "a" * (SNIPPET + 1)})).truncated
    assert shown_item(Hit("1", 0.5, "text", {"text": 5})).text is None
