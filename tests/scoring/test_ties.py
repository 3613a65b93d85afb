"""Choices among equals: the lowest place, whatever rounding did."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.scoring.ties import falling_order, first_best, first_largest, first_smallest


def test_of_equals_the_first_is_taken_whichever_rounding_put_ahead():
    values = torch.tensor([[0.1, 0.5, 0.5 + 3e-8, 0.2], [0.1, 0.5 + 3e-8, 0.5, 0.2]])
    assert values.argmax(dim=1).tolist() == [2, 1]
    assert first_largest(values, within=1e-6).tolist() == [1, 1]
    assert first_smallest(-values, within=1e-6).tolist() == [1, 1]


def test_what_differs_by_more_is_told_apart():
    values = torch.tensor([0.5, 0.502, 0.1])
    assert first_largest(values, within=1e-3) == 1
    assert first_smallest(-values, within=1e-3) == 1
    assert first_largest(values, within=1e-2) == 0


def test_entries_that_are_left_out_are_never_the_first():
    values = torch.tensor([[-torch.inf, 0.2, 0.3], [-torch.inf, -torch.inf, 0.3]])
    assert first_largest(values, within=0.5).tolist() == [1, 2]
    assert first_smallest(-values, within=0.5).tolist() == [1, 2]


def test_each_row_may_have_its_own_tolerance():
    values = torch.tensor([[1.0, 1.1], [1.0, 1.1]])
    assert first_largest(values, within=torch.tensor([[0.2], [0.05]])).tolist() == [0, 1]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_noise_below_the_tolerance_changes_no_choice_and_no_order(levels, seed):
    exact = torch.tensor(levels, dtype=torch.float64)
    noise = torch.rand(len(levels), generator=torch.Generator().manual_seed(seed)).double() * 1e-7
    noisy = exact + noise
    assert first_largest(noisy, within=1e-6) == levels.index(max(levels))
    assert first_smallest(noisy, within=1e-6) == levels.index(min(levels))
    assert first_best(noisy.tolist(), within=1e-6) == levels.index(max(levels))
    by_hand = sorted(range(len(levels)), key=lambda place: (-levels[place], place))
    assert falling_order(noisy, within=1e-6).tolist() == by_hand


@pytest.mark.parametrize("scores", [[0.1 + 0.2, 0.3], [0.3, 0.1 + 0.2]])
def test_of_means_that_are_equal_on_paper_the_first_is_the_best(scores):
    assert scores[0] != scores[1] and first_best(scores) == 0
