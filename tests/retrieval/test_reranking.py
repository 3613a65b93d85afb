"""Candidates of a first stage, scored anew by vectors."""

import pytest
import torch

from align.data.multi_vector import MultiVector
from align.retrieval.hits import Hit
from align.retrieval.index.index import Index
from align.retrieval.reranking import rescore_hits
from align.scoring.kernels import reference
from tests.helpers.random_multivectors import ragged

IDS = [f"item {row}" for row in range(9)]


def lookup(items, calls=None):
    """Vectors by id; notes in ``calls`` the ids that it gets."""

    def vectors(ids):
        if calls is not None:
            calls.append(ids)
        rows = torch.tensor([IDS.index(name) for name in ids])
        return items.take(rows) if isinstance(items, MultiVector) else items[rows]

    return vectors


def candidates(*rows):
    return [Hit(IDS[row], 100.0 - place) for place, row in enumerate(rows)]


def test_hits_are_ranked_by_the_inner_product(rng):
    queries, items = torch.randn(3, 5, generator=rng), torch.randn(9, 5, generator=rng)
    chosen = [(4, 0, 7), (1, 2, 3, 8, 5), (6,)]
    found = rescore_hits(queries, [candidates(*rows) for rows in chosen], lookup(items))
    for query, rows, hits in zip(queries, chosen, found, strict=True):
        scores = {IDS[row]: float(query @ items[row]) for row in rows}
        assert [hit.id for hit in hits] == sorted(scores, key=scores.get, reverse=True)
        assert {hit.id: hit.score for hit in hits} == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("kind", ["ragged", "int8"])
def test_hits_are_ranked_by_maxsim(kind):
    queries, items = ragged([2, 3], seed=1), ragged([1, 4, 2, 3, 5, 1, 2, 6, 2], seed=2)
    items = items.quantized() if kind == "int8" else items
    exact = reference.maxsim(queries, items)
    found = rescore_hits(queries, [candidates(8, 1, 5), candidates(0, 7, 3, 2)], lookup(items))
    for number, rows in enumerate([(8, 1, 5), (0, 7, 3, 2)]):
        scores = {IDS[row]: float(exact[number, row]) for row in rows}
        assert [hit.id for hit in found[number]] == sorted(scores, key=scores.get, reverse=True)
        assert {hit.id: hit.score for hit in found[number]} == pytest.approx(scores, abs=1e-4)


def test_one_query_vector_can_meet_items_of_several():
    items = ragged([2] * 9)
    query = torch.randn(1, 4, generator=torch.Generator().manual_seed(5))
    [hits] = rescore_hits(query, [candidates(*range(9))], lookup(items))
    best = max(range(9), key=lambda row: float((items[row] @ query[0]).max()))
    assert hits[0].id == IDS[best]


def test_numpy_vectors_do_as_well(rng):
    queries, items = torch.randn(1, 5, generator=rng), torch.randn(9, 5, generator=rng)
    hits = [candidates(0, 5, 3)]
    as_arrays = rescore_hits(queries.numpy(), hits, lambda ids: lookup(items)(ids).numpy())
    assert as_arrays == rescore_hits(queries, hits, lookup(items))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("several", [False, True])
def test_an_index_gives_the_vectors_of_candidates(rng, tmp_path, several, dtype):
    queries = torch.randn(3, 5, generator=rng)
    items = (
        ragged([1, 4, 2, 3, 5, 1, 2, 6, 2], d=5) if several else torch.randn(9, 5, generator=rng)
    )
    index = Index.create(tmp_path / "index", dtype=dtype)
    index.add(IDS, items, modality="image")
    exact = index.search(queries, k=9)
    first = [[Hit(hit.id, 0.0) for hit in reversed(hits[1:6])] for hits in exact]
    found = rescore_hits(queries, first, lambda ids: index.get(ids).vectors)
    assert [[hit.id for hit in hits] for hits in found] == [
        [hit.id for hit in hits[1:6]] for hits in exact
    ]
    for hits, best in zip(found, exact, strict=True):
        assert [hit.score for hit in hits] == pytest.approx([h.score for h in best[1:6]], abs=1e-5)


def test_an_item_that_several_queries_share_is_looked_up_once():
    calls = []
    items = torch.eye(9)
    rescore_hits(items[:2], [candidates(3, 1), candidates(1, 4)], lookup(items, calls))
    assert calls == [[IDS[3], IDS[1], IDS[4]]]


def test_equal_scores_keep_the_order_of_the_first_stage():
    same = torch.ones(9, 2)
    [first, second] = rescore_hits(
        same[:2], [candidates(7, 2, 5), candidates(5, 7, 2)], lookup(same)
    )
    assert [hit.id for hit in first] == [IDS[7], IDS[2], IDS[5]]
    assert [hit.id for hit in second] == [IDS[5], IDS[7], IDS[2]]


def test_what_is_known_of_an_item_stays():
    hit = Hit(IDS[2], 0.5, "image", {"page": 3})
    [[new]] = rescore_hits(torch.eye(9)[2:3], [[hit]], lookup(torch.eye(9)))
    assert new == Hit(IDS[2], 1.0, "image", {"page": 3})


def test_queries_that_found_nothing_stay_without_hits():
    items = torch.eye(9)
    assert rescore_hits(items[:1], [[]], lookup(items)) == [[]]
    found = rescore_hits(items[:2], [[], candidates(1)], lookup(items))
    assert [[hit.id for hit in hits] for hits in found] == [[], [IDS[1]]]


def test_wrong_inputs_are_refused():
    items = torch.eye(9)
    with pytest.raises(ValueError, match="hits must have one entry per row, 2; got 1"):
        rescore_hits(items[:2], [candidates(1)], lookup(items))
    with pytest.raises(ValueError, match=r"ids of one ranking must be unique; 1 repeat: 'item 1'"):
        rescore_hits(items[:1], [candidates(1, 1)], lookup(items))
    with pytest.raises(ValueError, match="what vectors gives must have one entry per row, 2"):
        rescore_hits(items[:1], [candidates(1, 2)], lambda ids: items[:1])
    with pytest.raises(ValueError, match="tokens of one width; got 9 and 4"):
        rescore_hits(items[:1], [candidates(1, 2)], lambda ids: items[:2, :4])
