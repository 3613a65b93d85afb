"""Triples differ by the words they say, and the right item is ranked among all others."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from align.data.examples.emoji import emoji_entries
from align.metrics.estimates import MEANS, Estimate
from experiments import composed_queries
from experiments.composed_queries import (
    KINDS,
    SYSTEMS,
    Line,
    Result,
    difference,
    ranks_of,
    triples_of,
)


@pytest.mark.parametrize(
    ("example", "right", "words"),
    [
        ("man running", "woman running", "woman"),
        ("red heart", "light blue heart", "light blue"),
        ("red heart", "red heart", ""),
        ("sun", "moon", ""),  # nothing in common
        ("new moon face", "the very old moon face", ""),  # too much is new
    ],
)
def test_what_is_said_is_what_the_example_lacks(example, right, words):
    assert difference(example, right) == words


def test_triples_are_of_one_group_and_no_group_has_too_many():
    entries = emoji_entries()
    found = triples_of(entries, most=5)
    assert found == triples_of(entries, most=5)
    by_group: dict[str, int] = {}
    for each in found:
        assert each.example.group == each.right.group and each.example.id != each.right.id
        assert set(each.words.split()) <= set(each.right.name["en"].lower().split())
        by_group[each.right.group] = by_group.get(each.right.group, 0) + 1
    assert max(by_group.values()) == 5 and len(by_group) > 50
    assert {each.kind for each in found} == set(KINDS)


def test_the_example_is_left_out_and_ties_count_against_the_right_item():
    first, *rest = emoji_entries()[:4]
    asked = [composed_queries.Triple(first, "words", right) for right in rest]
    place = {each.id: row for row, each in enumerate((first, *rest))}
    scores = torch.tensor([[9.0, 3, 2, 1], [9, 3, 2, 1], [9, 1, 1, 1]])
    assert ranks_of(scores, asked, place).tolist() == [1, 2, 3]


def test_the_page_and_the_figure_show_every_system(monkeypatch, tmp_path):
    estimate = Estimate(0.5, 0.4, 0.6)
    metrics = dict.fromkeys(MEANS, estimate)
    lines = tuple(Line(name, metrics, {"who": estimate}) for name in SYSTEMS)
    counts, chance = dict.fromkeys(KINDS, 7), dict.fromkeys(MEANS, 0.01)
    result = Result(counts, 900, (0.5,), {"0": 0.2, "1": 0.1}, chance, lines)
    content = json.loads(json.dumps({"result": dataclasses.asdict(result)}))
    monkeypatch.setattr(composed_queries, "read_record", lambda name: content)
    shown = composed_queries.table()
    assert all(f"| {name} | 50.0 [40.0, 60.0] |" in shown for name in SYSTEMS)
    assert "| chance | 1.0 |" in shown
    composed_queries.figure(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
