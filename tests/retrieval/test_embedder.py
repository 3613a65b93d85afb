"""An adapter beside its encoders gives for raw items what it gives for their vectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import align
from align import Embedder, EmbeddingStore, MixedEncoder
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.adapters.trainable import instructed
from tests.helpers.counting_encoder import CountingEncoder
from tests.helpers.lookups import lookup, planted_pairs
from tests.helpers.meta_heads import made
from tests.helpers.token_lookup import TokenLookup

PAIRS, SOURCE, TARGET = planted_pairs()


@pytest.mark.parametrize("side", ["source", "target"])
def test_items_give_the_vectors_of_their_embeddings(adapter, side):
    embedder = Embedder(adapter, source=SOURCE, target=TARGET)
    rows = {"source": PAIRS.source, "target": PAIRS.target}[side][:3]
    items = [f"{side[0]}{row}" for row in range(3)]
    assert torch.equal(embedder.queries(items, side=side), adapter.queries(rows, side=side))
    assert torch.equal(embedder.gallery(items, side=side), adapter.gallery(rows, side=side))
    assert torch.equal(embedder.encode(items, side=side).raw, rows)


def test_encoders_are_built_from_the_card_only_when_needed(sbert):
    card = Card(
        "identity", 1, 8, 8, encoders={"source": f"text:{sbert}", "target": "text:no/such-model"}
    )
    width = align.TextEncoder(str(sbert)).dim
    embedder = Embedder(Adapter(IdentityMap(width), IdentityMap(width), card))
    assert embedder.queries(["a text"]).shape == (1, width)
    assert embedder.encoder("source") is embedder.encoder("source")


def test_a_card_that_names_code_is_not_followed(adapter):
    card = replace(adapter.card, encoders={"source": "python:tests.retrieval.lookups:lookup"})
    embedder = Embedder(Adapter(adapter.source_map, adapter.target_map, card))
    with pytest.raises(ValueError, match=r"only if you trust it.*'python:tests.*trust=True"):
        embedder.queries(["s0"])


def source_encoder():
    return SOURCE


def test_code_of_a_card_is_followed_by_those_who_trust_it(adapter):
    card = replace(adapter.card, encoders={"source": f"python:{__name__}:source_encoder"})
    embedder = Embedder(Adapter(adapter.source_map, adapter.target_map, card), trust=True)
    assert embedder.encoder("source") is SOURCE


def test_a_device_that_is_missing_shows_before_anything_is_encoded(adapter, machine):
    machine(gpus=0)
    with pytest.raises(ValueError, match="got device='cuda:1'; torch sees: cpu"):
        Embedder(adapter, source=SOURCE, device="cuda:1")


def test_encoders_of_the_card_run_on_the_device_that_was_asked_for(sbert, machine):
    machine(gpus=2)
    card = Card("identity", 1, 8, 8, encoders={"source": f"text:{sbert}"})
    embedder = Embedder(Adapter(IdentityMap(8), IdentityMap(8), card), device="cuda:1")
    assert embedder.encoder("source").device == "cuda:1"


def test_an_unknown_encoder_is_an_error(adapter):
    embedder = Embedder(adapter, source=SOURCE)
    with pytest.raises(ValueError, match=r"the target encoder must be known.*Pass the target"):
        embedder.gallery(["t0"])


def test_another_encoder_than_the_fitted_one_is_refused(adapter):
    other = lookup("s", PAIRS.source, name="another")
    with pytest.raises(ValueError, match="source side was fitted on vectors of"):
        Embedder(adapter, source=other).queries(["s0"])


def test_an_unknown_side_is_refused(adapter):
    with pytest.raises(ValueError, match="left"):
        Embedder(adapter, source=SOURCE).encoder("left")


def test_items_known_to_the_store_are_not_encoded_again(tmp_path):
    encoder = CountingEncoder()
    adapter = Adapter(IdentityMap(4), IdentityMap(4), Card("identity", 1, 4, 4))
    embedder = Embedder(adapter, source=encoder, store=EmbeddingStore(tmp_path))
    first = embedder.queries(["a", "b"])
    assert torch.equal(embedder.queries(["b", "a"]), first.flip(0))
    assert sorted(encoder.items) == ["a", "b"]


def test_an_encoder_of_several_modalities_is_told_which():
    mixed = MixedEncoder({"text": lookup("t", torch.eye(4)), "code": lookup("c", torch.eye(4))})
    adapter = Adapter(IdentityMap(8), IdentityMap(8), Card("identity", 1, 8, 8))
    embedder = Embedder(adapter, source=mixed)
    found = embedder.queries(["t1", "c1"], modality=["text", "code"])
    assert torch.equal(found.argmax(dim=1), torch.tensor([1, 5]))
    assert torch.equal(embedder.queries(["t1"], modality="text"), found[:1])
    with pytest.raises(ValueError, match="must be told which"):
        embedder.queries(["t1"])
    with pytest.raises(ValueError, match=r"modality must have one entry per row, 2; got 1"):
        embedder.queries(["t1", "c1"], modality=["text"])


def test_an_instruction_moves_the_query_and_none_does_not():
    plain = Adapter(IdentityMap(4), IdentityMap(4), Card("identity", 1, 4, 4))
    taught = instructed(plain, 2)
    with torch.no_grad():
        taught.source_map.shift[1, 3] = 9.0
    embedder = Embedder(
        taught, source=lookup("s", torch.eye(4)), instructions=lookup("w", torch.eye(2))
    )
    assert embedder.queries(["s0"]).argmax() == 0
    assert embedder.queries(["s0"], instruction="w1").argmax() == 3
    assert embedder.queries(["s0"], instruction="w0").argmax() == 0


def test_an_instruction_that_nothing_can_take_is_refused(adapter):
    embedder = Embedder(adapter, source=SOURCE, target=TARGET)
    with pytest.raises(ValueError, match=r"fitted without instructions; got 'w'"):
        embedder.queries(["s0"], instruction="w")
    with pytest.raises(ValueError, match="an instruction belongs to a source"):
        embedder.queries(["t0"], side="target", instruction="w")


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("stored", [False, True])
def test_a_head_gives_its_packed_vectors_of_items_encoded_once(rng, side, stored, tmp_path):
    case = made(rng=rng, hubness=True)
    encoders = [TokenLookup(*sides) for sides in zip(case.sides, case.tokens, strict=True)]
    store = EmbeddingStore(tmp_path) if stored else None
    embedder = Embedder(case.head, source=encoders[0], target=encoders[1], store=store)
    at = ("source", "target").index(side)
    encoded = embedder.encode(["0", "1", "2"], side=side)
    assert torch.equal(encoded.raw, case.sides[at][:3])
    vectors, tokens = case.sides[at][:3], case.tokens[at][:3]
    expected = case.head.queries(vectors, tokens, side=side)
    assert torch.equal(embedder.to_queries(encoded).tokens, expected.tokens)
    expected = case.head.gallery(vectors, tokens, side=side)
    assert torch.equal(embedder.to_gallery(encoded).tokens, expected.tokens)
    assert torch.equal(embedder.gallery(["0", "1", "2"], side=side).tokens, expected.tokens)
    assert encoders[at].calls == ((1, 1) if stored else (2, 2))
    assert embedder.adapter is case.head.adapter
