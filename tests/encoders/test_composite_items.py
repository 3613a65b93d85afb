"""Encoders of items of several parts: encoded by part, weighed, fitted, indexed, reopened."""

import numpy as np
import pytest
import torch

import align
from align.adapters.maps.parts import Parts
from align.encoders.cache.store import EmbeddingStore
from align.encoders.spec import load_encoder
from tests.helpers.counting_encoder import CountingEncoder, vectors


@pytest.fixture
def title():
    return CountingEncoder("title")


@pytest.fixture
def photo():
    return CountingEncoder("photo", modality="sound")


def composites(*pairs):
    return [align.Composite({"title": title, "photo": photo}) for title, photo in pairs]


def test_parts_stand_side_by_side_and_missing_ones_are_zero(title, photo):
    encoder = align.CompositeEncoder({"title": title, "photo": photo})
    found = encoder.encode(composites(("a", "1"), ("b", None), (None, "3")))
    assert found[:2, :4].equal(vectors(["a", "b"])) and found[[0, 2], 4:].equal(vectors(["1", "3"]))
    assert not found[1, 4:].any() and not found[2, :4].any()


def test_a_changed_title_encodes_no_photo_again(title, photo, tmp_path):
    encoder, store = align.CompositeEncoder({"title": title, "photo": photo}), None
    store = EmbeddingStore(tmp_path)
    store.encode(encoder, composites(("a", "1"), ("b", "2")))
    found = store.encode(encoder, composites(("a", "1"), ("new", "2"), (None, "1")))
    assert (title.items, photo.items) == (["a", "b", "new"], ["1", "2"])
    assert found.equal(encoder.encode(composites(("a", "1"), ("new", "2"), (None, "1"))))


def test_the_cosines_of_an_item_without_a_part_are_those_of_the_other_alone():
    rng = torch.Generator().manual_seed(0)
    x, mean = torch.randn(6, 7, generator=rng), torch.randn(7, generator=rng)
    lacking = x.clone()
    lacking[:, 3:] = 0
    both, alone = Parts((3, 4), (0.2, 0.8)), Parts((3,), (1.0,))
    found = both.centred(lacking, mean)
    torch.testing.assert_close(found[:, :3], alone.centred(x[:, :3], mean[:3]))
    assert not found[:, 3:].any()


def test_what_is_no_composite_or_has_no_or_unknown_parts_is_refused_by_row(title, photo):
    encoder = align.CompositeEncoder({"title": title, "photo": photo})
    whole = align.Composite({"title": "a"})
    with pytest.raises(TypeError, match=r"item 1 is 'text'"):
        encoder.encode([whole, "text"])
    with pytest.raises(ValueError, match=r"item 1 has \[\]"):
        encoder.encode([whole, align.Composite({})])
    with pytest.raises(ValueError, match=r"item 0 has \['colour'\]"):
        encoder.encode([align.Composite({"colour": "red"})])
    with pytest.raises(ValueError, match="two or more parts; got 1"):
        align.CompositeEncoder({"title": title})
    pairs = align.Pairs.from_lists(["a"], ["b"])
    with pytest.raises(ValueError, match="row 0 is 'b'"):
        pairs.encode(title, encoder)
    with pytest.raises(ValueError, match="need a CompositeEncoder"):
        align.Pairs.from_lists(["a"], [whole]).encode(title, title)


def test_names_and_order_of_parts_change_the_fingerprint_and_a_spec_builds_them_again(title, photo):
    named = {"title": title, "photo": photo}, {"photo": photo, "title": title}
    assert len({align.CompositeEncoder(each).fingerprint for each in named}) == 2
    spec = "title=text:minilm+photo=image:efficientnet-lite0"
    encoder = load_encoder(spec)
    assert encoder.parts == (384, 1280) and encoder.spec == spec
    beside = load_encoder("title=text:minilm+text:minilm?pooling=cls+photo=text:minilm")
    assert beside.parts == (768, 384)
    with pytest.raises(ValueError, match="each part once"):
        load_encoder("a=text:minilm+a=text:minilm")


def planted(n=400, missing=0.0):
    """Queries, and items whose photo repeats the query and whose title is noise."""
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((n, 8)).astype("f4")
    noise = rng.standard_normal((n, 40)).astype("f4")
    photos = (queries @ rng.standard_normal((8, 10)) + rng.standard_normal((n, 10))).astype("f4")

    def rows(values, name):
        return align.CallableEncoder(
            lambda items: values[[int(each) for each in items]], name=name, dim=values.shape[1]
        )

    gone = rng.random(n) < missing
    items = [
        align.Composite({"title": None if gone[row] else str(row), "photo": str(row)})
        for row in range(n)
    ]
    encoder = align.CompositeEncoder({"title": rows(noise, "noise"), "photo": rows(photos, "p")})
    return rows(queries, "queries"), encoder, items


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_weight_goes_to_the_part_that_is_no_noise(missing):
    text, encoder, items = planted(missing=missing)
    pairs = align.Pairs.from_lists([str(row) for row in range(len(items))], items)
    adapter = align.fit(pairs.encode(text, encoder), progress=False)
    [chosen] = [c for c in adapter.card.candidates if c.stage == "shares" and c.chosen]
    title, photo = (float(n) for n in chosen.name.split("(")[1].rstrip(")").split(", "))
    assert photo > 0.7 > 0.3 > title


def test_an_index_of_composites_is_updated_and_reopened_to_the_last_bit(tmp_path):
    text, encoder, items = planted(200)
    pairs = align.Pairs.from_lists([str(row) for row in range(len(items))], items)
    adapter = align.fit(pairs.encode(text, encoder), effort="fast", progress=False)
    retriever = align.Retriever(
        align.Index.create(tmp_path / "idx", adapter), source=text, target=encoder
    )
    ids = [f"item {row}" for row in range(50)]
    retriever.add(ids, items[:50])
    lacking = align.Composite({"photo": "3"})
    assert retriever.put(["item 3"], [lacking]).updated == 1
    retriever.index.save()
    again = align.Retriever(align.Index.open(tmp_path / "idx"), source=text, target=encoder)
    one, two = (each.search(["3", "7"], k=5) for each in (retriever, again))
    assert [[(h.id, h.score) for h in hits] for hits in one] == [
        [(h.id, h.score) for h in hits] for hits in two
    ]
    assert "item 3" in [hit.id for hit in one[0]]
