"""The embedding store: every item encoded once, every vector right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from align.data.multi_vector import MultiVector
from align.encoders.cache.store import EmbeddingStore, item_key
from tests.helpers.counting_encoder import CountingEncoder, vectors

WORDS = [f"item {i}" for i in range(25)]


def held(root):
    """What a store has of anything."""
    return EmbeddingStore(root).stat()


@pytest.fixture
def encoder():
    return CountingEncoder()


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "store", batch=10)


def test_the_first_pass_encodes_everything_in_batches_and_the_second_nothing(store, encoder):
    first = store.encode(encoder, WORDS)
    assert [len(batch) for batch in encoder.batches] == [10, 10, 5]
    second = store.encode(encoder, WORDS)
    assert len(encoder.items) == 25
    assert torch.equal(first, vectors(WORDS))
    assert torch.equal(second, first)
    assert first.dtype == torch.float32


def test_another_store_object_reads_what_the_first_wrote(store, encoder):
    store.encode(encoder, WORDS)
    fresh = CountingEncoder()
    assert torch.equal(EmbeddingStore(store.root).encode(fresh, WORDS[::-1]), vectors(WORDS[::-1]))
    assert fresh.items == []


def test_ten_thousand_items_and_a_hundred_new_ones_cost_one_pass_and_a_hundred(tmp_path, encoder):
    known = [str(i) for i in range(10_000)]
    store = EmbeddingStore(tmp_path)
    store.encode(encoder, known)
    assert len(encoder.items) == 10_000
    encoder.batches.clear()
    new = [f"new {i}" for i in range(100)]
    found = EmbeddingStore(tmp_path).encode(encoder, new + known)
    assert encoder.items == new
    assert torch.equal(found, vectors(new + known))


def test_an_item_that_repeats_within_a_call_is_encoded_once(store, encoder):
    found = store.encode(encoder, ["a", "b", "a", "a"])
    assert encoder.items == ["a", "b"]
    assert torch.equal(found, vectors(["a", "b", "a", "a"]))


def test_no_items_give_an_empty_matrix(store, encoder):
    assert store.encode(encoder, []).shape == (0, 4)
    assert len(store.encode_tokens(encoder, [])) == 0
    assert held(store.root) == []


def test_tokens_are_kept_packed_and_apart_from_pooled_vectors(store, encoder):
    words = ["a", "four", "seventh", "a"]
    store.encode(encoder, words)
    encoder.batches.clear()
    found = store.encode_tokens(encoder, words)
    assert encoder.items == ["a", "four", "seventh"]
    wanted = CountingEncoder().encode_tokens(words)
    assert torch.equal(found.tokens, wanted.tokens)
    assert found.offsets.tolist() == [0, 1, 5, 12, 13]
    again = EmbeddingStore(store.root).encode_tokens(encoder, ["seventh"])
    assert torch.equal(again.tokens, wanted[2])
    assert len(encoder.items) == 3


def test_the_result_does_not_share_memory_with_the_file(store, encoder):
    store.encode(encoder, ["a"])[:] = 0
    store.encode_tokens(encoder, ["abc"]).tokens[:] = 0
    assert torch.equal(store.encode(encoder, ["a"]), vectors(["a"]))
    assert store.encode_tokens(encoder, ["abc"]).tokens.all()


@pytest.mark.parametrize("method", ["encode", "encode_tokens"])
def test_encoders_whose_fingerprints_differ_at_the_end_share_nothing(store, method):
    """However long they are, and in tokens as in pooled vectors."""
    encoders = [CountingEncoder("text-model-" * 40 + end) for end in ("1", "2", "")]
    for encoder in encoders:
        getattr(store, method)(encoder, ["four"])
        assert encoder.items == ["four"]
    assert {entry.fingerprint for entry in store.stat()} == {e.fingerprint for e in encoders}


def test_encoders_with_different_fingerprints_share_nothing(store):
    one, other = CountingEncoder("model/one"), CountingEncoder("model:one")
    store.encode(one, ["a"])
    store.encode(other, ["a"])
    assert other.items == ["a"]
    assert {entry.fingerprint for entry in store.stat()} == {"model/one", "model:one"}


def test_one_bar_counts_the_missing_items(store, encoder, capsys):
    store.encode(encoder, WORDS[:20])
    assert capsys.readouterr().err == ""
    store.encode(encoder, WORDS, progress=True)
    assert "5/5" in capsys.readouterr().err


def test_the_root_may_start_with_a_tilde(monkeypatch, tmp_path, encoder):
    monkeypatch.setenv("HOME", str(tmp_path))
    EmbeddingStore("~/cache").encode(encoder, ["a"])
    assert held(tmp_path / "cache")[0].items == 1


@settings(deadline=None, derandomize=True)
@given(st.text(), st.text())
def test_texts_share_a_key_only_if_they_are_equal(a, b):
    assert (item_key(a, "text") == item_key(b, "text")) == (a == b)


def test_the_same_bytes_in_different_kinds_of_item_have_different_keys(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"a")
    tagged = ["file\0a", "bytes\0a"]
    items = [
        "a",
        *tagged,
        b"a",
        path,
        np.frombuffer(b"a", dtype=np.uint8),
        Image.new("L", (1, 1), ord("a")),
    ]
    assert len({item_key(item, "text") for item in items}) == len(items)


def test_a_file_is_known_by_its_content_and_not_by_its_name(tmp_path):
    for name, content in [("a", b"1"), ("b", b"1"), ("c", b"2")]:
        (tmp_path / name).write_bytes(content)
    a, b, c = (item_key(tmp_path / name, "image") for name in "abc")
    assert a == b != c
    assert item_key(str(tmp_path / "a"), "image") == a


def test_a_file_that_changed_is_encoded_again(store, tmp_path):
    encoder = CountingEncoder(modality="image")
    path = tmp_path / "photos" / "photo.png"
    path.parent.mkdir()
    for content in (b"before", b"before", b"after"):
        path.write_bytes(content)
        store.encode(encoder, [str(path)])
    assert len(encoder.items) == 2


def test_pictures_are_told_apart_by_mode_size_pixels_palette_and_orientation():
    grey = Image.new("L", (2, 3))
    palette = Image.new("P", (2, 3))
    palette.putpalette([1, 2, 3])
    other_palette = Image.new("P", (2, 3))
    other_palette.putpalette([3, 2, 1])
    turned = Image.new("L", (2, 3))
    turned.getexif()[0x0112] = 6
    dotted = Image.new("L", (2, 3))
    dotted.putpixel((0, 0), 1)
    pictures = [grey, Image.new("L", (3, 2)), palette, other_palette, turned, dotted]
    assert len({item_key(picture, "image") for picture in pictures}) == len(pictures)
    assert item_key(grey.copy(), "image") == item_key(grey, "image")


def test_arrays_are_told_apart_by_dtype_shape_and_values_but_not_by_layout():
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    arrays = [x, x.reshape(3, 2), x.view(np.uint32), x + 1]
    assert len({item_key(array, "text") for array in arrays}) == len(arrays)
    assert item_key(np.asfortranarray(x), "text") == item_key(x, "text")


@pytest.mark.parametrize("item", [3, None, ["a"], np.array(["a", None])], ids=repr)
def test_items_without_a_clear_content_are_refused(store, encoder, item):
    with pytest.raises(TypeError, match=r"an item must be a str.*Convert it"):
        store.encode(encoder, ["good", item])
    assert encoder.items == []


def test_a_single_text_is_not_taken_for_its_letters(store, encoder):
    with pytest.raises(TypeError, match="got one str"):
        store.encode(encoder, "abc")


def test_a_missing_file_is_reported_before_anything_is_encoded(store, tmp_path):
    encoder = CountingEncoder(modality="image")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        store.encode(encoder, [str(tmp_path / "nowhere.png")])
    assert encoder.items == []


class Fixed(CountingEncoder):
    """Returns what it is told to."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def encode(self, items, *, progress=False):
        return self.output

    def encode_tokens(self, items, *, progress=False):
        return MultiVector.pack([self.output])


