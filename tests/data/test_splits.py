"""Splits and folds: exact partitions, whole groups, and draws that repeat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from align.data.splits import folds, group_codes, row_index, split_rows, take_split

SETTINGS = settings(deadline=None, derandomize=True)
GROUPS = st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=60)


def split_or_assume(groups, fractions, seed):
    try:
        return split_rows(groups, fractions, seed=seed)
    except ValueError as error:
        assert "every part of a split needs a row" in str(error)
        assume(False)


def test_group_codes_count_groups_by_first_appearance():
    assert group_codes(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 0, 2, 1]


@SETTINGS
@given(GROUPS, st.integers(0, 99), st.sampled_from([[0.2], [0.5], [0.1, 0.3], [0.3, 0.1]]))
def test_a_split_partitions_the_rows_and_keeps_each_group_in_one_part(groups, seed, fractions):
    parts = split_or_assume(groups, fractions, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    owners = [{groups[row] for row in part} for part in parts]
    assert sum(map(len, owners)) == len(set(groups))
    assert all((np.diff(part) > 0).all() for part in parts)


@SETTINGS
@given(GROUPS, st.integers(0, 99))
def test_a_split_depends_on_nothing_but_its_arguments(groups, seed):
    first = split_or_assume(groups, [0.3], seed)
    for a, b in zip(first, split_rows(groups, [0.3], seed=seed), strict=True):
        assert a.tolist() == b.tolist()


@SETTINGS
@given(GROUPS, st.integers(0, 99))
def test_a_part_exceeds_its_share_by_less_than_one_group(groups, seed):
    _, part = split_or_assume(groups, [0.3], seed)
    largest = max(map(groups.count, groups))
    wanted = round(0.3 * len(groups))
    assert wanted <= len(part) < wanted + largest


def test_groups_of_one_row_are_split_into_exact_shares():
    groups = [str(i) for i in range(1000)]
    assert [len(part) for part in split_rows(groups, [0.1, 0.2], seed=3)] == [700, 100, 200]


def test_the_test_rows_stay_when_a_validation_part_is_asked_for():
    groups = [str(i // 3) for i in range(300)]
    _, alone = split_rows(groups, [0.2], seed=7)
    _, _, beside = split_rows(groups, [0.1, 0.2], seed=7)
    assert alone.tolist() == beside.tolist()


def test_another_seed_draws_another_split():
    groups = [str(i) for i in range(100)]
    assert split_rows(groups, [0.5], seed=0)[1].tolist() != (
        split_rows(groups, [0.5], seed=1)[1].tolist()
    )


@pytest.mark.parametrize("fractions", [[0.0], [1.0], [-0.1], [0.5, 0.5]], ids=str)
def test_fractions_that_leave_no_remainder_are_refused(fractions):
    with pytest.raises(ValueError, match=r"fraction must lie in \(0, 1\)"):
        split_rows(["a", "b"], fractions, seed=0)


def test_a_split_with_an_empty_part_is_refused_with_the_sizes_named():
    with pytest.raises(ValueError, match=r"2 rows in 1 groups gave parts of \[0, 2\]"):
        split_rows(["a", "a"], [0.5], seed=0)


@SETTINGS
@given(GROUPS, st.integers(2, 5), st.integers(0, 99))
def test_folds_keep_groups_whole_and_differ_by_at_most_one_group(groups, k, seed):
    assume(len(set(groups)) >= k)
    fold = folds(groups, k, seed=seed)
    assert fold.tolist() == folds(groups, k, seed=seed).tolist()
    assert len(set(zip(groups, fold.tolist(), strict=True))) == len(set(groups))
    sizes = np.bincount(fold, minlength=k)
    assert len(sizes) == k and sizes.min() > 0
    assert sizes.max() - sizes.min() <= max(map(groups.count, groups))


@pytest.mark.parametrize("seed", range(5))
def test_one_large_group_is_balanced_by_the_small_ones(seed):
    groups = ["large"] * 6 + list("abcdef")
    assert np.bincount(folds(groups, 2, seed=seed)).tolist() == [6, 6]


@pytest.mark.parametrize("k", [1, 3])
def test_folds_beyond_the_number_of_groups_are_refused(k):
    with pytest.raises(ValueError, match=rf"folds must lie in \[2, 2\].*got {k}"):
        folds(["a", "b", "b"], k, seed=0)


def test_rows_are_checked_and_given_as_an_array():
    assert row_index([2, 0], 3).tolist() == [2, 0]
    assert row_index([], 3).dtype == np.int64


@pytest.mark.parametrize("rows", [[True, False, True], [0.0, 1.0], [[0], [1]]], ids=str)
def test_masks_fractions_and_matrices_are_no_rows(rows):
    with pytest.raises(ValueError, match="rows must be a flat sequence of integers"):
        row_index(rows, 3)


@pytest.mark.parametrize("rows", [[0, 3], [-1]], ids=str)
def test_rows_outside_the_table_are_refused(rows):
    with pytest.raises(IndexError, match=r"rows must lie in 0 \.\. 2"):
        row_index(rows, 3)


def test_take_split_gives_train_val_test_in_that_order():
    class Rows:
        def __init__(self, rows):
            self.rows = rows

        def take(self, rows, /):
            return Rows(rows)

    groups = [str(i) for i in range(10)]
    sizes = [len(part.rows) for part in take_split(Rows([]), groups, test=0.3, val=0.1, seed=0)]
    assert sizes == [6, 1, 3]
    sizes = [len(part.rows) for part in take_split(Rows([]), groups, test=0.3, val=0.0, seed=0)]
    assert sizes == [7, 3]
