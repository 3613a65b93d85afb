"""Encoders made of others: side by side, or one for each kind of item."""

import pytest
import torch

from align.encoders.cache.store import EmbeddingStore
from align.encoders.composite import ConcatEncoder, MixedEncoder
from tests.helpers.counting_encoder import CountingEncoder, vectors

ITEMS = [("text", "a dog"), ("code", "f()"), ("text", "a cat"), ("code", "a dog")]


@pytest.fixture
def one():
    return CountingEncoder("one")


@pytest.fixture
def two():
    return CountingEncoder("two")


@pytest.fixture
def code():
    return CountingEncoder("code", modality="code")


def test_vectors_stand_side_by_side(one, two):
    both = ConcatEncoder(one, two)
    items = ["a", "b"]
    assert both.encode(items).equal(torch.cat([vectors(items), vectors(items)], dim=1))
    assert (both.modality, both.parts, both.dim) == ("text", (4, 4), 8)


def test_a_mixed_vector_holds_the_block_of_its_modality_and_zeros(one, code):
    mixed = MixedEncoder({"text": one, "code": code})
    found = mixed.encode(ITEMS)
    assert found[[0, 2], :4].equal(vectors(["a dog", "a cat"]))
    assert found[[1, 3], 4:].equal(vectors(["f()", "a dog"]))
    assert not found[[0, 2], 4:].any() and not found[[1, 3], :4].any()
    assert (mixed.modality, mixed.parts, mixed.dim) == ("mixed", (4, 4), 8)


def test_a_modality_without_items_is_not_encoded(one, code):
    found = MixedEncoder({"text": one, "code": code}).encode([("text", "a")])
    assert found.shape == (1, 8) and code.batches == []


def test_the_store_keeps_each_part_under_its_own_encoder(one, two, tmp_path):
    store = EmbeddingStore(tmp_path)
    store.encode(one, ["a", "b"])
    found = store.encode(ConcatEncoder(one, two), ["a", "b", "a"])
    assert found.equal(torch.cat([vectors(["a", "b", "a"])] * 2, dim=1))
    assert (one.items, two.items) == (["a", "b"], ["a", "b"])
    three = CountingEncoder("three")
    store.encode(ConcatEncoder(three, two, one), ["b", "a"])
    assert (one.items, two.items, three.items) == (["a", "b"], ["a", "b"], ["b", "a"])
    assert {each.fingerprint for each in store.stat()} == {"one", "two", "three"}


def test_the_store_keeps_mixed_items_under_the_encoder_of_each(one, code, tmp_path):
    store = EmbeddingStore(tmp_path)
    mixed = MixedEncoder({"text": one, "code": code})
    found = store.encode(mixed, ITEMS)
    assert found.equal(mixed.encode(ITEMS))
    one.batches, code.batches = [], []
    picture = CountingEncoder("picture", modality="sound")
    more = store.encode(MixedEncoder({"text": one, "audio": picture, "code": code}), ITEMS)
    assert one.items == code.items == picture.items == []
    assert more[:, :4].equal(found[:, :4]) and more[:, 8:].equal(found[:, 4:])


def test_a_mixed_encoder_may_hold_encoders_side_by_side(one, two, code, tmp_path):
    mixed = MixedEncoder({"text": ConcatEncoder(one, two), "code": code})
    found = EmbeddingStore(tmp_path).encode(mixed, ITEMS)
    assert mixed.parts == (8, 4) and found.equal(mixed.encode(ITEMS))
    assert found[0, :8].equal(torch.cat([vectors(["a dog"])[0]] * 2))


def test_the_fingerprint_changes_with_the_parts_and_their_order(one, two, code):
    texts = {
        ConcatEncoder(one, two).fingerprint,
        ConcatEncoder(two, one).fingerprint,
        ConcatEncoder(one, two, one).fingerprint,
        MixedEncoder({"text": one, "code": two}).fingerprint,
        MixedEncoder({"code": two, "text": one}).fingerprint,
        MixedEncoder({"text": one, "image": two}).fingerprint,
        MixedEncoder({"text": one, "code": code}).fingerprint,
    }
    assert len(texts) == 7
    again = ConcatEncoder(CountingEncoder("one"), CountingEncoder("two"))
    assert again.fingerprint == ConcatEncoder(one, two).fingerprint


def test_what_cannot_stand_side_by_side_is_refused(one, code):
    with pytest.raises(ValueError, match=r"two or more encoders of one modality; got 1"):
        ConcatEncoder(one)
    with pytest.raises(ValueError, match=r"got 2 of \['code', 'text'\]"):
        ConcatEncoder(one, code)


def test_a_mixed_encoder_names_modalities_and_has_one_for_each_item(one):
    with pytest.raises(ValueError, match="needs an encoder per modality; got none"):
        MixedEncoder({})
    with pytest.raises(ValueError, match=r"a modality is one of text, image.*got 'smell'"):
        MixedEncoder({"smell": one})
    with pytest.raises(ValueError, match=r"of the modalities \['text'\]; got \['code'\]"):
        MixedEncoder({"text": one}).encode(ITEMS)
    assert one.items == []