@pytest.mark.parametrize(
    "output",
    [torch.zeros(2, 3), torch.zeros(4), torch.zeros(2, 4, dtype=torch.float64)],
    ids=["narrow", "flat", "double"],
)
def test_vectors_of_the_wrong_shape_or_dtype_are_refused(store, output):
    with pytest.raises(ValueError, match="an encoder must give float32 vectors of width 4"):
        store.encode(Fixed(output), ["a", "b"])
    assert held(store.root) == []


def test_fewer_vectors_than_items_are_refused(store):
    with pytest.raises(ValueError, match="gave 1 for 2 items"):
        store.encode(Fixed(torch.zeros(1, 4)), ["a", "b"])
    with pytest.raises(ValueError, match="gave 1 for 2 items"):
        store.encode_tokens(Fixed(torch.zeros(3, 4)), ["a", "b"])
    assert held(store.root) == []


@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
def test_vectors_that_are_not_finite_are_refused(store, value):
    bad = torch.zeros(2, 4)
    bad[1, 2] = value
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 of 2 rows.*\[1\]"):
        store.encode(Fixed(bad), ["a", "b"])
    assert held(store.root) == []


def test_an_encoder_that_changes_its_width_but_not_its_fingerprint_is_refused(store, encoder):
    store.encode(encoder, ["a"])
    encoder.dim = 8
    with pytest.raises(ValueError, match="width 4 for 'counting', and now the encoder says 8"):
        store.encode(encoder, ["b"])
    assert encoder.items == ["a"]


