"""Packed token vectors."""

from __future__ import annotations

import pytest
import torch

from align.multivector import MultiVector


def test_packing_and_iterating_gives_the_items_back(rng):
    items = [torch.randn(t, 4, generator=rng) for t in (3, 1, 7)]
    packed = MultiVector.pack(items)
    assert len(packed) == 3
    assert packed.offsets.tolist() == [0, 3, 4, 11]
    assert packed.lengths.tolist() == [3, 1, 7]
    for i, (item, given) in enumerate(zip(packed, items, strict=True)):
        assert torch.equal(item, given)
        assert torch.equal(packed[i], given)
    assert torch.equal(packed[-1], items[-1])


def test_no_items_are_a_multivector_of_length_zero():
    empty = MultiVector(torch.empty(0, 4), torch.zeros(1, dtype=torch.int64))
    assert len(empty) == 0
    assert list(empty) == []


@pytest.mark.parametrize("item", [2, -3])
def test_an_item_out_of_range_is_refused(item):
    packed = MultiVector.pack([torch.zeros(1, 2), torch.zeros(2, 2)])
    with pytest.raises(IndexError, match=rf"must lie in \[-2, 2\); got {item}"):
        packed[item]


@pytest.mark.parametrize(
    "offsets",
    [[0, 2], [1, 3], [0, 0, 3], [0, 2, 1, 3], []],
    ids=str,
)
def test_offsets_that_do_not_fit_the_tokens_are_refused(offsets):
    with pytest.raises(ValueError, match=r"offsets must be int64.*\(3, 2\) tokens"):
        MultiVector(torch.zeros(3, 2), torch.tensor(offsets, dtype=torch.int64))


def test_offsets_of_another_dtype_are_refused():
    with pytest.raises(ValueError, match=r"torch\.int32"):
        MultiVector(torch.zeros(3, 2), torch.tensor([0, 3], dtype=torch.int32))


@pytest.mark.parametrize("items", [[], [torch.zeros(2, 4), torch.zeros(0, 4)]], ids=len)
def test_packing_nothing_or_an_item_without_tokens_is_refused(items):
    with pytest.raises(ValueError, match="every item needs at least one token"):
        MultiVector.pack(items)


@pytest.mark.parametrize(
    "items", [[torch.zeros(2, 4), torch.zeros(2, 3)], [torch.zeros(4)]], ids=len
)
def test_packing_items_of_several_widths_is_refused(items):
    with pytest.raises(ValueError, match="matrices"):
        MultiVector.pack(items)


def test_multivectors_compare_by_identity_without_an_error():
    a = MultiVector.pack([torch.zeros(2, 4)])
    assert a == a
    assert a != MultiVector.pack([torch.zeros(2, 4)])
