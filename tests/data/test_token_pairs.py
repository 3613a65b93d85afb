"""Pairs with token states: sides stay row-matched through encoding, taking and splitting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.pairs import Pairs
from align.data.token_pairs import TokenPairs
from align.encoders.cache.store import EmbeddingStore
from tests.helpers.counting_encoder import CountingEncoder, vectors


class Pooled:
    """An encoder that gives nothing but pooled vectors."""

    modality, dim, fingerprint = "code", 4, "pooled"

    def encode(self, items, *, progress=False):
        return vectors(items)


def tokens_of(names):
    """As many tokens as a name's number and one more, each told apart; ``n`` items."""
    return MultiVector.pack(
        [torch.tensor([[float(n), float(at)] for at in range(n % 3 + 1)]) for n in names]
    )


def numbered(n=12, **names):
    x = torch.arange(1.0, n + 1)[:, None].repeat(1, 2)
    pooled = PairedEmbeddings.from_arrays(x, -x, **names)
    return TokenPairs(pooled, tokens_of(range(n)), tokens_of(range(100, 100 + n)))


def check_matched(taken, rows):
    """Whether all four parts of ``numbered`` pairs are those of ``rows``."""
    assert taken.pooled.source[:, 0].tolist() == [row + 1 for row in rows]
    assert taken.pooled.target[:, 0].tolist() == [-row - 1 for row in rows]
    for side, start in ((taken.source, 0), (taken.target, 100)):
        expected = tokens_of([start + row for row in rows])
        assert side.tokens.equal(expected.tokens) and side.offsets.equal(expected.offsets)


def some_pairs():
    return Pairs.from_lists(["a", "bcd", "ef"], ["ghij", "k", "lm"], groups=["x", "x", "y"])


@pytest.mark.parametrize("cached", [False, True], ids=["no store", "store"])
def test_token_states_come_along_from_encoders_that_give_them(cached, tmp_path):
    encoder, pairs = CountingEncoder(), some_pairs()
    store = EmbeddingStore(tmp_path) if cached else None
    found = TokenPairs.encode(pairs, encoder, Pooled(), store=store)
    assert found.target is None
    assert found.source.tokens.equal(encoder.encode_tokens(pairs.source).tokens)
    assert found.source.lengths.tolist() == [1, 3, 2]
    assert found.pooled.source.equal(vectors(pairs.source))
    assert found.pooled.target.equal(vectors(pairs.target))
    assert found.pooled.groups == ("x", "x", "y")
    assert found.pooled.source_fingerprint == "counting" and len(found) == 3
    other_way = TokenPairs.encode(pairs, Pooled(), encoder, store=store)
    assert other_way.source is None and other_way.target.lengths.tolist() == [4, 1, 2]


def test_a_store_saves_the_second_encoding(tmp_path):
    store, encoder, pairs = EmbeddingStore(tmp_path), CountingEncoder(), some_pairs()
    first = TokenPairs.encode(pairs, encoder, encoder, store=store)
    asked = len(encoder.batches)
    again = TokenPairs.encode(pairs, encoder, encoder, store=store)
    assert asked > 0 and len(encoder.batches) == asked
    assert again.target.tokens.equal(first.target.tokens)


def test_token_states_of_another_number_of_items_are_refused():
    pooled = PairedEmbeddings.from_arrays(torch.eye(3), torch.eye(3))
    with pytest.raises(ValueError, match="source must hold the token states of each of 3 pairs"):
        TokenPairs(pooled, source=tokens_of(range(2)))
    with pytest.raises(ValueError, match=r"target must hold .* got 4 items"):
        TokenPairs(pooled, target=tokens_of(range(4)))


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_take_keeps_pooled_vectors_and_tokens_matched(kind):
    check_matched(numbered().take(kind([7, 0, 4])), [7, 0, 4])


def test_take_refuses_what_the_pooled_pairs_refuse():
    with pytest.raises(ValueError, match="flat sequence of integers"):
        numbered(3).take(np.array([True, False, True]))
    with pytest.raises(IndexError, match=r"rows must lie in 0 \.\. 2"):
        numbered(3).take([3])
    with pytest.raises(ValueError, match="ids must be unique"):
        numbered(3).take([1, 1])


def test_take_leaves_a_side_without_tokens_without():
    whole = numbered(4)
    half = TokenPairs(whole.pooled, None, whole.target).take([3])
    assert half.source is None and half.target.tokens.equal(tokens_of([103]).tokens)


@pytest.mark.parametrize(
    "names", [{}, {"groups": list("aabbccddeeff")}, {"domains": list("aaabbbcccddd")}]
)
def test_split_takes_the_same_rows_as_the_pooled_pairs(names):
    whole = numbered(**names)
    parts = whole.split(test=0.3, val=0.2, seed=3)
    pooled = whole.pooled.split(test=0.3, val=0.2, seed=3)
    assert len(parts) == len(whole.split(test=0.3)) + 1 == 3
    for part, expected in zip(parts, pooled, strict=True):
        assert part.pooled.ids == expected.ids
        check_matched(part, [int(name) for name in expected.ids])
