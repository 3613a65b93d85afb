"""Scores and ids that others give: what cannot be sorted or told apart is refused."""

import numpy as np
import pytest
import torch

from align import wrap
from align.retrieval.cascade import candidates_for, cascade
from align.retrieval.first_stages import first_stage
from align.retrieval.hits import Hit
from align.retrieval.index.index import Index
from align.retrieval.reranking import rescore_hits
from align.scoring.topk import Neighbours
from tests.helpers.lookups import planted_pairs
from tests.retrieval.multi_documents import names, ragged

PAIRS, SOURCE, _ = planted_pairs()
NAN, INF = float("nan"), float("inf")


def answered(adapter, ids, scores, k=2):
    return wrap(lambda queries, k: (ids, scores), adapter, SOURCE).search(["s0"], k=k)


@pytest.mark.parametrize(
    ("ids", "scores", "error", "message"),
    [
        ([["a", "b"]], [[NAN, 1.0]], ValueError, "that of 'a' is NaN"),
        (np.array([[1, 2]]), np.array([[1.0, np.nan]]), ValueError, "that of 2 is NaN"),
        ([["a", "a"]], [[1.0, 0.5]], ValueError, r"must be unique.*'a' \(rows 0 and 1\)"),
        ([["a", "b"]], [["1.0", "0.5"]], TypeError, "scores must be numbers; that of 'a' is '1.0'"),
        ([["a", "b"]], [[None, 1.0]], TypeError, "scores must be numbers; that of 'a' is None"),
        ([["a", "b"]], [[True, False]], TypeError, "scores must be numbers"),
        ([["a", "b"]], [[1j, 1.0]], TypeError, "scores must be numbers"),
        ([[0.5, 1.5]], [[1.0, 0.5]], TypeError, "strings or whole numbers.*got 0.5 of type float"),
        (np.array([[1.0, 2.0]]), [[1.0, 0.5]], TypeError, "got 1.0 of type float"),
        ([[b"a", b"b"]], [[1.0, 0.5]], TypeError, "got b'a' of type bytes"),
        ([[NAN, "b"]], [[1.0, 0.5]], TypeError, "got nan of type float"),
        ([[True, 2]], [[1.0, 0.5]], TypeError, "got True of type bool"),
        (
            [["a", "b", "c"]],
            [[1.0, 0.5, 0.2]],
            ValueError,
            "at most k ids for each query, 2; got 3",
        ),
        ([["a", "b"]], [[1.0]], ValueError, "scores of one query must have one entry per row, 2"),
        (["ab"], [[1.0, 0.5]], TypeError, "a row that search returned must be a list"),
    ],
)
def test_what_a_running_retriever_cannot_mean_is_refused(adapter, ids, scores, error, message):
    with pytest.raises(error, match=message):
        answered(adapter, ids, scores)


def test_infinity_is_a_score_and_padding_may_have_any(adapter):
    found = answered(adapter, [["a", "b", None]], [[INF, -INF, NAN]], k=3)
    assert [(hit.id, hit.score) for hit in found[0]] == [("a", INF), ("b", -INF)]
    numbers = answered(adapter, torch.tensor([[3, -1]]), torch.tensor([[0.5, -INF]]))
    assert numbers == [[Hit(3, 0.5)]] and type(numbers[0][0].score) is float


class Planted:
    """A first stage with planted answers, the same for every query."""

    def __init__(self, size, values, indices):
        self.size, self.values, self.indices = size, values, indices

    def __len__(self):
        return self.size

    def __call__(self, queries, n):
        rows = len(queries)
        return Neighbours(self.values[:n].repeat(rows, 1), self.indices[:n].repeat(rows, 1))

    def flops(self, queries):
        return 0


BAD_STAGES = {
    "NaN": (torch.tensor([1.0, NAN, 0.5]), torch.arange(3), "1 of 3 are NaN|2 of 6 are NaN"),
    "repeats": (torch.ones(3), torch.tensor([0, 1, 0]), "it repeats some for"),
    "float rows": (torch.ones(3), torch.arange(3.0), "int64, with floating-point"),
    "whole scores": (torch.ones(3).long(), torch.arange(3), "int64, with floating-point"),
    "outside": (torch.ones(3), torch.tensor([0, 1, 3]), "from 0 to 3"),
    "too few": (torch.ones(2), torch.arange(2), r"of shape \(\d, 2\)"),
}


