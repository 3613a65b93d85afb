"""Token embeddings in few bits: what is kept of them, what they find, and their file."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import align
from align._files.codec import Schema
from align._files.tensors import write_tensors
from align.data.multi_vector import FLOATS, MultiVector
from align.scoring import low_bits
from align.scoring.kernels import reference
from align.scoring.low_bits import LowBitVectors
from tests.helpers.flipped import flipped
from tests.helpers.largest_storage import LargestStorage
from tests.helpers.one_thread import one_thread
from tests.helpers.random_multivectors import SEEDS, ragged

EACH = pytest.mark.parametrize("bits", [1, 2, 4])


def clusters(rng, n=300, d=48, t=5):
    """Documents around a few centres, with all the weight on some columns; and queries of them."""
    centres = torch.randn(30, d, generator=rng)
    picked = centres[torch.randint(30, (n, t), generator=rng)]
    tokens = picked + 0.4 * torch.randn(n, t, d, generator=rng)
    tokens = tokens.relu() * torch.linspace(0, 3, d).exp()  # sides of zero and sizes all differ
    documents = MultiVector.from_equal(F.normalize(tokens, dim=2))
    asked = tokens[:40] + torch.randn(40, t, d, generator=rng)
    return MultiVector.from_equal(F.normalize(asked, dim=2)), documents


@pytest.mark.parametrize(("bits", "least"), [(1, 0.55), (2, 0.65), (4, 0.8)])
def test_the_ten_best_by_codes_are_mostly_the_ten_best(rng, bits, least):
    queries, documents = clusters(rng)
    exact = align.topk(queries, documents, 10).indices
    found = LowBitVectors.of(documents, bits=bits)(queries, 10).indices
    assert (found[:, :, None] == exact[:, None]).any(2).float().mean() >= least


@EACH
@pytest.mark.parametrize("kept", ["int8", "float16"])
def test_a_cascade_scores_its_candidates_by_the_vectors_that_were_kept(rng, tmp_path, bits, kept):
    queries, documents = clusters(rng)
    kept = documents.quantized() if kept == "int8" else documents.to(dtype=torch.float16)
    kept.save(tmp_path / "kept")
    mapped = MultiVector.open(tmp_path / "kept")
    first = LowBitVectors.of(kept, bits=bits)
    found = align.cascade(queries, mapped, 10, candidates=100, first=first)
    exact = align.topk(queries, kept, 10)
    shared = (found.indices[:, :, None] == exact.indices[:, None]).any(2).float().mean()
    assert shared >= 0.99
    scores = reference.maxsim(queries, kept)
    torch.testing.assert_close(found.values, scores.gather(1, found.indices))


@EACH
def test_candidates_for_measures_how_many_are_needed(rng, bits):
    queries, documents = clusters(rng)
    first = LowBitVectors.of(documents, bits=bits)
    choice = align.candidates_for(queries, documents, 10, recall=0.95, first=first)
    assert 10 <= choice.candidates < 100
    assert choice.agreement >= 0.95


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    d=st.integers(1, 70),
    bits=st.sampled_from([1, 2, 4]),
    seed=SEEDS,
)
def test_scores_are_maxsim_of_what_codes_stand_for(lengths, d, bits, seed):
    documents, queries = ragged(lengths, d=d, seed=seed), ragged([3, 1], d=d, seed=seed + 1)
    coded = LowBitVectors.of(documents, bits=bits)
    decoded = coded.decoded()
    assert torch.equal(decoded.offsets, documents.offsets)
    found = coded(queries, len(documents))
    exact = reference.maxsim(queries, decoded).gather(1, found.indices)
    # The query is rounded to a 127th of its largest entry.
    norms = decoded.tokens.norm(dim=1).max()
    turned = (queries.tokens @ coded.rotation).abs().max()
    bound = 3 * norms * turned / 254 * d**0.5 * 1.01 + 1e-4
    assert (found.values - exact).abs().max() <= bound


@EACH
def test_the_error_of_rounding_is_that_of_a_normal_distribution(rng, bits):
    # Max 1960, table II: mean square errors of 2, 4 and 16 levels at equal distances.
    expected = {1: 0.3634, 2: 0.1188, 4: 0.01154}[bits]
    documents = MultiVector.from_equal(torch.rand(50, 20, 256, generator=rng) ** 4)
    decoded = LowBitVectors.of(documents, bits=bits).decoded()
    # Tokens of one norm: others share the scale of their item.
    error = (decoded.tokens - documents.tokens).square().sum() / documents.tokens.square().sum()
    assert float(error) == pytest.approx(expected, rel=0.1)


def test_a_rotation_keeps_products_and_bits_of_any_tokens_are_balanced(rng):
    documents = MultiVector.from_equal(torch.rand(60, 7, 96, generator=rng))  # nothing below zero
    coded = LowBitVectors.of(documents, bits=1)
    torch.testing.assert_close(coded.rotation @ coded.rotation.T, torch.eye(96))
    signs = (documents.tokens @ coded.rotation).sign()
    decoded = coded.decoded().tokens @ coded.rotation
    assert torch.equal(decoded.sign(), signs)
    assert 0.3 < (signs > 0).float().mean() < 0.7


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int8], ids=str)
def test_tokens_of_any_dtype_count_as_what_they_stand_for(rng, dtype):
    documents = clusters(rng)[1]
    given = documents.quantized() if dtype == torch.int8 else documents.to(dtype=dtype)
    codes = LowBitVectors.of(given, bits=2).codes
    assert torch.equal(codes, LowBitVectors.of(given.to(dtype=torch.float32), bits=2).codes)


def test_codes_do_not_depend_on_how_many_items_are_rounded_at_a_time(rng, monkeypatch):
    documents = ragged([5, 1, 70, 3, 3], d=33)
    at_once = LowBitVectors.of(documents, bits=4)
    monkeypatch.setattr(low_bits, "_ENTRIES", 100)
    apart = LowBitVectors.of(documents, bits=4)
    torch.testing.assert_close(apart.decoded().tokens, at_once.decoded().tokens)


def test_items_of_zeros_and_of_any_size_are_kept(rng):
    sizes = torch.tensor([0.0, 1e-30, 1.0, 1e15])[:, None, None]
    documents = MultiVector.from_equal(torch.randn(1, 3, 32, generator=rng) * sizes)
    coded = LowBitVectors.of(documents, bits=4)
    decoded = coded.decoded().tokens.view(4, 3, 32)
    assert decoded[0].abs().max() < 1e-36
    for item, size in zip(decoded[1:], sizes[1:], strict=True):
        torch.testing.assert_close(item / size, decoded[2], rtol=1e-3, atol=1e-3)


def test_bytes_are_those_of_the_bits(rng):
    documents = ragged([4, 6], d=128)
    for bits in (1, 2, 4):
        coded = LowBitVectors.of(documents, bits=bits)
        assert coded.codes.nbytes == 10 * 128 * bits // 8
        assert coded.nbytes == coded.codes.nbytes + 3 * 8 + 2 * 4 + 128 * 128 * 4
        assert (len(coded), coded.dim) == (2, 128)


def test_operations_are_those_of_all_products_and_of_turning_the_query():
    coded = LowBitVectors.of(ragged([4, 6], d=8), bits=1)
    assert coded.flops(ragged([3], d=8)) == 2 * 8 * 3 * 10 + 2 * 3 * 64


@EACH
def test_a_collection_on_disk_is_never_unpacked_whole(rng, tmp_path, bits):
    words = torch.randint(-(2**60), 2**60, (400_000, bits), generator=rng)
    offsets, scales = torch.arange(0, 400_001, 50), torch.ones(8000)
    LowBitVectors(words, offsets, scales, torch.eye(64), bits).save(tmp_path / "codes")
    coded = LowBitVectors.open(tmp_path / "codes")
    with one_thread(), LargestStorage() as largest:
        coded(ragged([8] * 5, d=64), 10)
    assert 2**18 < largest.bytes <= 2**23


@EACH
def test_opening_gives_back_what_was_saved(tmp_path, bits):
    coded = LowBitVectors.of(ragged([3, 1, 7], d=5), bits=bits)
    coded.save(tmp_path / "codes.safetensors")
    back = LowBitVectors.open(tmp_path / "codes.safetensors")
    assert back.bits == bits
    for name in ("codes", "offsets", "scales", "rotation"):
        assert torch.equal(getattr(back, name), getattr(coded, name))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "codes"
    LowBitVectors.of(ragged([3, 1], d=5), bits=1).save(path)
    for _ in flipped(path, tries=30):
        with pytest.raises(ValueError, match=r"safetensors file|digest is another|schema"):
            LowBitVectors.open(path)


@pytest.mark.parametrize("change", ["bits", "missing", "extra"])
def test_a_file_that_says_something_else_is_refused(tmp_path, change):
    coded, words = LowBitVectors.of(ragged([3, 1], d=5), bits=1), {"bits": "1"}
    tensors = {name: getattr(coded, name) for name in ("codes", "offsets", "scales", "rotation")}
    if change == "bits":
        words["bits"] = "3"
    elif change == "missing":
        del tensors["scales"]
    else:
        tensors["more"] = coded.scales
    write_tensors(tmp_path / "x", tensors, schema=Schema("isthmus-low-bits", 1), words=words)
    with pytest.raises(ValueError, match=r"must hold \[.*say 1, 2 or 4 bits; got .*Write it again"):
        LowBitVectors.open(tmp_path / "x")


@pytest.mark.parametrize("bits", [0, 3, 8, "2"])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(ValueError, match=r"bits must be 1, 2 or 4; got .*Use int8"):
        LowBitVectors.of(ragged([2]), bits=bits)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_tokens_that_cannot_be_rounded_are_refused_by_place(bad):
    documents = ragged([2, 1, 3])
    documents.tokens[4, 1] = bad
    with pytest.raises(ValueError, match=r"finite .*items 0 to 2 .*first at \[2\]"):
        LowBitVectors.of(documents, bits=1)


def test_tokens_without_width_are_refused():
    with pytest.raises(ValueError, match="at least one dimension; got 0"):
        LowBitVectors.of(MultiVector(torch.empty(2, 0), torch.tensor([0, 2])), bits=1)


def test_parts_that_do_not_fit_are_refused():
    coded = LowBitVectors.of(ragged([3, 1], d=70), bits=1)
    with pytest.raises(ValueError, match=r"codes of 2 bits must be int64 with 3 words"):
        LowBitVectors(coded.codes, coded.offsets, coded.scales, coded.rotation, 2)


def test_queries_that_do_not_fit_are_refused():
    coded = LowBitVectors.of(ragged([3, 1], d=6), bits=1)
    with pytest.raises(ValueError, match=r"width 6, as the codes had; got 7"):
        coded(ragged([1], d=7), 1)
    for n in (0, 3):
        with pytest.raises(ValueError, match=rf"n must .*\[1, 2\], the number of items; got {n}"):
            coded(ragged([1], d=6), n)
    queries = ragged([1], d=6)
    queries.tokens[0, 0] = float("nan")
    with pytest.raises(ValueError, match="must be finite"):
        coded(queries, 1)
