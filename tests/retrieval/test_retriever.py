"""An index searched with raw items answers as it does when searched with their vectors."""

from __future__ import annotations

import pytest
import torch

import align
from align import CallableEncoder, Index, MixedEncoder, Retriever
from align._display.interruption import notes_of
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from tests.helpers.lookups import lookup, planted_pairs
from tests.helpers.meta_heads import made
from tests.helpers.token_lookup import TokenLookup

PAIRS, SOURCE, TARGET = planted_pairs()
SOURCES, TARGETS = ([f"{side}{row}" for row in range(len(PAIRS))] for side in "st")


def filled(adapter, path, side="target"):
    retriever = Retriever(Index.create(path, adapter, side=side), source=SOURCE, target=TARGET)
    retriever.add(
        TARGETS if side == "target" else SOURCES, TARGETS if side == "target" else SOURCES
    )
    return retriever


@pytest.mark.parametrize("side", ["target", "source"])
def test_items_find_their_partners_in_the_order_of_the_corrected_scores(adapter, tmp_path, side):
    retriever = filled(adapter, tmp_path, side)
    query_side = "source" if side == "target" else "target"
    rows = {"source": PAIRS.source, "target": PAIRS.target}
    scores = (
        adapter.queries(rows[query_side][:20], side=query_side)
        @ adapter.gallery(rows[side], side=side).T
    )
    hits = retriever.search((SOURCES if query_side == "source" else TARGETS)[:20], k=4)
    assert retriever.query_side == query_side
    assert [[hit.id for hit in row] for row in hits] == [
        [f"{side[0]}{row}" for row in found] for found in scores.topk(4).indices.tolist()
    ]
    assert sum(row[0].id[1:] == str(number) for number, row in enumerate(hits)) > 15


def test_what_was_saved_is_opened_with_the_encoders_that_the_card_remembers(tmp_path, sbert):
    width = align.TextEncoder(str(sbert)).dim
    encoders = dict.fromkeys(("source", "target"), f"text:{sbert}")
    card = Card("identity", 1, width, width, encoders=encoders)
    retriever = Retriever(
        Index.create(tmp_path, Adapter(IdentityMap(width), IdentityMap(width), card))
    )
    texts = ["one text", "another", "third time"]
    retriever.add(texts, texts)
    retriever.index.save()
    found = Retriever.open(tmp_path).search(texts, k=2)
    assert found == retriever.search(texts, k=2)
    assert found[0][0].score == pytest.approx(1)


def test_metadata_filters_and_the_modality_of_the_encoder_come_along(adapter, tmp_path):
    retriever = Retriever(Index.create(tmp_path, adapter), source=SOURCE, target=TARGET)
    retriever.add(TARGETS, TARGETS, metadata=[{"even": row % 2 == 0} for row in range(len(PAIRS))])
    hits = retriever.search(["s3"], k=5, where={"even": True})[0]
    assert [(hit.modality, hit.metadata) for hit in hits] == [("text", {"even": True})] * 5


def test_an_index_of_several_modalities_is_told_which_and_can_be_standardised(tmp_path):
    encoder = MixedEncoder({"text": lookup("t", torch.eye(4)), "code": lookup("c", torch.eye(4))})
    adapter = Adapter(IdentityMap(8), IdentityMap(8), Card("identity", 1, 8, 8))
    retriever = Retriever(Index.create(tmp_path, adapter), source=encoder, target=encoder)
    items = [f"{kind}{row}" for kind in "tc" for row in range(4)]
    retriever.add(items, items, modality=["text"] * 4 + ["code"] * 4)
    (hits,) = retriever.search(["c2"], k=2, modality="code")
    assert (hits[0].id, hits[0].modality) == ("c2", "code")
    (level,) = retriever.search(["c2"], k=8, modality="code", standardize=True)
    assert {hit.id: hit.score for hit in level}["t0"] == 0  # every text scores the same


@pytest.mark.parametrize("kinds", [("tokens", "tokens"), ("heads", "heads")], ids=str)
def test_meta_tokens_are_searched_with_several_vectors_and_with_fewer(kinds, tmp_path, rng):
    case = made(kinds, rng=rng, hubness=True)
    encoders = [TokenLookup(*sides) for sides in zip(case.sides, case.tokens, strict=True)]
    retriever = Retriever(Index.create(tmp_path, case.head), source=encoders[0], target=encoders[1])
    names = [f"{row}" for row in range(30)]
    retriever.add(names, names)
    gallery = case.head.gallery(case.sides[1], case.tokens[1])
    queries = case.head.queries(case.sides[0][:5], case.tokens[0] and case.tokens[0][:5])
    index = Index.create(tmp_path / "plain")
    index.add(names, gallery)
    for budget in (None, (1, 1), (2, 3)):
        found = retriever.search(names[:5], k=6, budget=budget)
        expected = index.search(queries, k=6, budget=budget)
        assert [[(h.id, h.score) for h in row] for row in found] == [
            [(h.id, pytest.approx(h.score, abs=1e-6)) for h in row] for row in expected
        ]


def test_meta_tokens_need_an_encoder_with_token_states(tmp_path, rng):
    case = made(rng=rng)
    plain = lookup("", case.sides[1])
    retriever = Retriever(Index.create(tmp_path, case.head), target=plain)
    with pytest.raises(ValueError, match=r"its encoder, .*gives none"):
        retriever.add(["0"], ["0"])


def test_an_index_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(ValueError, match="this index has none"):
        Retriever(Index.create(tmp_path))


def test_items_of_an_encoder_whose_modality_nobody_lists_have_none(tmp_path):
    adapter = Adapter(IdentityMap(4), IdentityMap(4), Card("identity", 1, 4, 4))
    encoder = CallableEncoder(
        lambda items: torch.eye(4)[: len(items)], name="nose", dim=4, modality="smell"
    )
    retriever = Retriever(Index.create(tmp_path, adapter), source=encoder, target=encoder)
    retriever.add(["a", "b"], ["a", "b"])
    assert retriever.index.modalities == {None: 2}


def test_no_queries_have_no_hits(adapter, tmp_path):
    assert filled(adapter, tmp_path).search([]) == []


@pytest.mark.parametrize("verb", ["add", "put"])
def test_items_that_were_not_all_encoded_are_not_in_the_index_and_the_interruption_says_so(
    adapter, tmp_path, monkeypatch, verb
):
    retriever = filled(adapter, tmp_path)
    held = list(retriever.index)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(retriever.embedder), "encode", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        getattr(retriever, verb)(["new"], ["t0"])
    assert notes_of(stopped.value)[0].startswith("The index is as it was before")
    assert list(retriever.index) == held
