"""Pairs and vectors are shown under what people call their sides."""

from __future__ import annotations

import torch

import align
from align.data.panels import paired_panel, pairs_panel

NAMES = ("caption", "image")


def vectors(**more) -> align.PairedEmbeddings:
    return align.PairedEmbeddings.from_arrays(torch.eye(3), torch.eye(3)[:, :2] + 1, **more)


def test_raw_pairs_are_shown_under_the_names_of_their_sides() -> None:
    pairs = align.Pairs.from_lists(
        ["a dog"], ["ein Hund"], source_modality=["text"], side_names=NAMES
    )
    panel = pairs_panel(pairs)
    assert list(panel.tables[0].columns) == ["id", "caption", "image"]
    assert panel.facts == {"caption modalities": "text (1)"}
    usual = pairs_panel(align.Pairs.from_lists(["a dog"], ["ein Hund"]))
    assert list(usual.tables[0].columns) == ["id", "source", "target"]


def test_vectors_are_shown_under_the_names_of_their_sides() -> None:
    [table] = paired_panel(vectors(side_names=NAMES)).tables
    assert [row[0] for row in table.rows] == ["caption", "image"]
    assert "caption → image" in repr(vectors(side_names=NAMES))
    [usual] = paired_panel(vectors()).tables
    assert [row[0] for row in usual.rows] == ["source", "target"]
    assert "source" not in repr(vectors())


def test_a_long_name_of_a_side_is_cut() -> None:
    [table] = paired_panel(vectors(side_names=("x" * 500, "image"))).tables
    assert len(table.rows[0][0]) <= 60
