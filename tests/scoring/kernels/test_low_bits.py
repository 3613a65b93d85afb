"""Codes of few bits: packed and unpacked as they were, and met as what they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align import _threads
from align.data.multi_vector import MultiVector
from align.scoring.kernels import cpu_blocks, low_bits, reference
from align.scoring.kernels.low_bits import pack, topk, unpack
from tests.helpers.random_multivectors import SEEDS, ragged

BITS = st.sampled_from([1, 2, 4])


def drawn(rows, d, bits, seed=0):
    seeded = torch.Generator().manual_seed(seed)
    return torch.randint(2**bits, (rows, d), generator=seeded, dtype=torch.uint8)


@settings(deadline=None)
@given(rows=st.integers(0, 5), d=st.integers(1, 200), bits=BITS, seed=SEEDS)
def test_unpacking_gives_back_what_was_packed_in_the_fewest_words(rows, d, bits, seed):
    codes = drawn(rows, d, bits, seed)
    words = pack(codes, bits)
    assert words.dtype == torch.int64
    assert words.shape == (rows, -(-d * bits // 64))
    for dtype in (torch.int8, torch.float32):
        out = torch.full((rows, words.shape[1] * 64 // bits), 99).to(dtype)
        unpack(words, out, bits=bits)
        assert torch.equal(out[:, :d], codes.to(dtype))
        assert bool((out[:, d:] == 0).all())


def test_unpacking_fills_a_buffer_with_wider_rows_and_leaves_the_rest():
    words = pack(drawn(7, 96, 2), 2)
    buffer = torch.full((7, 128), 99, dtype=torch.int8)
    unpack(words, buffer[:, :96], bits=2)
    assert torch.equal(buffer[:, :96], drawn(7, 96, 2).to(torch.int8))
    assert bool((buffer[:, 96:] == 99).all())


def test_the_layout_is_that_of_saved_files():
    # The first codes of a row fill the lowest bits of its bytes, the next ones the bits above.
    codes = torch.zeros(1, 16, dtype=torch.uint8)
    codes[0, 0], codes[0, 1], codes[0, 8], codes[0, 15] = 1, 2, 3, 15
    assert pack(codes, 4).tolist() == [[0x31 + (0x02 << 8) + (0xF0 << 56) - 2**64]]
    assert pack(torch.ones(1, 9, dtype=torch.uint8), 1).tolist() == [[0x0101010101010103]]


@pytest.fixture(params=[True, False], ids=["whole numbers", "float32"])
def exact(request, monkeypatch):
    monkeypatch.setattr(low_bits, "multiplies_exactly", lambda d: request.param)


@settings(deadline=None, max_examples=50)
@given(
    asked=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    found=st.lists(st.integers(1, 90), min_size=1, max_size=8),
    bits=BITS,
    words=st.integers(1, 3),
    whole=st.booleans(),
    columns=st.integers(1, 9),
    threads=st.sampled_from([1, 3]),
    seed=SEEDS,
)
def test_scores_are_those_of_the_reference_for_what_codes_mean(
    asked, found, bits, words, whole, columns, threads, seed
):
    d = words * 64 // bits
    codes = drawn(sum(found), d, bits, seed)
    queries = ragged(asked, d=d, seed=seed).quantized()
    scales = torch.rand(len(found), generator=torch.Generator().manual_seed(seed)) + 0.1
    offsets = torch.tensor([0, *found]).cumsum(0)
    means = MultiVector((2 * codes.to(torch.int8) + 1 - 2**bits), offsets, scales)
    exact = reference.maxsim(queries, means)
    k = len(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(low_bits, "multiplies_exactly", lambda d: whole)
        patch.setattr(low_bits, "_QUERIES", 2)
        patch.setattr(cpu_blocks, "_COLUMNS", columns)
        patch.setattr(cpu_blocks, "_TOKEN_BYTES", 1)
        patch.setattr(cpu_blocks, "_SMALL", 0)
        patch.setattr(_threads, "workers", lambda: threads)
        best = topk(queries, pack(codes, bits), offsets, scales, k, bits=bits)
    torch.testing.assert_close(best.values, exact.sort(dim=1, descending=True).values)
    torch.testing.assert_close(best.values, exact.gather(1, best.indices))


def test_of_equal_documents_the_lower_row_comes_first(exact):
    codes = drawn(4, 64, 1).repeat(30, 1)
    queries = ragged([3, 2], d=64).quantized()
    best = topk(queries, pack(codes, 1), torch.arange(0, 121, 4), torch.ones(30), 9, bits=1)
    assert best.indices.tolist() == [[*range(9)]] * 2
    assert bool((best.values == best.values[:, :1]).all())


def test_no_queries_find_nothing():
    none = ragged([], d=64).quantized()
    best = topk(none, pack(drawn(3, 64, 1), 1), torch.arange(4), torch.ones(3), 2, bits=1)
    assert best.values.shape == best.indices.shape == (0, 2)
    assert best.indices.dtype == torch.int64
