"""Packed token vectors: built, cut, converted, quantized, and kept on disk."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from align import atomic
from align.multivector import FLOATS, INT8_MAX, MultiVector

LENGTHS = st.lists(st.integers(1, 6), max_size=8)
SEEDS = st.integers(0, 2**32 - 1)


def ragged(lengths, *, d=4, seed=0, dtype=torch.float32):
    """Random items of these lengths; also of none."""
    drawn = torch.Generator().manual_seed(seed)
    tokens = torch.randn(sum(lengths), d, generator=drawn).to(dtype)
    return MultiVector(tokens, torch.tensor([0, *lengths]).cumsum(0))


def same(one, other):
    """Equal bits, dtypes, offsets and scales."""
    scales = (one.scales, other.scales)
    return (
        one.tokens.dtype == other.tokens.dtype
        and torch.equal(one.tokens, other.tokens)
        and torch.equal(one.offsets, other.offsets)
        and (scales == (None, None) or torch.equal(*scales))
    )


def shares(view, whole):
    return view.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


def joined(parts):
    """Items of several multi-vectors, one after another."""
    lengths = torch.cat([part.lengths for part in parts])
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    scales = None if parts[0].scales is None else torch.cat([part.scales for part in parts])
    return MultiVector(torch.cat([part.tokens for part in parts]), ends, scales)


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


@settings(deadline=None, max_examples=100)
@given(
    LENGTHS,
    SEEDS,
    st.sampled_from(FLOATS),
    st.floats(-30, 30).map(lambda power: 10.0**power),
)
def test_a_quantized_entry_is_off_by_at_most_half_a_scale(lengths, seed, dtype, size):
    size = min(max(size, 1e-6), 1e4) if dtype == torch.float16 else size
    packed = MultiVector(
        (ragged(lengths, seed=seed).tokens.double() * size).to(dtype), ragged(lengths).offsets
    )
    int8 = packed.quantized()
    assert int8.tokens.dtype == torch.int8
    each = torch.repeat_interleave(int8.scales.double(), int8.lengths)[:, None]
    error = (int8.tokens.double() * each - packed.tokens.double()).abs()
    # Codes are chosen in float32, which may take the wrong one of two that are equally near.
    assert bool((error <= 0.5 * (1 + 1e-4) * each).all())


def test_the_largest_entry_of_each_item_becomes_127():
    items = [torch.tensor([[1.0, -4.0], [2.0, 0.0]]), torch.tensor([[0.25, 0.125]])]
    int8 = MultiVector.pack(items).quantized()
    assert int8.tokens.tolist() == [[32, -127], [64, 0], [127, 64]]
    torch.testing.assert_close(int8.scales, torch.tensor([4.0, 0.25]) / INT8_MAX)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), SEEDS)
def test_inner_products_with_int8_are_off_by_at_most_half_a_scale_per_unit_of_query(lengths, seed):
    packed = ragged(lengths, d=16, seed=seed, dtype=torch.float64)
    query = torch.randn(16, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    int8 = packed.quantized()
    for row, (item, whole) in enumerate(zip(int8, packed, strict=True)):
        bound = query.abs().sum() * float(int8.scales[row]) / 2
        assert ((item.double() - whole) @ query).abs().max() <= bound * (1 + 1e-4)


def test_items_of_zeros_get_the_scale_one():
    int8 = MultiVector.pack([torch.zeros(2, 3), torch.ones(1, 3)]).quantized()
    assert float(int8.scales[0]) == 1.0
    assert int8[0].tolist() == [[0.0] * 3] * 2


def test_quantizing_int8_items_again_changes_nothing_and_their_bytes_are_counted():
    int8 = ragged([2, 1]).quantized()
    assert int8.nbytes == 3 * 4 + 3 * 8 + 2 * 4
    assert int8.quantized() is int8


def test_quantized_items_are_quantized_to_themselves_again():
    int8 = ragged([3, 1, 5]).quantized()
    again = int8.to(dtype=torch.float32).quantized()
    assert torch.equal(again.tokens, int8.tokens)
    torch.testing.assert_close(again.scales, int8.scales)


@pytest.mark.parametrize(
    ("dtype", "entry"),
    [
        (torch.float16, 6e-8),  # its smallest
        (torch.float16, 65504.0),  # its largest
        (torch.bfloat16, 3e38),
        (torch.float32, 3.4e38),
        (torch.float32, 1e-37),  # a scale that float32 holds as a subnormal number only
        (torch.float32, 1e-45),
        (torch.float64, 1e39),
        (torch.float64, 1e-300),
    ],
    ids=str,
)
def test_extreme_entries_are_off_by_at_most_half_a_scale(dtype, entry):
    tokens = torch.tensor([[entry, -entry / 3, 0.0]], dtype=torch.float64).to(dtype)
    int8 = MultiVector.pack([tokens]).quantized()
    assert 0 < float(int8.scales[0]) < float("inf")
    error = int8.tokens.double() * int8.scales.double() - tokens.double()
    assert bool((error.abs() <= 0.5 * (1 + 1e-4) * float(int8.scales[0])).all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 1e42])
def test_entries_that_have_no_scale_are_refused_by_place(bad):
    packed = ragged([2, 1, 3], dtype=torch.float64)
    packed.tokens[5, 2] = bad
    with pytest.raises(ValueError, match=r"below 4e40.*1 of 3 items hold .*first at \[2\]"):
        packed.quantized()


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int8], ids=str)
def test_opening_gives_back_what_was_saved_bit_for_bit(dtype, tmp_path):
    packed = ragged([3, 1, 7], d=5)
    packed = packed.quantized() if dtype == torch.int8 else packed.to(dtype=dtype)
    packed.save(tmp_path / "tokens.safetensors")
    assert same(MultiVector.open(tmp_path / "tokens.safetensors"), packed)


def test_special_numbers_survive_the_disk(tmp_path):
    special = torch.tensor([[float("nan"), float("-inf"), -0.0, 1e-45]])
    MultiVector.pack([special]).save(tmp_path / "tokens")
    back = MultiVector.open(tmp_path / "tokens").tokens
    assert torch.equal(back.view(torch.int32), special.view(torch.int32))


def test_saving_a_slice_writes_the_slice_alone(tmp_path):
    packed = ragged([300, 2, 300])
    packed[1:2].save(tmp_path / "tokens")
    assert same(MultiVector.open(tmp_path / "tokens"), packed[1:2])
    assert (tmp_path / "tokens").stat().st_size < 1000


def test_tokens_with_a_gradient_are_saved_as_they_are(tmp_path):
    tokens = torch.ones(2, 3, requires_grad=True)
    MultiVector.pack([tokens]).save(tmp_path / "tokens")
    assert torch.equal(MultiVector.open(tmp_path / "tokens").tokens, tokens.detach())


def sparse_file(path, *, rows, d):
    """One item of zero tokens that takes no room on the disk, as ``save`` would write it."""
    size = rows * d * 4
    header = {
        "__metadata__": {"schema": "isthmus-multivector-1"},
        "offsets": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
        "tokens": {"dtype": "F32", "shape": [rows, d], "data_offsets": [16, 16 + size]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + struct.pack("<2q", 0, rows))
        file.truncate(8 + len(text) + 16 + size)


def resident(kind):
    """Bytes of this process in memory: ``RssAnon`` its own, ``RssFile`` pages of files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(kind))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/self/status")
