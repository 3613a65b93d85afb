"""Hits of a calibrated adapter say how sure they are, and sets hold the right item."""

from __future__ import annotations

import pytest
import torch

import align
from align.adapters.calibration.confidence import CONSIDERED
from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.retrieval.index.index import Index
from align.retrieval.index.inputs import packed

M = 300


def planted():
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(1000, 16, generator=generator)

    def seen(d):
        noise = 3 * torch.randn(1000, d, generator=generator)
        return shared @ torch.randn(16, d, generator=generator) + noise

    return PairedEmbeddings.from_arrays(seen(24), seen(20)).split(test=M / 1000)


TRAIN, TEST = planted()
IDS = [str(row) for row in range(M)]
ADAPTER = align.fit(TRAIN, effort="fast")


def filled(path, *, side="target", **options):
    index = Index.create(path, ADAPTER, side=side, **options)
    kinds = [{"even": row % 2 == 0} for row in range(M)]
    index.add(IDS, TEST.target if side == "target" else TEST.source, metadata=kinds)
    return index


@pytest.fixture
def index(tmp_path):
    return filled(tmp_path)


@pytest.mark.parametrize("side", ["target", "source"])
@pytest.mark.parametrize("k", [1, 10, CONSIDERED + 20])
def test_hits_have_the_probabilities_of_their_scores(tmp_path, side, k):
    index = filled(tmp_path, side=side)
    asking = "source" if side == "target" else "target"
    queries = TEST.source if side == "target" else TEST.target
    known = ADAPTER.calibration.confidence(asking)
    every = index.search(queries[:5], k=M)
    for hits, whole in zip(index.search(queries[:5], k=k), every, strict=True):
        expected = known.probabilities([hit.score for hit in whole], M)
        assert [hit.confidence for hit in hits] == pytest.approx(expected[:k])
        assert len(hits) == k and hits == whole[:k]


def test_a_filter_leaves_fewer_items_to_confuse(index):
    queries = TEST.source[:40]
    whole = index.search(queries, k=1)
    halves = index.search(queries, k=1, where={"even": True})
    same = [
        (one[0].confidence, other[0].confidence)
        for one, other in zip(whole, halves, strict=True)
        if one[0].id == other[0].id
    ]
    assert len(same) > 10 and all(before < after for before, after in same)


def test_halves_are_as_sure_as_whole_numbers(index, tmp_path):
    halves = filled(tmp_path / "halves", dtype="float16")
    pairs = zip(index.search(TEST.source, k=1), halves.search(TEST.source, k=1), strict=True)
    for [one], [other] in pairs:
        assert other.confidence == pytest.approx(one.confidence, abs=0.02)


def test_scores_of_another_kind_are_not_taken_for_those_that_were_calibrated(index, tmp_path):
    queries = TEST.source[:3]
    assert index.search(queries, k=2)[0][0].confidence is not None
    for hits in (
        index.search(queries, k=2, standardize=True),
        index.search(queries, k=2, candidates=20),
        index.search(packed(ADAPTER.queries(queries)), k=2),
    ):
        assert {hit.confidence for row in hits for hit in row} == {None}
    plain = Index.create(tmp_path / "plain", rcca(TRAIN.source, TRAIN.target))
    plain.add(IDS, TEST.target)
    assert plain.search(queries, k=2)[0][0].confidence is None
    z = ADAPTER.gallery(TEST.target[:2])
    index.add(["two"], MultiVector.pack([z]))
    assert index.search(queries, k=2)[0][0].confidence is None


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_a_set_holds_the_right_item_as_often_as_it_says(index, coverage):
    found = index.search_set(TEST.source, coverage=coverage)
    held = [str(row) in {hit.id for hit in hits} for row, hits in enumerate(found)]
    assert sum(held) / M == pytest.approx(coverage, abs=0.1)  # three standard errors


def test_a_set_is_what_lies_above_the_line(index):
    line = ADAPTER.calibration.confidence("source").line(0.9)
    every = index.search(TEST.source, k=M)
    for hits, whole in zip(index.search_set(TEST.source, coverage=0.9), every, strict=True):
        assert hits == [hit for hit in whole if hit.score >= line]
    sizes = [len(hits) for hits in index.search_set(TEST.source, coverage=0.99)]
    assert max(sizes) > CONSIDERED, "more than one round of searching is tested"


def test_a_set_is_empty_where_nothing_fits(index):
    away = Index.create(index.folder / "away", ADAPTER)
    worst = (ADAPTER.queries(TEST.source[:1]) @ ADAPTER.gallery(TEST.target).T).argmin()
    away.add(["far"], TEST.target[worst][None])
    assert away.search_set(TEST.source[:1], coverage=0.5) == [[]]


def test_a_set_can_be_filtered(index):
    some = index.search_set(TEST.source[:20], coverage=0.95, where={"even": True})
    assert all(int(hit.id) % 2 == 0 for hits in some for hit in hits) and any(some)
    nobody = index.search_set(TEST.source[:2], where={"even": lambda value: False})
    assert nobody == [[], []]


def test_sets_of_what_is_not_calibrated_are_refused(index, tmp_path):
    message = r"an adapter that was calibrated; one of these is missing. Fit with align.fit"
    with pytest.raises(ValueError, match=message):
        index.search_set(packed(ADAPTER.queries(TEST.source[:2])))
    plain = Index.create(tmp_path / "plain")
    plain.add(IDS, TEST.target)
    with pytest.raises(ValueError, match=message):
        plain.search_set(TEST.target[:2])
    with pytest.raises(ValueError, match=r"coverage must lie in \(0, 1\); got 90"):
        index.search_set(TEST.source[:2], coverage=90)
    with pytest.raises(ValueError, match="holds none"):
        Index.create(tmp_path / "empty", ADAPTER).search_set(TEST.source[:2])


def test_a_retriever_is_as_sure_as_its_index(index):
    rows = align.CallableEncoder(lambda items: TEST.source[items], name="rows", dim=24)
    retriever = align.Retriever(index, source=rows)
    assert retriever.search([3, 4], k=5) == index.search(TEST.source[3:5], k=5)
    found = retriever.search_set([3, 4], coverage=0.8)
    assert found == index.search_set(TEST.source[3:5], coverage=0.8)
    assert [hits.query for hits in found] == [3, 4]
    assert retriever.search_set([]) == []


def test_fused_and_rescored_hits_are_no_longer_sure(index):
    hits = index.search(TEST.source[:2], k=5)
    assert hits[0][0].confidence is not None
    for fuse in (align.reciprocal_rank_fusion, align.z_score_fusion):
        assert fuse([hits, hits])[0][0].confidence is None
    again = align.rescore_hits(
        ADAPTER.queries(TEST.source[:2]), hits, lambda ids: index.get(ids).vectors
    )
    assert {hit.confidence for row in again for hit in row} == {None}
