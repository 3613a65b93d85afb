"""Aligned or raw, with all vectors or few: each view ranks by what it says."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from align import Embeddings, EmbeddingStore, Index
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.corrections.hubness import NNN
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import IdentityMap
from align.apps.serving.answers import Budgets
from align.apps.serving.contents import Shown
from align.apps.serving.gallery import Gallery, Question, Scope
from align.apps.serving.roots import Roots
from align.retrieval.retriever import Retriever
from tests.apps.serving.small_gallery import (
    COLOURS,
    colours_index,
    draw,
    encoders,
    gallery,
    look,
    read,
)

RED = Question("text", "red")


def found(made, question=RED, *, k=6, **options):
    return [hit.id for hit in made.search(question, k=k, scope=Scope(**options)).hits]


class Turned(torch.nn.Module):
    """Exchanges two coordinates, so that an aligned ranking differs from the raw one."""

    d_in = dim = 4

    def forward(self, x):
        return F.normalize(x[:, [1, 0, 2, 3]], dim=1)


def turned_gallery(folder, store):
    words, pictures = encoders()
    paths = draw(folder / "photos")
    index = Index.create(folder / "idx", Adapter(Turned(), IdentityMap(4), Card("turned", 1, 4, 4)))
    rows = pictures.encode(list(paths.values()))
    kinds = ["image"] * len(paths)
    index.add(
        list(paths), rows, metadata=[{"path": str(p)} for p in paths.values()], modality=kinds
    )
    return Gallery(Retriever(index, source=words, target=pictures), shown=Shown(store=store))


def test_raw_ranks_by_the_cosine_of_the_encoders_own_vectors(tmp_path):
    made = turned_gallery(tmp_path, EmbeddingStore(tmp_path / "store"))
    assert made.about.no_raw is None
    raw = made.search(RED, k=6, scope=Scope("raw"))
    rows = torch.stack([look(tmp_path / f"photos/{name}.png") for name in COLOURS]).float()
    cosines = F.normalize(rows, dim=1) @ F.normalize(read("red"), dim=0)
    order = [list(COLOURS)[at] for at in cosines.argsort(descending=True).tolist()]
    assert [hit.id for hit in raw.hits] == order
    assert [hit.score for hit in raw.hits] == pytest.approx(
        sorted(cosines.tolist(), reverse=True), abs=1e-6
    )
    assert order[0] == "red" and found(made)[0] == "green"  # the adapter exchanges the two
    assert all(hit.picture and hit.modality == "image" for hit in raw.hits)
    assert raw.map is not None and raw.view == "raw"
    liked = found(made, Question("item", "red"), view="raw", modalities=("image",))
    assert len(liked) == 5 and "red" not in liked


def test_raw_vectors_come_from_the_store_once(tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    turned_gallery(tmp_path, store)
    again, words, pictures = colours_index(tmp_path / "again")
    seen = pictures.function.seen
    before = len(seen)
    Gallery(Retriever(again, source=words, target=pictures), shown=Shown(store=store))
    assert len(seen) == before + 1  # the picture that loads the network


def test_a_missing_raw_view_has_a_reason(tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    wide = gallery(tmp_path / "wide", wide=True, store=store)
    assert wide.about.no_raw == "No raw cosine exists: queries have 4 dimensions, items 6."
    assert "start with --store" in (gallery(tmp_path / "none").about.no_raw or "")
    index, words, pictures = colours_index(tmp_path / "bare")
    index.add(["bare"], Embeddings(torch.ones(1, 4), pictures.fingerprint, ("bare",)))
    bare = Gallery(Retriever(index, source=words, target=pictures), shown=Shown(store=store))
    assert "1 items name neither a path nor a text" in (bare.about.no_raw or "")
    unknown = Gallery(Retriever(index, source=words))
    assert unknown.about.no_raw == (
        "The raw view needs both encoders: name them with --source-encoder, --target-encoder."
    )
    assert unknown.about.queries == ("text",)


def test_raw_vectors_are_not_made_of_files_outside_the_roots(tmp_path):
    (tmp_path / "other").mkdir()
    roots, store = Roots.of([tmp_path / "other"]), EmbeddingStore(tmp_path / "store")
    with pytest.raises(PermissionError, match="only files in the folders given"):
        gallery(tmp_path, roots=roots, store=store)


def test_an_index_of_one_vector_per_item_has_no_budget(tmp_path):
    made = gallery(tmp_path)
    made.measure_budgets()
    assert made.about.budgets == () and made.budgets() == Budgets(0, ())


def test_a_budget_ranks_by_the_first_vectors(tmp_path):
    made = gallery(tmp_path, several=True)
    assert made.about.budgets == (1, 2, 4)
    head, index = made._retriever.index.adapter, made._retriever.index
    words, _ = encoders()
    asked = head.queries(Embeddings(words.encode(["red"]), words.fingerprint, ("q",)))
    for budget in (1, 2, 4):
        hits = index.search(asked, k=4, budget=(budget, budget))[0]
        assert found(made, k=4, budget=budget) == [hit.id for hit in hits]


def test_the_cost_of_a_budget_is_a_mean_over_many_items_as_queries(tmp_path, rng):
    index, words, pictures = colours_index(tmp_path, several=True)
    rows = torch.rand(60, 4, generator=rng)
    named = Embeddings(rows, pictures.fingerprint, tuple(map(str, range(60))))
    index.add(list(named.ids), index.adapter.gallery(named))
    made = Gallery(Retriever(index, source=words, target=pictures))
    assert made.budgets() == Budgets(0, ())
    made.measure_budgets()
    shares = {1: [], 2: [], 4: []}
    for id in index:
        asked = Question("item", id)
        best = set(found(made, asked, k=10))
        for budget in shares:
            shares[budget].append(len(best & set(found(made, asked, k=10, budget=budget))) / 10)
    costs = made.budgets()
    assert costs.queries == 66 and [cost.vectors for cost in costs.measured] == [1, 2, 4]
    assert [cost.agreement for cost in costs.measured] == pytest.approx(
        [sum(each) / 66 for each in shares.values()]
    )
    assert costs.measured[0].agreement < costs.measured[2].agreement == 1


def test_a_budget_that_was_not_offered_is_refused(tmp_path):
    made = gallery(tmp_path, several=True, store=EmbeddingStore(tmp_path / "store"))
    with pytest.raises(ValueError, match=r"a budget must be one of \[1, 2, 4\]"):
        found(made, budget=3)
    with pytest.raises(ValueError, match="in the aligned view"):
        found(made, budget=2, view="raw")


@pytest.mark.parametrize("several", [False, True])
def test_an_item_and_its_own_file_are_the_same_query(tmp_path, several):
    made = gallery(tmp_path, several=several)
    file = (tmp_path / "photos/blue.png").read_bytes()
    by_file = made.search(Question("image", file), k=6).hits
    by_item = made.search(Question("item", "id/blue"), k=6).hits
    assert by_file[0].id == "id/blue"
    assert [hit.id for hit in by_file[1:]] == [hit.id for hit in by_item]
    assert [hit.score for hit in by_file[1:]] == pytest.approx(
        [hit.score for hit in by_item], abs=1e-6
    )


def test_an_item_of_several_vectors_is_a_query_with_all_of_them(tmp_path):
    made = gallery(tmp_path, several=True)
    index = made._retriever.index
    own = index.get(["id/blue"]).vectors[0]
    hits = made.search(Question("item", "id/blue"), k=6).hits
    stored = index.get([hit.id for hit in hits]).vectors
    by_hand = [float((own @ vectors.T).amax(dim=1).sum()) for vectors in stored]
    assert [hit.score for hit in hits] == pytest.approx(by_hand, abs=1e-6)


def test_an_item_as_query_has_no_corrections_of_the_other_side(tmp_path):
    """A hubness correction is for queries of the other side; likeness is a plain cosine."""
    words, pictures = encoders()
    paths = draw(tmp_path / "photos")
    rows = F.normalize(pictures.encode(list(paths.values())), dim=1)
    reference = ReferenceSet(rows, rows, expansion=None, hubness=NNN(k=2, alpha=0.75))
    adapter = Adapter(
        IdentityMap(4), IdentityMap(4), Card("identity", 1, 4, 4), reference=reference
    )
    index = Index.create(tmp_path / "idx", adapter)
    index.add(list(paths), Embeddings(rows, pictures.fingerprint, tuple(paths)))
    assert index.dim == 5
    made = Gallery(Retriever(index, source=words, target=pictures))
    liked = made.search(Question("item", "red"), k=5).hits
    cosines = dict(zip(paths, (rows @ rows[0]).tolist(), strict=True))
    assert [hit.score for hit in liked] == pytest.approx(
        [cosines[hit.id] for hit in liked], abs=1e-6
    )
    # Where words ask, the correction counts.
    asked = made.search(RED, k=6).hits
    plain = F.normalize(read("red"), dim=0) @ rows.T
    assert abs(asked[0].score - float(plain.max())) > 0.1


def test_only_so_many_queries_are_remembered(tmp_path):
    made = gallery(tmp_path, most_queries=2)
    seen = made._retriever.embedder.encoder("source").function.seen
    before = len(seen)
    for text in ("red", "blue", "red", "white", "red", "blue"):  # blue is forgotten in between
        made.search(Question("text", text), k=1)
    assert seen[before:] == ["red", "blue", "white", "blue"]
