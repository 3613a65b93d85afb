"""The line under which a match says no more than that of a random text."""

from __future__ import annotations

import math

import pytest

from align.apps.serving.gallery import Question, Scope
from align.apps.serving.weak_matches import TEXTS, line_of, random_texts
from tests.apps.serving.small_gallery import as_bytes, gallery


@pytest.mark.parametrize(("n", "rank"), [(199, 190), (99, 95), (19, 19)])
def test_the_line_is_the_order_statistic_of_split_conformal_prediction(n, rank):
    assert line_of([float(score) for score in range(n, 0, -1)]) == rank


def test_too_few_texts_draw_no_line_that_anything_passes():
    assert line_of([1.0] * 18) == math.inf


def test_one_more_text_passes_the_line_as_often_as_was_said(rng):
    """Of exchangeable scores, on average over lines, at most one in twenty."""
    import torch

    draws = torch.randn(400, TEXTS + 50, generator=rng).exp()
    above = [(row[TEXTS:] > line_of(row[:TEXTS].tolist())).float().mean().item() for row in draws]
    assert sum(above) / len(above) == pytest.approx(0.05, abs=0.004)


def test_random_texts_are_the_same_for_a_seed_and_differ_among_themselves():
    assert random_texts() == random_texts() != random_texts(seed=1)
    assert len(set(random_texts())) == TEXTS and random_texts(3) == random_texts()[:3]


def test_a_text_without_meaning_has_weak_matches_alone_and_a_word_does_not(tmp_path):
    made = gallery(tmp_path)
    nonsense = made.search(Question("text", "xqzv"), k=6)
    assert all(hit.weak for hit in nonsense.hits)
    assert nonsense.line == pytest.approx(nonsense.hits[0].score, abs=2e-5)
    red = made.search(Question("text", "red"), k=6)
    assert not red.hits[0].weak and red.line == nonsense.line
    assert [hit.weak for hit in red.hits] == [hit.score <= red.line for hit in red.hits]


def test_pictures_and_items_have_no_line(tmp_path):
    made = gallery(tmp_path)
    for question in (Question("image", as_bytes("red")), Question("item", "id/red")):
        answer = made.search(question, k=6)
        assert answer.line is None and not any(hit.weak for hit in answer.hits)


def test_every_way_to_search_has_a_line_of_its_own(tmp_path):
    made = gallery(tmp_path, several=True)
    lines = {
        budget: made.search(Question("text", "red"), k=1, scope=Scope(budget=budget)).line
        for budget in (1, 2, 4)
    }
    assert len(set(lines.values())) == 3  # MaxSim adds up over the vectors of a query
