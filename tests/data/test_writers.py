"""Pairs that are written as CSV read back the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from align.data.pairs import Pairs, PairsError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), min_size=1, unique_by=lambda row: row[0]))
def test_texts_read_back_as_they_were(rows):
    ids, source, target, groups = zip(*rows, strict=True)
    pairs = Pairs.from_lists(source, target, ids=ids, groups=groups, side_names=("one", "two"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.csv"
        pairs.to_csv(path)
        columns = {"source": "one", "target": "two", "id": "id", "group": "group"}
        assert Pairs.from_csv(path, **columns, images=[]) == pairs


def test_pictures_modalities_and_instructions_read_back_too(tmp_path):
    near, far = tmp_path / "set" / "photos" / "a.png", tmp_path / "elsewhere" / "b.png"
    for path in (near, far):
        path.parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(path)
    pairs = Pairs.from_lists(
        ["=1+1", "a dog"], [near, far], source_modality=["text", "code"],
        instructions=["", "find it"], side_names=("caption", "image"),
    )  # fmt: skip
    csv = tmp_path / "set" / "pairs.csv"
    pairs.to_csv(csv)
    assert "0,=1+1,photos/a.png,0" in csv.read_text() and str(far) in csv.read_text()
    read = Pairs.from_csv(
        csv, source="caption", target="image", id="id", group="group",
        source_modality="source_modality", instruction="instruction", images=None,
    )  # fmt: skip
    assert read == pairs


def test_what_a_csv_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    pairs = Pairs.from_lists(["a"], [b"bytes"])
    with pytest.raises(TypeError, match="'target' holds bytes"):
        pairs.to_csv(tmp_path / "pairs.csv")
    with pytest.raises(ValueError, match=r"a name that ends in \.csv"):
        Pairs.from_lists(["a"], ["b"]).to_csv(tmp_path / "pairs.tsv")
    named = Pairs.from_lists(["a"], ["b"], side_names=("group", "image"))
    with pytest.raises(PairsError, match="must name each column once"):
        named.to_csv(tmp_path / "pairs.csv")
    assert not list(tmp_path.iterdir())
