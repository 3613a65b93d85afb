"""Packed token vectors: built, cut and converted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.data.multi_vector import FLOATS, INT8_MAX, MultiVector
from tests.helpers.random_multivectors import LENGTHS, SEEDS, joined, ragged, same, shares


def test_packing_and_iterating_gives_the_items_back(rng):
    items = [torch.randn(t, 4, generator=rng) for t in (3, 1, 7)]
    packed = MultiVector.pack(items)
    assert len(packed) == 3
    assert packed.offsets.tolist() == [0, 3, 4, 11]
    assert packed.lengths.tolist() == [3, 1, 7]
    for i, (item, packed_as) in enumerate(zip(items, packed, strict=True)):
        assert torch.equal(packed_as, item)
        assert torch.equal(packed[i], item)
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


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_point_dtype_is_held_without_scales(dtype):
    held = ragged([2, 1], dtype=dtype)
    assert held.tokens.dtype == dtype
    assert held.scales is None
    assert (held.dim, held.nbytes) == (4, 3 * 4 * dtype.itemsize + 3 * 8)


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (torch.float32, torch.ones(2)),
        (torch.int64, None),
        (torch.int8, None),
        (torch.int8, torch.ones(3)),
        (torch.int8, torch.ones(2, 1)),
        (torch.int8, torch.ones(2, dtype=torch.float64)),
        (torch.int8, torch.tensor([1.0, 0.0])),
        (torch.int8, torch.tensor([1.0, -1.0])),
        (torch.int8, torch.tensor([1.0, float("nan")])),
    ],
    ids=str,
)
def test_tokens_and_scales_that_do_not_fit_each_other_are_refused(dtype, scales):
    tokens, offsets = torch.zeros(3, 4, dtype=dtype), torch.tensor([0, 2, 3])
    with pytest.raises(ValueError, match=r"a positive float32 scale per item; got .* of 2 items"):
        MultiVector(tokens, offsets, scales)


def test_tokens_that_are_no_matrix_are_refused():
    with pytest.raises(ValueError, match=r"offsets must be int64.*\(3,\) tokens"):
        MultiVector(torch.zeros(3), torch.tensor([0, 3]))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), SEEDS, st.booleans())
def test_packing_padded_items_gives_the_items_wherever_the_padding_is(lengths, seed, left):
    packed = ragged(lengths, seed=seed)
    padded = torch.full((len(lengths), max(lengths) + 1, 4), float("nan"))
    mask = torch.zeros(padded.shape[:2], dtype=torch.int64)
    for row, item in enumerate(packed):
        where = slice(-len(item), None) if left else slice(len(item))
        padded[row, where], mask[row, where] = item, 1
    assert same(MultiVector.from_padded(padded, mask), packed)


def test_a_mask_may_leave_out_tokens_in_the_middle():
    tokens = torch.arange(6.0).reshape(1, 3, 2)
    packed = MultiVector.from_padded(tokens, torch.tensor([[True, False, True]]))
    assert packed.tokens.tolist() == [[0.0, 1.0], [4.0, 5.0]]


def test_no_padded_items_are_a_multivector_of_length_zero():
    none = MultiVector.from_padded(torch.zeros(0, 3, 4), torch.zeros(0, 3))
    assert (len(none), none.dim) == (0, 4)


@pytest.mark.parametrize(
    ("tokens", "mask"), [((2, 3), (2, 3)), ((2, 3, 4), (2, 4)), ((2, 3, 4), (3, 2))], ids=str
)
def test_a_mask_of_another_shape_is_refused(tokens, mask):
    with pytest.raises(ValueError, match=rf"with a mask \(n, t\); got \({tokens[0]}, .* and \("):
        MultiVector.from_padded(torch.zeros(tokens), torch.ones(mask))


def test_an_additive_mask_is_refused_and_the_way_out_is_named():
    tokens, additive = torch.zeros(1, 2, 4), torch.tensor([[0.0, float("-inf")]])
    with pytest.raises(ValueError, match=r"only 0 and 1.*from -inf to 0\.0.*mask == 0"):
        MultiVector.from_padded(tokens, additive)
    assert len(MultiVector.from_padded(tokens, additive == 0).tokens) == 1


def test_padded_items_that_keep_nothing_are_refused_by_place():
    mask = torch.tensor([[1, 0], [0, 0], [1, 1], [0, 0]])
    with pytest.raises(ValueError, match=r"2 of 4 keep none, the first at \[1, 3\]"):
        MultiVector.from_padded(torch.zeros(4, 2, 3), mask)


def test_items_of_one_length_are_a_view():
    tokens = torch.arange(30.0).reshape(3, 2, 5)
    packed = MultiVector.from_equal(tokens)
    assert shares(packed.tokens, tokens)
    assert packed.lengths.tolist() == [2, 2, 2]
    assert all(torch.equal(item, rows) for item, rows in zip(packed, tokens, strict=True))


def test_transposed_items_of_one_length_keep_their_meaning():
    tokens = torch.arange(30.0).reshape(2, 3, 5).transpose(0, 1)
    assert torch.equal(MultiVector.from_equal(tokens)[2], tokens[2])


@pytest.mark.parametrize("shape", [(3, 4), (3, 0, 4)], ids=str)
def test_items_of_one_length_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"must be \(n, t, d\) with t >= 1; got \(3, "):
        MultiVector.from_equal(torch.zeros(shape))


@settings(deadline=None, max_examples=50)
@given(LENGTHS, SEEDS, st.integers(-10, 10), st.integers(-10, 10), st.booleans())
def test_a_slice_holds_the_items_that_a_list_would(lengths, seed, start, stop, int8):
    packed = ragged(lengths, seed=seed)
    packed = packed.quantized() if int8 else packed
    items, cut = list(packed)[start:stop], packed[start:stop]
    assert len(cut) == len(items)
    assert all(torch.equal(one, other) for one, other in zip(cut, items, strict=True))


@settings(deadline=None, max_examples=50)
@given(LENGTHS, SEEDS, st.integers(0, 8), st.integers(0, 8), st.booleans())
def test_consecutive_slices_together_are_the_whole(lengths, seed, one, other, int8):
    packed = ragged(lengths, seed=seed)
    packed = packed.quantized() if int8 else packed
    first, second = sorted((one, other))
    assert same(joined([packed[:first], packed[first:second], packed[second:]]), packed)


def test_slices_and_items_share_memory_with_the_whole():
    packed = ragged([2, 1, 3])
    assert shares(packed[1:].tokens, packed.tokens)
    assert shares(packed[2], packed.tokens)
    packed[1:].tokens[0] = 7.0
    assert packed[1].tolist() == [[7.0] * 4]


def test_a_slice_of_int8_items_keeps_their_scales():
    items = MultiVector.pack([torch.ones(1, 2), torch.full((2, 2), 2.0), torch.full((1, 2), 4.0)])
    cut = items.quantized()[1:]
    torch.testing.assert_close(cut.scales, torch.tensor([2.0, 4.0]) / INT8_MAX)
    torch.testing.assert_close(cut[1], torch.full((1, 2), 4.0))


@pytest.mark.parametrize("step", [2, -1])
def test_a_slice_with_a_step_is_refused(step):
    with pytest.raises(ValueError, match=rf"consecutive items; got step {step}. Use take"):
        ragged([1, 2, 3])[::step]


@settings(deadline=None, max_examples=50)
@given(LENGTHS, SEEDS, st.data(), st.booleans())
def test_taking_rows_gives_the_items_of_these_rows(lengths, seed, data, int8):
    packed = ragged(lengths, seed=seed)
    packed = packed.quantized() if int8 else packed
    assert same(packed.take(torch.arange(len(packed))), packed)
    n = len(packed)
    rows = data.draw(st.lists(st.integers(-n, n - 1), max_size=10)) if n else []
    taken = packed.take(torch.tensor(rows, dtype=torch.int64))
    assert len(taken) == len(rows)
    for row, item in zip(rows, taken, strict=True):
        assert torch.equal(item, packed[row])


def test_taking_a_row_that_does_not_exist_is_refused():
    with pytest.raises(IndexError):
        ragged([1, 2]).take(torch.tensor([2]))


@settings(deadline=None, max_examples=50)
@given(LENGTHS, SEEDS, st.integers(1, 8), st.integers(1, 8), st.booleans())
def test_prefixes_are_the_first_tokens_and_nest(lengths, seed, one, other, int8):
    packed = ragged(lengths, seed=seed)
    packed = packed.quantized() if int8 else packed
    cut = packed.prefix(one)
    for item, whole in zip(cut, packed, strict=True):
        assert torch.equal(item, whole[:one])
    assert same(cut.prefix(other), packed.prefix(min(one, other)))
    assert same(packed[1:].prefix(one), cut[1:])


def test_a_budget_that_no_item_exceeds_copies_nothing():
    packed = ragged([2, 1, 3])
    assert packed.prefix(3) is packed
    assert packed.prefix(2) is not packed


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_below_one_is_refused(budget):
    with pytest.raises(ValueError, match=rf"budget must be finite and at least 1; got {budget}"):
        ragged([2]).prefix(budget)


def test_gradients_reach_the_tokens_that_are_used_and_no_others():
    tokens = torch.ones(5, 2, requires_grad=True)
    packed = MultiVector(tokens, torch.tensor([0, 3, 5]))
    packed.prefix(2).take(torch.tensor([0, 0])).tokens.sum().backward()
    assert tokens.grad[:, 0].tolist() == [2.0, 2.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_another_dtype_rounds_tokens_and_keeps_items(dtype):
    packed = ragged([2, 1])
    cast = packed.to(dtype=dtype)
    assert torch.equal(cast.tokens, packed.tokens.to(dtype))
    assert torch.equal(cast.offsets, packed.offsets)


def test_the_dtype_and_device_at_hand_copy_nothing():
    packed = ragged([2, 1])
    assert shares(packed.to(dtype=torch.float32, device=torch.device("cpu")).tokens, packed.tokens)
    int8 = packed.quantized()
    assert same(int8.to(device=torch.device("cpu")), int8)


def test_int8_tokens_are_scaled_when_a_dtype_is_named():
    codes = torch.tensor([[1, -2], [3, 0], [127, 4]], dtype=torch.int8)
    packed = MultiVector(codes, torch.tensor([0, 2, 3]), torch.tensor([0.5, 2.0]))
    wide = packed.to(dtype=torch.float32)
    assert wide.tokens.tolist() == [[0.5, -1.0], [1.5, 0.0], [254.0, 8.0]]
    assert wide.scales is None
    assert [item.tolist() for item in packed] == [item.tolist() for item in wide]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool], ids=str)
def test_a_dtype_without_fractions_is_refused(dtype):
    with pytest.raises(ValueError, match=rf"dtype must be one of .*; got {dtype}. Use quantized"):
        ragged([2]).to(dtype=dtype)