@pytest.mark.parametrize(("values", "indices", "message"), BAD_STAGES.values(), ids=BAD_STAGES)
def test_everything_that_takes_a_first_stage_refuses_what_cannot_be_sorted(
    rng, tmp_path, values, indices, message
):
    documents, queries = ragged(3, rng), ragged(2, rng)
    stage = Planted(3, values, indices)
    index = Index.create(tmp_path)
    index.add(names(3), documents)
    for call in (
        lambda: cascade(queries, documents, 1, candidates=3, first=stage),
        lambda: candidates_for(queries, documents, 3, recall=1.0, first=stage),
        lambda: index.search(queries, k=1, candidates=3, first=lambda items: stage),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_first_stage_may_give_minus_infinity_to_what_it_does_not_know(rng):
    documents, queries = ragged(3, rng), ragged(2, rng)
    stage = Planted(3, torch.tensor([1.0, -INF, -INF]), torch.arange(3))
    found = cascade(queries, documents, 2, candidates=3, first=stage)
    whole = cascade(queries, documents, 2, candidates=3, first=first_stage(documents))
    assert torch.equal(found.indices, whole.indices)


def test_documents_with_nan_are_not_ranked_first_when_scored_again(rng):
    documents, queries = ragged(3, rng), ragged(1, rng)
    documents.tokens[documents.offsets[1] : documents.offsets[2]] = NAN
    with pytest.raises(ValueError, match="scores must be finite"):
        cascade(
            queries, documents, 3, candidates=3, first=Planted(3, torch.zeros(3), torch.arange(3))
        )


@pytest.mark.parametrize("bad", [NAN, INF])
def test_vectors_that_a_lookup_gives_must_be_finite(rng, bad):
    rows = torch.randn(3, 4, generator=rng)
    rows[1, 2] = bad
    hits = [[Hit(name, 1.0) for name in "abc"]]
    with pytest.raises(ValueError, match="what vectors gives must be finite; row 1 of 3"):
        rescore_hits(torch.ones(1, 4), hits, lambda ids: rows)
    with pytest.raises(ValueError, match="queries must be finite; row 0 of 1"):
        rescore_hits(torch.full((1, 4), bad), hits, lambda ids: torch.ones(3, 4))


@pytest.mark.parametrize(
    ("hits", "error", "message"),
    [
        ([[Hit("a", NAN)]], ValueError, "that of 'a' is NaN"),
        ([[Hit("a", 1.0), Hit("a", 0.5)]], ValueError, "must be unique"),
        ([["a"]], TypeError, "a ranking must be a list of Hit"),
        ([Hit("a", 1.0)], TypeError, "a ranking must be a list of Hit"),
    ],
)
def test_hits_that_are_scored_again_must_be_hits(hits, error, message):
    with pytest.raises(error, match=message):
        rescore_hits(torch.ones(1, 4), hits, lambda ids: torch.ones(len(ids), 4))


@pytest.mark.parametrize("value", [1e30, 1e-30, 3e38])
def test_an_int8_index_of_any_size_of_number_works_or_is_refused(tmp_path, value):
    index = Index.create(tmp_path, dtype="int8")
    rows = torch.eye(4) * value
    try:
        index.add(names(4), rows)
    except ValueError as error:
        assert "items must be finite" in str(error) and "choose a wider dtype" in str(error)
        return
    held = index.get(names(4)).vectors
    assert bool(held.scales.isfinite().all()) and bool((held.scales > 0).all())
    torch.testing.assert_close(held.to(dtype=torch.float32).tokens, rows, rtol=0.01, atol=0)
    assert index.search(torch.eye(4)[2:3], k=1)[0][0].id == "item 2"


def test_a_float16_index_refuses_numbers_that_it_cannot_hold(tmp_path):
    index = Index.create(tmp_path, dtype="float16")
    with pytest.raises(ValueError, match=r"finite in torch.float16; 1 of 2.*the first at \[1\]"):
        index.add(["a", "b"], torch.tensor([[1.0, 2.0], [1e6, 1.0]]))
    assert len(index) == 0


@pytest.mark.parametrize("budget", [5, "11", (1,), (1, 0), (1.0, 2), (True, 1), {1: 1, 2: 2}])
def test_a_budget_that_is_no_pair_is_refused(rng, tmp_path, budget):
    index = Index.create(tmp_path)
    index.add(names(2), ragged(2, rng))
    with pytest.raises(ValueError, match=r"budget must be a pair \(r_q, r_c\)"):
        index.search(ragged(1, rng), k=1, budget=budget)