def test_opening_leaves_tokens_on_disk_until_they_are_read(tmp_path):
    size = 256 * 2**20
    sparse_file(tmp_path / "tokens", rows=size // 256, d=64)
    before = resident("RssAnon"), resident("RssFile")
    packed = MultiVector.open(tmp_path / "tokens")
    assert packed.tokens.shape == (2**20, 64)
    opened = resident("RssAnon"), resident("RssFile")
    assert opened[0] - before[0] < size / 16
    assert opened[1] - before[1] < size / 16
    assert float(packed.tokens[: 2**19].sum()) == 0.0  # one half is read
    read = resident("RssAnon"), resident("RssFile")
    assert read[0] - before[0] < size / 16
    assert read[1] - before[1] > size / 4


def test_opening_nothing_is_refused(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"must be a file that MultiVector.save wrote"):
            MultiVector.open(path)


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_a_truncated_file_is_refused(kept, tmp_path):
    path = tmp_path / "tokens"
    ragged([3, 1]).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"tokens' must be a whole safetensors file; reading it"):
        MultiVector.open(path)


def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path):
    (tmp_path / "tokens").write_text("not one of ours, whatever its name says")
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        MultiVector.open(tmp_path / "tokens")


@pytest.mark.parametrize(
    ("names", "schema"),
    [
        (("tokens", "offsets"), None),
        (("tokens", "offsets"), "another-1"),
        (("tokens",), "isthmus-multivector-1"),
        (("tokens", "offsets", "weights"), "isthmus-multivector-1"),
    ],
    ids=str,
)
def test_a_safetensors_file_of_something_else_is_refused(names, schema, tmp_path):
    held = {name: torch.zeros(2) for name in names}
    save_file(held, tmp_path / "other", metadata=schema and {"schema": schema})
    with pytest.raises(ValueError, match=rf"must have schema 'isthmus-.*got schema .?{schema}"):
        MultiVector.open(tmp_path / "other")


def test_a_file_whose_offsets_do_not_fit_is_refused(tmp_path):
    held = {"tokens": torch.zeros(3, 2), "offsets": torch.tensor([0, 2])}
    save_file(held, tmp_path / "bad", metadata={"schema": "isthmus-multivector-1"})
    with pytest.raises(ValueError, match="offsets must be int64"):
        MultiVector.open(tmp_path / "bad")


def test_a_failed_save_leaves_the_earlier_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "tokens"
    first = ragged([2, 1])
    first.save(path)

    def fails(source, target):
        assert Path(source).stat().st_size > 0 and Path(target) == path
        raise OSError("the disk went away")

    monkeypatch.setattr(atomic.os, "replace", fails)
    with pytest.raises(OSError, match="the disk went away"):
        ragged([5]).save(path)
    assert [each.name for each in tmp_path.iterdir()] == ["tokens"]
    assert same(MultiVector.open(path), first)


def test_saving_makes_the_folder_and_a_file_that_others_may_read_like_any_new_one(tmp_path):
    path = tmp_path / "new" / "tokens"
    ragged([2]).save(str(path))
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int8], ids=str)
def test_no_items_pass_through_everything(dtype, tmp_path):
    none = ragged([], d=3)
    none = none.quantized() if dtype == torch.int8 else none.to(dtype=dtype)
    none.save(tmp_path / "none")
    for same_one in (
        none[:], none.prefix(1), none.take(torch.tensor([], dtype=torch.int64)),
        none.to(device=torch.device("cpu")), MultiVector.open(tmp_path / "none"),
    ):  # fmt: skip
        assert same(same_one, none)
    assert none.dim == 3
    assert none.to(dtype=torch.float16).tokens.dtype == torch.float16
    assert len(none.quantized()) == 0
    with pytest.raises(IndexError, match=r"must lie in \[0, 0\); got 0"):
        none[0]
