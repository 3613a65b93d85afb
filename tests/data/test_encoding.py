"""Pairs go through their encoders in order, each distinct item once where there is a store."""

from __future__ import annotations

import torch

from align.data.pairs import Pairs
from align.encoders.cache.store import EmbeddingStore
from tests.helpers.counting_encoder import CountingEncoder, vectors


def test_encoding_then_splitting_equals_splitting_then_encoding():
    names = [str(i) for i in range(20)]
    pairs = Pairs.from_lists(names, names[::-1])
    one, other = CountingEncoder("one"), CountingEncoder("other")
    data = pairs.encode(one, other)
    assert (data.source_fingerprint, data.target_fingerprint) == ("one", "other")
    assert torch.equal(data.source, vectors(names))
    assert torch.equal(data.target, vectors(names[::-1]))
    _, late = data.split(test=0.3, seed=2)
    early = pairs.split(test=0.3, seed=2)[1].encode(one, other)
    assert late.ids == early.ids and torch.equal(late.target, early.target)


def test_encoding_with_a_store_encodes_each_distinct_item_once(tmp_path):
    pairs = Pairs.from_lists(["a", "a", "b"], ["x", "y", "y"], groups=["g", "g", "h"])
    store, one, other = EmbeddingStore(tmp_path), CountingEncoder("one"), CountingEncoder("other")
    for _ in range(2):
        data = pairs.encode(one, other, store=store)
    assert (one.items, other.items) == (["a", "b"], ["x", "y"])
    assert torch.equal(data.source, vectors(["a", "a", "b"]))
    assert data.groups == ("g", "g", "h")
