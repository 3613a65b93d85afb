"""What searches is shown under what people call the sides."""

from __future__ import annotations

from dataclasses import replace

import torch

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.retrieval.embedder import Embedder
from align.retrieval.index.index import Index
from align.retrieval.retriever import Retriever
from align.retrieval.wrap import wrap

CARD = Card("identity", 1, 4, 4, side_names=("caption", "image"), encoders={"source": "text:a"})


def adapter(card: Card = CARD) -> Adapter:
    return Adapter(IdentityMap(4), IdentityMap(4), card)


def test_an_embedder_names_the_encoder_of_each_side() -> None:
    embedder = Embedder(adapter())
    assert repr(embedder).startswith("Embedder(caption: text:a on the card, image: not known")
    [table] = embedder.panel().tables
    assert [row[0] for row in table.rows] == ["caption", "image"]


def test_a_retriever_and_its_index_name_their_sides(tmp_path) -> None:
    index = Index.create(tmp_path / "idx", adapter())
    index.add(["a"], torch.eye(4)[:1])
    assert repr(index).startswith("Index(1 image item,")
    assert index.panel().tiles[0].beside == "of the image side"
    assert repr(Retriever(index)).startswith("Retriever(caption queries on Index(1 image item,")
    other = Index.create(tmp_path / "other", adapter(), side="source")
    assert repr(Retriever(other)).startswith("Retriever(image queries on Index(0 caption items,")


def test_an_index_of_a_head_takes_the_names_of_the_adapter_behind_it(tmp_path) -> None:
    head = MetaTokens(adapter(), None, None, mix=0.5, asking=1, card={})
    assert repr(Index.create(tmp_path / "idx", head)).startswith("Index(0 image items")


def test_a_wrapped_retriever_names_the_side_of_its_queries() -> None:
    wrapped = wrap(lambda queries, k: ([], []), adapter())
    assert ", caption queries, " in repr(wrapped)


def test_sides_without_names_are_source_and_target(tmp_path) -> None:
    plain = adapter(replace(CARD, side_names=("source", "target")))
    index = Index.create(tmp_path / "idx", plain)
    assert repr(Retriever(index)).startswith("Retriever(source queries on Index(0 target items")
    unmapped = Index.create(tmp_path / "other")
    assert repr(unmapped).startswith("Index(0 target items")
