"""Packed token vectors: quantized, and kept on disk."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from align._files import atomic
from align._files.codec import Schema
from align._files.tensors import write_tensors
from align.data.multi_vector import FLOATS, INT8_MAX, MultiVector
from tests.helpers.flipped import flipped
from tests.helpers.random_multivectors import LENGTHS, SEEDS, ragged, same


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
        "__metadata__": {"schema": "isthmus-multivector-2"},
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
    packed = MultiVector.open(tmp_path / "tokens", check=False)
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
        with pytest.raises(
            FileNotFoundError, match=r"must be a file; (there is none|it is a folder)"
        ):
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
    ],
    ids=str,
)
def test_a_safetensors_file_of_something_else_is_refused(names, schema, tmp_path):
    held = {name: torch.zeros(2) for name in names}
    save_file(held, tmp_path / "other", metadata=schema and {"schema": schema})
    with pytest.raises(ValueError, match=rf"must have schema 'isthmus-.*got .?{schema}"):
        MultiVector.open(tmp_path / "other")


@pytest.mark.parametrize("names", [("tokens",), ("tokens", "offsets", "weights")], ids=str)
def test_a_file_of_other_tensors_is_refused_by_name(names, tmp_path):
    held = {name: torch.zeros(2) for name in names}
    write_tensors(tmp_path / "other", held, schema=Schema("isthmus-multivector", 2), words={})
    with pytest.raises(ValueError, match=r"must hold tokens, offsets and perhaps scales; got \["):
        MultiVector.open(tmp_path / "other")


def test_a_file_whose_offsets_do_not_fit_is_refused(tmp_path):
    held = {"tokens": torch.zeros(3, 2), "offsets": torch.tensor([0, 2])}
    write_tensors(tmp_path / "bad", held, schema=Schema("isthmus-multivector", 2), words={})
    with pytest.raises(ValueError, match="offsets must be int64"):
        MultiVector.open(tmp_path / "bad")


@pytest.mark.parametrize("dtype", [torch.float16, torch.int8], ids=str)
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(dtype, tmp_path):
    packed = ragged([3, 1, 2])
    packed = packed.quantized() if dtype == torch.int8 else packed.to(dtype=dtype)
    path = tmp_path / "tokens"
    packed.save(path)
    refused = 0
    for _ in flipped(path, tries=300):
        try:
            assert same(MultiVector.open(path), packed)
        except ValueError as error:
            assert re.search("Write it again|install a newer version", str(error))
            refused += 1
    assert refused > 250


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
