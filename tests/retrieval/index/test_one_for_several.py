"""One id, item or vector where several are wanted is refused, and never taken apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from align import Embeddings, Index, MixedEncoder, PairedEmbeddings, Retriever, wrap
from align._checks import as_list
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.retrieval.reranking import rescore_hits
from tests.helpers.lookups import lookup, planted_pairs

PAIRS, SOURCE, TARGET = planted_pairs()
WRAP_IT = "(?:Wrap it|wrapped) in a list"
SINGLES = ["abc", b"abc", bytearray(b"abc"), Path("abc"), {"id": "abc"}, 7, None, np.float32(1)]
SINGLES += [np.array("abc"), torch.tensor(1.0), Image.new("RGB", (2, 2))]


def kind(value):
    return type(value).__name__


@pytest.fixture
def index(rng, tmp_path):
    index = Index.create(tmp_path)
    index.add(["a", "b", "c"], torch.randn(3, 3, generator=rng))
    return index


@pytest.mark.parametrize("single", SINGLES, ids=kind)
def test_one_value_is_not_a_list(single):
    with pytest.raises(TypeError, match=f"things must be a list.*got (?:one|a) .*{WRAP_IT}"):
        as_list("things", single)


@pytest.mark.parametrize(
    "several", [{"a", "b"}, frozenset("ab"), pd.DataFrame({"a": ["x"]})], ids=kind
)
def test_what_has_no_order_is_not_a_list(several):
    with pytest.raises(TypeError, match="in an order that says which is which"):
        as_list("things", several)


@pytest.mark.parametrize(
    "several",
    [
        ["b", "a"],
        ("b", "a"),
        np.array(["b", "a"]),
        np.array(["b", "a"], dtype=object),
        pd.Series(["b", "a"], index=[1, 0]),
        pd.Series(["x", "b", "a"])[1:],
        pd.Index(["b", "a"]),
        {"b": 1, "a": 2}.keys(),
        (name for name in "ba"),
        map(str, "ba"),
    ],
    ids=kind,
)
def test_several_values_come_in_their_order(several, rng, tmp_path):
    ids = as_list("ids", several)
    assert ids == ["b", "a"]
    index = Index.create(tmp_path)
    index.add(iter(ids), torch.randn(2, 3, generator=rng))
    assert list(index) == ["b", "a"]


@pytest.mark.parametrize("single", ["abc", b"abc", Path("abc"), {"a": 1}, 7, None], ids=kind)
def test_every_method_of_an_index_that_takes_ids_refuses_one(index, rng, single):
    rows = torch.randn(3, 3, generator=rng)
    for call in (
        lambda: index.add(single, rows),
        lambda: index.update(single, rows),
        lambda: index.delete(single),
        lambda: index.get(single),
    ):
        with pytest.raises(TypeError, match=f"ids must be a list.*{WRAP_IT}"):
            call()
    assert list(index) == ["a", "b", "c"]


def test_one_mapping_is_not_metadata_of_several(index, rng):
    with pytest.raises(TypeError, match=f"metadata must be a list.*{WRAP_IT}"):
        index.add(["d"], torch.randn(1, 3, generator=rng), metadata={"path": "d"})


@pytest.mark.parametrize("method", ["add", "update", "search"])
@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        (torch.ones(3), ValueError, r"got shape \(3,\). One vector becomes a matrix by vector\[N"),
        (np.ones(3), ValueError, r"got shape \(3,\)"),
        ([1.0, 2.0, 3.0], ValueError, r"got shape \(3,\)"),
        (torch.ones(1, 2, 3), ValueError, r"got shape \(1, 2, 3\).*MultiVector\.from_equal"),
        ("abc", TypeError, "must be vectors.*got a str, 'abc'. Encode the items first"),
        (["abc"], TypeError, "must be vectors.*got a list"),
        ({"a": torch.ones(3)}, TypeError, "must be vectors.*got a dict"),
    ],
    ids=str,
)
def test_one_vector_is_not_a_matrix(index, method, vectors, error, message):
    with pytest.raises(error, match=message):
        if method == "search":
            index.search(vectors, k=1)
        else:
            getattr(index, method)(["a"], vectors)


@pytest.mark.parametrize("single", ["s1", b"s1", Path("s1"), {"s": 1}, 7], ids=kind)
def test_everything_that_takes_items_refuses_one(adapter, tmp_path, single):
    retriever = Retriever(Index.create(tmp_path, adapter), source=SOURCE, target=TARGET)
    retriever.add(["a", "b"], ["t1", "t2"])
    wrapped = wrap(lambda queries, k: ([], []), adapter, SOURCE)
    embedder = retriever.embedder
    for call in (
        lambda: retriever.search(single, k=1),
        lambda: retriever.add(["c", "d"], single),
        lambda: retriever.add(single, ["t1", "t2"]),
        lambda: wrapped.search(single),
        lambda: wrap(lambda queries, k: None, adapter, SOURCE, stored=(single, torch.ones(2, 4))),
        lambda: embedder.queries(single),
        lambda: embedder.gallery(single),
        lambda: rescore_hits(torch.ones(1, 4), single, None),
    ):
        with pytest.raises(TypeError, match=f"must be a list.*{WRAP_IT}"):
            call()


def test_one_text_is_not_as_many_queries_as_it_has_letters(tmp_path):
    """With an encoder of several modalities each letter was a query."""
    encoder = MixedEncoder({"text": lookup("t", torch.eye(4))})
    adapter = Adapter(IdentityMap(4), IdentityMap(4), Card("identity", 1, 4, 4))
    retriever = Retriever(Index.create(tmp_path, adapter), source=encoder, target=encoder)
    retriever.add(["a"], ["t1"], modality="text")
    with pytest.raises(TypeError, match=f"items must be a list.*'a dog'.*{WRAP_IT}"):
        retriever.search("a dog", k=1, modality="text")
    for items in ("ab", ["ab"], [("text", "t1", 2)], ("text", "t1"), [("text",)]):
        with pytest.raises(TypeError, match=r"pairs \(modality, item\)|list of items"):
            encoder.encode(items)


@pytest.mark.parametrize("name", ["ids", "groups", "domains"])
def test_one_string_does_not_name_pairs(name, rng):
    x = torch.randn(3, 2, generator=rng)
    with pytest.raises(TypeError, match=f"{name} must be a list.*{WRAP_IT}"):
        PairedEmbeddings.from_arrays(x, x, **{name: "abc"})
    with pytest.raises(TypeError, match="ids must be a list"):
        Embeddings(x, None, "abc")
    with pytest.raises(TypeError, match="groups must be a list"):
        PairedEmbeddings(x, x, ("a", "b", "c"), "abc")
    with pytest.raises(TypeError, match="ids must be a list"):
        PairedEmbeddings(x, x, b"abc", ("a", "b", "c"))


def test_items_of_a_series_are_taken_by_position(adapter, tmp_path):
    retriever = Retriever(Index.create(tmp_path, adapter), source=SOURCE, target=TARGET)
    shuffled = pd.Series(["t3", "t1", "t2"], index=[2, 0, 1])
    retriever.add(shuffled, shuffled)
    plain = Retriever(Index.create(tmp_path / "plain", adapter), source=SOURCE, target=TARGET)
    plain.add(["t3", "t1", "t2"], ["t3", "t1", "t2"])
    series = pd.Series(["s9", "s1"], index=[5, 4])
    found = retriever.search(series, k=3)
    assert found == plain.search(["s9", "s1"], k=3) == retriever.search(iter(["s9", "s1"]), k=3)


def test_a_modality_of_each_item_may_be_none_and_unknown_ones_are_refused(index, rng):
    rows = torch.randn(2, 3, generator=rng)
    index.add(["d", "e"], rows, modality=["image", None])
    assert index.get(["e", "d"]).modality == (None, "image")
    for modality, error, message in (
        ("imgae", ValueError, "a modality is one of text, image, code, audio, video"),
        (["image", "imgae"], ValueError, "a modality is one of text, image.*got 'imgae'"),
        (["image", float("nan")], TypeError, "row 1 has nan. Known are text, image"),
        (["image", ["image"]], TypeError, r"row 1 has \['image'\]"),
        ([2, "image"], TypeError, "row 0 has 2"),
        (["image"], ValueError, "modality must have one entry per row, 2; got 1"),
        (7, TypeError, "modality must be a list"),
    ):
        with pytest.raises(error, match=message):
            index.add(["f", "g"], rows, modality=modality)


def test_text_that_utf8_cannot_write_is_refused_with_its_row(index, rng):
    rows = torch.randn(2, 3, generator=rng)
    with pytest.raises(ValueError, match=r"ids must be text.*that of row 1 is 'b\\udcff'"):
        index.add(["d", "b\udcff"], rows)
    for bad in ({"path": "a\udcff"}, {"\udcff": 1}, {"a": [{"b": "\ud800"}]}):
        with pytest.raises(ValueError, match=r"metadata must be text that UTF-8.*row 1 holds '\\"):
            index.add(["d", "e"], rows, metadata=[{}, bad])
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="row 1 is nested too deep"):
        index.add(["d", "e"], rows, metadata=[{}, {"a": deep}])
    with pytest.raises(ValueError, match=r"row 1 has \{'a': nan\}"):
        index.add(["d", "e"], rows, metadata=[{}, {"a": float("nan")}])
    assert list(index) == ["a", "b", "c"]
    for call in (index.get, index.delete):
        with pytest.raises(ValueError, match="ids must be text"):
            call(["b\udcff"])
    assert "b\udcff" not in index
