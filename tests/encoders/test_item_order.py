"""Items come in an order of places, whatever their index; what has no order is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from align.data.pairs import Pairs
from align.encoders.cache.store import EmbeddingStore
from align.encoders.callable import CallableEncoder
from align.encoders.composite import ConcatEncoder, MixedEncoder
from align.encoders.text import TextEncoder

TEXTS = ["a dog", "a red cat on the beach", "bridge", "the cat runs under a bridge"]


def lengths(texts):
    return torch.tensor([[len(text), text.count("a")] for text in texts]).float()


def encoder(name="lengths"):
    return CallableEncoder(lengths, name=name, dim=2, batch_size=2)


DOORS = {
    "callable": lambda items, _: encoder().encode(items),
    "side by side": lambda items, _: ConcatEncoder(encoder(), encoder("b")).encode(items),
    "store": lambda items, folder: EmbeddingStore(folder).encode(encoder(), items),
    "store, side by side": lambda items, folder: EmbeddingStore(folder).encode(
        ConcatEncoder(encoder(), encoder("b")), items
    ),
}


@pytest.fixture(params=DOORS)
def door(request, tmp_path):
    return lambda items: DOORS[request.param](items, tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        lambda: pd.Series(TEXTS, index=[2, 0, 3, 1]),
        lambda: pd.Series(TEXTS, index=[10, 11, 12, 13]),
        lambda: pd.Series(["x", *TEXTS])[1:],
        lambda: pd.Series(TEXTS[::-1])[::-1],
        lambda: np.array(TEXTS, dtype=object),
        lambda: (text for text in TEXTS),
        lambda: tuple(TEXTS),
    ],
    ids=["shuffled", "labelled", "filtered", "reversed", "array", "generator", "tuple"],
)
def test_items_are_read_by_their_place(door, given):
    assert torch.equal(door(given()), door(TEXTS))


@pytest.mark.parametrize(
    "given",
    ["a dog", b"a dog", set(TEXTS), frozenset(TEXTS), dict.fromkeys(TEXTS), 7,
     pd.DataFrame({"text": TEXTS})],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_what_has_no_order_or_is_one_item_is_refused(door, given):
    with pytest.raises(TypeError, match=r"items must be a list.*(Wrap it in|Make) a list"):
        door(given)


def test_a_text_encoder_reads_a_shuffled_series_by_place(bert):
    network = TextEncoder(bert, batch_size=2)
    shuffled = pd.Series(TEXTS).sample(frac=1, random_state=0)
    assert torch.equal(network.encode(shuffled), network.encode(list(shuffled)))
    assert torch.equal(
        network.encode_tokens(shuffled).tokens, network.encode_tokens(list(shuffled)).tokens
    )


def test_a_mixed_encoder_reads_a_generator(bert):
    mixed = MixedEncoder({"text": encoder()})
    items = [("text", text) for text in TEXTS]
    assert torch.equal(mixed.encode(iter(items)), mixed.encode(items))


def test_pairs_of_shuffled_series_keep_their_rows():
    source, target = (
        pd.Series(TEXTS, index=[3, 1, 0, 2]),
        pd.Series(TEXTS[::-1], index=[9, 8, 1, 0]),
    )
    pairs = Pairs.from_lists(source, target, ids=pd.Series(list("abcd"), index=[3, 2, 1, 0]))
    assert pairs.source == tuple(TEXTS) and pairs.target == tuple(TEXTS[::-1])
    with pytest.raises(TypeError, match="ids must be a list of items; got one str, 'abcd'"):
        Pairs.from_lists(TEXTS, TEXTS, ids="abcd")
    with pytest.raises(TypeError, match="source must be a list, in an order"):
        Pairs.from_lists(set(TEXTS), TEXTS)