def test_float16_vectors_are_kept_apart_and_come_back_rounded_as_float32(tmp_path, rng):
    exact = torch.randn(1, 4, generator=rng)
    half = EmbeddingStore(tmp_path, dtype="float16")
    found = half.encode(Fixed(exact), ["a"])
    assert found.dtype == torch.float32
    assert torch.equal(found, exact.half().float())
    assert not torch.equal(found, exact)
    assert torch.equal(EmbeddingStore(tmp_path).encode(Fixed(exact), ["a"]), exact)
    tokens = half.encode_tokens(Fixed(exact), ["a"]).tokens
    assert torch.equal(tokens, exact.half().float())
    assert {(entry.kind, entry.dtype) for entry in half.stat()} == {
        ("pooled", "float16"),
        ("pooled", "float32"),
        ("tokens", "float16"),
    }


def test_values_beyond_float16_are_refused_and_not_stored(tmp_path):
    store = EmbeddingStore(tmp_path, dtype="float16")
    with pytest.raises(ValueError, match=r"up to 65504; the largest here is 70000"):
        store.encode(Fixed(torch.full((1, 4), -70000.0)), ["a"])
    assert held(tmp_path) == []


@pytest.mark.parametrize(("argument", "value"), [("dtype", "int8"), ("batch", 0)])
def test_options_out_of_range_are_refused(tmp_path, argument, value):
    with pytest.raises(ValueError, match=rf"{argument} must be .*got {value!r}"):
        EmbeddingStore(tmp_path, **{argument: value})


def test_writers_that_encode_the_same_items_at_once_do_each_other_no_harm(tmp_path):
    class Interrupted(CountingEncoder):
        def encode(self, items, *, progress=False):
            EmbeddingStore(tmp_path, batch=3).encode(CountingEncoder(), WORDS)
            return super().encode(items)

    store = EmbeddingStore(tmp_path, batch=10)
    assert torch.equal(store.encode(Interrupted(), WORDS), vectors(WORDS))
    fresh = CountingEncoder()
    assert torch.equal(EmbeddingStore(tmp_path).encode(fresh, WORDS), vectors(WORDS))
    assert fresh.items == []
    assert store.stat()[0].items == 25


def test_an_open_store_sees_what_another_one_writes(store, encoder):
    store.encode(encoder, ["a"])
    EmbeddingStore(store.root).encode(CountingEncoder(), ["b"])
    store.encode(encoder, ["a", "b"])
    assert encoder.items == ["a"]


def test_vectors_that_vanish_as_they_are_written_are_an_error(store, encoder, monkeypatch):
    monkeypatch.setattr("align.encoders.cache.store.write", lambda *args, **options: None)
    with pytest.raises(OSError, match="2 of 2 vectors are gone already"):
        store.encode(encoder, ["a", "b"])


def test_an_interruption_says_how_many_items_are_stored(tmp_path):
    class Interrupted(CountingEncoder):
        def encode(self, items, *, progress=False):
            if len(self.items) == 4:
                raise KeyboardInterrupt
            return super().encode(items, progress=progress)

    store = EmbeddingStore(tmp_path / "store", batch=2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        store.encode(Interrupted(), list("abcdefg"))
    (note,) = stopped.value.__notes__
    assert note.startswith("4 of 7 items are stored in ") and "run it again to go on" in note
