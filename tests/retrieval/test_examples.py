"""Searches with items of the indexed side, alone and with what should be different."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import align
from align import Hit, Index, Retriever
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.data.lone_parts import as_composites
from align.retrieval.examples import composed
from align.retrieval.index.inputs import packed
from tests.helpers.lookups import lookup, planted_pairs
from tests.helpers.meta_heads import made

PAIRS, SOURCE, TARGET = planted_pairs()
TARGETS = [f"t{row}" for row in range(len(PAIRS))]
THINGS, COLOURS = 5, 4
WORDS = torch.eye(THINGS + COLOURS)
SHOWN = torch.stack(
    [WORDS[thing] + WORDS[THINGS + colour] for thing in range(THINGS) for colour in range(COLOURS)]
)
SHOWN /= 2**0.5


def filled(adapter, path, side="target"):
    retriever = Retriever(Index.create(path, adapter, side=side), source=SOURCE, target=TARGET)
    items = TARGETS if side == "target" else [f"s{row}" for row in range(len(PAIRS))]
    retriever.add(items, items)
    return retriever


@pytest.fixture
def coloured(tmp_path):
    """Things in colours, as sums of unit vectors: ``t7`` is thing 1 in colour 3; words name one."""
    width = IdentityMap(THINGS + COLOURS)
    retriever = Retriever(
        Index.create(tmp_path, Adapter(width, width, Card("identity", 1, 9, 9))),
        source=lookup("w", WORDS),
        target=lookup("t", SHOWN),
    )
    ids = [f"t{row}" for row in range(len(SHOWN))]
    retriever.add(ids, ids)
    return retriever


@pytest.mark.parametrize("thing", range(THINGS))
def test_an_example_in_another_colour_finds_the_thing_in_that_colour(coloured, thing):
    shown = [f"t{COLOURS * thing}"] * (COLOURS - 1)
    asked = [f"w{THINGS + colour}" for colour in range(1, COLOURS)]
    found = coloured.search_like(shown, modification=asked, k=1)
    assert [[hit.id for hit in hits] for hits in found] == [
        [f"t{COLOURS * thing + colour}"] for colour in range(1, COLOURS)
    ]
    assert dict(found[0].query) == {"example": shown[0], "modification": asked[0]}


@settings(deadline=None)
@given(weight=st.floats(0, 1))
def test_scores_are_those_of_the_weighted_sum_at_unit_norm(weight):
    rng = torch.Generator().manual_seed(0)
    example, said, gallery = (
        torch.nn.functional.normalize(torch.randn(3, 6, generator=rng), dim=1) for _ in range(3)
    )
    ones, bias = torch.ones(3, 1), torch.randn(3, 1, generator=rng)
    found = composed(
        packed(torch.cat([example, 0 * ones], dim=1)), torch.cat([said, ones], dim=1), weight, dim=6
    )
    both = (1 - weight) * example + weight * said
    expected = (both @ gallery.T + weight * bias.T) / both.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found @ torch.cat([gallery, bias], dim=1).T, expected)


@pytest.mark.parametrize("side", ["target", "source"])
def test_the_weight_leads_from_the_example_alone_to_the_modification_alone(adapter, tmp_path, side):
    retriever = filled(adapter, tmp_path, side)
    shown = [f"{side[0]}{row}" for row in (3, 50, 7)]
    said = [f"{'s' if side == 'target' else 't'}{row}" for row in (9, 2, 101)]
    ends = [retriever.search_like(shown, modification=said, weight=w, k=9) for w in (0, 1)]
    for found, expected in zip(
        ends, (retriever.search_like(shown, k=9), retriever.search(said, k=9)), strict=True
    ):
        assert [[hit.id for hit in hits] for hits in found] == [
            [hit.id for hit in hits] for hits in expected
        ]
        for hits, others in zip(found, expected, strict=True):
            assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in others])


def test_an_example_is_ranked_by_similarity_and_a_hit_does_not_find_itself(adapter, tmp_path):
    retriever = filled(adapter, tmp_path)
    z = adapter.gallery(PAIRS.target)[:, : adapter.dim]
    cosines = z[[4, 8]] @ z.T
    as_items = retriever.search_like(["t4", "t8"], k=6)
    expected = [[f"t{row}" for row in found] for found in cosines.topk(6).indices.tolist()]
    assert [[hit.id for hit in hits] for hits in as_items] == expected
    mixed = retriever.search_like(["t4", Hit("t8", 0.0)], k=5)
    assert [[hit.id for hit in hits] for hits in mixed] == [expected[0][:5], expected[1][1:]]
    assert [hits.query for hits in mixed] == ["t4", "t8"]


def test_a_hit_whose_id_is_a_number_does_not_find_itself_either(adapter, tmp_path):
    retriever = Retriever(Index.create(tmp_path, adapter), source=SOURCE, target=TARGET)
    retriever.add([str(row) for row in range(20)], TARGETS[:20])
    [hits] = retriever.search_like([Hit(8, 0.0)], k=19)
    assert "8" not in [hit.id for hit in hits] and len(hits) == 19


def test_all_others_are_found_like_a_hit(adapter, tmp_path):
    retriever = filled(adapter, tmp_path)
    assert len(retriever.search_like([Hit("t8", 0.0)], k=len(TARGETS))[0]) == len(TARGETS) - 1


def test_a_text_or_picture_stands_for_its_part_of_a_composite_item(tmp_path):
    rng = torch.Generator().manual_seed(0)
    titles = torch.randn(30, 6, generator=rng)
    photos = titles @ torch.randn(6, 6, generator=rng)
    product = align.CompositeEncoder({
        "title": lookup("a", titles),
        "photo": align.CallableEncoder(
            lambda items: photos[[image.width for image in items]], name="p", dim=6,
            modality="image",
        ),
    })  # fmt: skip
    pictures = [Image.new("RGB", (row + 1, 1)) for row in range(29)]
    items = [align.Composite({"title": f"a{row + 1}", "photo": pictures[row]}) for row in range(29)]
    pairs = align.Pairs.from_lists([f"a{row + 1}" for row in range(29)], items)
    adapter = align.fit(pairs.encode(lookup("a", titles), product), effort="fast")
    retriever = Retriever(
        Index.create(tmp_path, adapter), source=lookup("a", titles), target=product
    )
    retriever.add([str(row) for row in range(29)], items)
    alone = [align.Composite({"photo": pictures[3]}), align.Composite({"title": "a9"})]
    found, expected = (retriever.search_like(each, k=4) for each in ([pictures[3], "a9"], alone))
    assert found == expected and [hits[0].id for hits in found] == ["3", "8"]
    with pytest.raises(
        ValueError, match=r"title \(text\), photo \(image\); item 1 is 7, which none"
    ):
        retriever.search_like(["a1", 7])


def test_a_lone_text_is_a_picture_by_its_name_unless_it_is_said_to_be_a_text():
    text, image = (
        align.CallableEncoder(lambda items: items, name="none", dim=1, modality=kind)
        for kind in ("text", "image")
    )
    product = align.CompositeEncoder({"title": text, "photo": image})
    found = as_composites(product, ["dog.jpg", "dog.jpg", "dog"], [None, "text", None], side="t")
    assert [dict(each) for each in found] == [
        {"photo": Path("dog.jpg")}, {"title": "dog.jpg"}, {"title": "dog"},
    ]  # fmt: skip
    assert as_composites(text, ["dog.jpg"], None, side="t") == ["dog.jpg"]
    twice = align.CompositeEncoder({"title": text, "description": text})
    with pytest.raises(ValueError, match="item 0 is 'dog', which 2 of them take"):
        as_composites(twice, ["dog"], None, side="t")


def test_what_cannot_be_composed_is_refused(adapter, tmp_path):
    retriever = filled(adapter, tmp_path / "index")
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\]"):
        retriever.search_like(["t1"], modification=["s1"], weight=1.01)
    with pytest.raises(ValueError, match="weight must be in"):
        retriever.search_like(["t1"], modification=["s1"], weight=float("nan"))
    with pytest.raises(ValueError, match="modification must have one entry per row, 2"):
        retriever.search_like(["t1", "t2"], modification=["s1"])
    for one in (dict(examples="t1"), dict(examples=Hit("t1", 0.0))):
        with pytest.raises(TypeError, match="must be a list"):
            retriever.search_like(**one)
    with pytest.raises(TypeError, match="modification must be a list"):
        retriever.search_like(["t1"], modification="s1")
    with pytest.raises(KeyError, match="nobody"):
        retriever.search_like([Hit("nobody", 0.0)])
    assert retriever.search_like([]) == []


def test_several_vectors_are_searched_by_likeness_but_not_composed(tmp_path):
    head = made(("heads", "heads"), rng=torch.Generator().manual_seed(0))
    rows, columns = (
        align.CallableEncoder(lambda items, x=x: x[items], name="rows", dim=x.shape[1])
        for x in head.sides
    )
    retriever = Retriever(Index.create(tmp_path, head.head), source=rows, target=columns)
    retriever.add([str(row) for row in range(20)], list(range(20)))
    assert [hits[0].id for hits in retriever.search_like([3, 11], k=2)] == ["3", "11"]
    with pytest.raises(ValueError, match="one vector each"):
        retriever.search_like([3], modification=[4])
