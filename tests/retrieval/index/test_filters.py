"""Which items a search may find, and scores made comparable between modalities."""

import math
from collections import deque
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from align.data.multi_vector import MultiVector
from align.retrieval.first_stages import first_stage
from align.retrieval.index.filters import conditions_of, matching
from align.retrieval.index.index import Index
from align.retrieval.storage.metadata import Records
from align.scoring.fde import FDE
from align.scoring.kernels import reference
from align.scoring.topk import Neighbours, nearest
from tests.retrieval.multi_documents import names, ragged

N = 300
METADATA = [
    {"n": row, "odd": bool(row % 2), "tags": [row % 3], "one": 1}
    | ({"name": f"n{row % 5}"} if row % 4 else {})
    for row in range(N)
]
KINDS = ["image", "text", "code|text"]


def kind_of(row):
    return KINDS[row % 3]


@pytest.fixture(params=["pooled", "several"])
def filled(request, rng, tmp_path):
    """An index with deleted items, on disk and not, and its items in float32."""
    items = ragged(N, rng, high=4)
    items = items if request.param == "several" else items.prefix(1)
    index = Index.create(tmp_path)
    for start, stop in ((0, 120), (120, 290), (290, N)):
        index.add(
            names(stop - start, start),
            items[start:stop],
            metadata=METADATA[start:stop],
            modality=[kind_of(row) for row in range(start, stop)],
        )
        if stop < N:
            index.save()
    index.delete(names(10, 40))
    return index, items


LIVE = [row for row in range(N) if not 40 <= row < 50]

CASES = {
    "equal": ({"n": 7}, lambda row: row == 7),
    "one of": ({"n": [1, 45, 299, 1000]}, lambda row: row in (1, 299)),
    "true": ({"odd": True}, lambda row: row % 2),
    "true is not one": ({"one": True}, lambda row: False),
    "one is not true": ({"one": 1}, lambda row: True),
    "one of several kinds": ({"one": (True, 2)}, lambda row: False),
    "a missing field never matches": ({"name": "n3"}, lambda row: row % 4 and row % 5 == 3),
    "two fields": (
        {"name": {"n3", "n1"}, "odd": False},
        lambda row: row % 4 == 2 and row % 5 in (1, 3),
    ),
    "a function": ({"name": lambda name: name > "n2"}, lambda row: row % 4 and row % 5 > 2),
    "a function of a list": ({"tags": lambda tags: 2 in tags}, lambda row: row % 3 == 2),
    "a list among lists": ({"tags": [[2]]}, lambda row: row % 3 == 2),
    "a range": ({"n": range(40, 60, 3)}, lambda row: row in range(52, 60, 3)),
    "keys of a dictionary": ({"n": {7: "a", 45: "b", 9: "c"}.keys()}, lambda row: row in (7, 9)),
    "values of a dictionary": ({"n": {"a": 7}.values()}, lambda row: row == 7),
    "an array": ({"n": np.arange(5)}, lambda row: row < 5),
    "a number of NumPy": ({"n": np.int64(7)}, lambda row: row == 7),
    "an array of texts": (
        {"name": np.array(["n1", "n3"])},
        lambda row: row % 4 and row % 5 in (1, 3),
    ),
    "a tensor": ({"n": torch.tensor([3, 8])}, lambda row: row in (3, 8)),
    "a tensor of one number": ({"n": torch.tensor(3)}, lambda row: row == 3),
    "a series with labels": ({"n": pd.Series([3, 8], index=[9, 1])}, lambda row: row in (3, 8)),
    "a series of flags": ({"odd": pd.Series([True])}, lambda row: row % 2),
    "an index": ({"n": pd.Index([3])}, lambda row: row == 3),
    "a queue": ({"n": deque([3])}, lambda row: row == 3),
    "nothing": ({"n": []}, lambda row: False),
    "a frozen set": ({"n": frozenset({3.0})}, lambda row: row == 3),
    "a value that no item has": ({"n": None}, lambda row: False),
    "a modality in capitals": ({"modality": {"TEXT|code", "audio"}}, lambda row: row % 3 == 2),
    "a modality": ({"modality": "image"}, lambda row: row % 3 == 0),
    "one of two modalities": ({"modality": ["text", "image"]}, lambda row: row % 3 < 2),
    "a function of the modality": ({"modality": lambda name: "text" in name}, lambda row: row % 3),
    "everything": ({}, lambda row: True),
}


@pytest.mark.parametrize(("where", "suits"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("coarse", [None, (1, 1), FDE(8, 2, 2)], ids=str)
def test_filtered_search_is_search_of_what_suits(rng, filled, where, suits, coarse):
    index, items = filled
    queries = ragged(2, rng)
    rows = [row for row in LIVE if suits(row)]
    options = {} if coarse is None else {"candidates": len(index), "first": coarse}
    hits = index.search(queries, k=20, where=where, **options)
    if not rows:
        assert hits == [[], []]
        return
    scores = reference.maxsim(queries, items.take(torch.tensor(rows)))
    best = scores.topk(min(20, len(rows)), dim=1)
    assert [[hit.id for hit in row] for row in hits] == [
        [f"item {rows[place]}" for place in row] for row in best.indices.tolist()
    ]
    torch.testing.assert_close(
        torch.tensor([[hit.score for hit in row] for row in hits]), best.values
    )


def test_candidates_are_not_starved_by_what_may_not_be_found(rng, filled):
    index, _ = filled
    queries = ragged(3, rng)
    # The best items of all by far, and then none of them may be found.
    loud = 100 * torch.randn(50, 9, 8, generator=rng)
    index.add(names(50, N), MultiVector.from_equal(loud), modality="audio")
    where = {"modality": KINDS}
    for k in (5, 30):
        coarse = index.search(queries, k=k, where=where, candidates=k, first=(9, 9))
        exact = index.search(queries, k=k, where=where)
        assert [[hit.id for hit in row] for row in coarse] == [
            [hit.id for hit in row] for row in exact
        ]


def test_a_stage_may_be_made_by_any_function_and_proposes_again(rng, filled):
    index, _ = filled
    made, proposed = [], []

    class Nearest:
        def __init__(self, items):
            self.items = items.prefix(1)
            made.append(len(items))

        def __len__(self):
            return len(self.items)

        def __call__(self, queries, n):
            proposed.append(n)
            return nearest(queries.prefix(1).tokens, self.items.tokens, k=n)

        def flops(self, queries):
            return 0

    queries = ragged(2, rng)
    where = {"n": lambda n: n >= 200}
    for _ in range(2):
        hits = index.search(queries, k=4, where=where, candidates=40, first=Nearest)
        assert hits == index.search(queries, k=4, where=where, candidates=40, first=(1, 1))
    # Each segment once, however often it is searched.
    assert sum(made) == N
    assert max(proposed) > 40


def test_a_stage_of_other_items_or_that_leaves_some_out_is_refused(rng, filled):
    index, _ = filled
    with pytest.raises(ValueError, match="made from the items that it selects among; it holds 3"):
        index.search(
            ragged(1, rng), k=1, candidates=5, first=lambda found: first_stage(found[:3], (1, 1))
        )

    class Lame:
        def __init__(self, found):
            self.found = found

        def __len__(self):
            return len(self.found)

        def __call__(self, queries, n):
            zeros = torch.zeros(len(queries), n)
            return Neighbours(zeros, zeros.long())

    with pytest.raises(ValueError, match="must propose each item once for a query; it repeats"):
        index.search(ragged(1, rng), k=1, candidates=5, where={"odd": True}, first=Lame)


@pytest.mark.parametrize(
    ("least", "less", "message"),
    [
        (-1, 0, "from -1 to -1"),
        (0, 1, r"shape \(1, 4\), int64.* of shape \(1, 3\)"),
    ],
)
def test_a_stage_that_puts_forward_too_few_is_refused(rng, filled, least, less, message):
    class Short:
        def __init__(self, found):
            self.found = found

        def __len__(self):
            return len(self.found)

        def __call__(self, queries, n):
            found = torch.full((len(queries), n - less), least)
            return Neighbours(found.float(), found)

    with pytest.raises(ValueError, match=message):
        filled[0].search(ragged(1, rng), k=1, candidates=2, first=Short)
    filled[0].compact()
    with pytest.raises(ValueError, match="must propose 2 of its 290 items"):
        filled[0].search(ragged(1, rng), k=1, candidates=2, first=Short)


def generators():
    yield from (("n", range(40, 60, 3)), ("n", iter([7, 9])), ("modality", (x for x in ["image"])))


@pytest.mark.parametrize("at", range(3))
def test_a_generator_is_read_once_for_all_parts_of_an_index(rng, filled, at):
    index, _ = filled
    field, values = list(generators())[at]
    (same,) = [list(each) for name, each in [list(generators())[at]]]
    queries = ragged(1, rng)
    found = index.search(queries, k=20, where={field: values})
    assert found == index.search(queries, k=20, where={field: same}) and found[0]


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ({"n": math.nan}, ValueError, "got NaN, which equals nothing"),
        ({"n": [1, np.nan]}, ValueError, "got NaN, which equals nothing"),
        ({"n": pd.Series([1, None])}, ValueError, "got NaN, which equals nothing"),
        ({"n": pd.DataFrame({"n": [1]})}, TypeError, "got a table. Pass one column"),
        ({"name": b"n3"}, TypeError, "got a bytes, b'n3'"),
        ({"name": [Path("n3")]}, TypeError, r"got a (Posix|Windows)Path, n3"),
        ({"n": object()}, TypeError, "what metadata can hold: text, a number"),
        ({"n": datetime(2020, 1, 1)}, TypeError, "got a datetime, 2020-01-01"),
        ({"n": Decimal(1)}, TypeError, "got a Decimal, 1"),
        ({"modality": "imgae"}, ValueError, "a modality is one of text, image.*got 'imgae'"),
        ({"modality": ["image", "smell"]}, ValueError, "a modality is one of.*got 'smell'"),
        ({"modality": None}, TypeError, "names of modalities; got None. Known are text, image"),
        ({"modality": [1]}, TypeError, "names of modalities; got 1"),
        ({"nowhere": None}, ValueError, "none has 'nowhere'. .*'modality', 'n', 'name', 'odd'"),
        ({"n": 1, "nam": "a"}, ValueError, "none has 'nam'"),
    ],
)
def test_what_a_filter_cannot_mean_is_refused(rng, filled, where, error, message):
    with pytest.raises(error, match=message):
        filled[0].search(ragged(1, rng), where=where)


def test_a_field_that_only_deleted_items_have_is_unknown(rng, tmp_path):
    index = Index.create(tmp_path)
    index.add(["a", "b"], ragged(2, rng), metadata=[{"year": 2020}, {}])
    assert [hit.id for hit in index.search(ragged(1, rng), k=1, where={"year": 2020})[0]] == ["a"]
    index.delete(["a"])
    with pytest.raises(ValueError, match=r"none has 'year'"):
        index.search(ragged(1, rng), k=1, where={"year": 2020})


def test_a_field_is_read_once(filled, monkeypatch):
    records = filled[0]._segments[0].segment.records
    first = matching(records, conditions_of({"name": "n3"}))
    monkeypatch.setattr("align.retrieval.storage.metadata.json.loads", None)
    assert (matching(records, conditions_of({"name": "n3"})) == first).all()


def test_where_that_is_no_mapping_is_refused(rng, filled):
    for where in (["modality"], {1: 2}):
        with pytest.raises(TypeError, match="where must map fields of the metadata"):
            filled[0].search(ragged(1, rng), where=where)


def by_hand(scores, kinds):
    """The definition of standardized scores, in float64."""
    found = torch.zeros_like(scores)
    for kind in set(kinds):
        own = torch.tensor([each == kind for each in kinds])
        mean = scores[:, own].mean(1, keepdim=True)
        spread = scores[:, own].std(1, keepdim=True, correction=0)
        found[:, own] = (scores[:, own] - mean) / spread
    return found


@pytest.mark.parametrize("where", [None, {"odd": True}])
def test_standardized_scores_are_those_of_the_definition(rng, filled, where, monkeypatch):
    monkeypatch.setattr("align.retrieval.index.exact._SCORES", 64)
    index, items = filled
    queries = ragged(3, rng)
    live = items.take(torch.tensor(LIVE))
    z = by_hand(reference.maxsim(queries, live).double(), [kind_of(row) for row in LIVE])
    if where is not None:
        z[:, [row % 2 == 0 for row in LIVE]] = -torch.inf
    hits = index.search(queries, k=50, where=where, standardize=True)
    best = z.topk(50, dim=1)
    torch.testing.assert_close(
        torch.tensor([[hit.score for hit in row] for row in hits]).double(),
        best.values,
        atol=1e-4,
        rtol=1e-4,
    )
    assert [[hit.id for hit in row] for row in hits] == [
        [f"item {LIVE[place]}" for place in row] for row in best.indices.tolist()
    ]


def test_standardized_scores_let_no_modality_crowd_out_another(rng, tmp_path):
    index = Index.create(tmp_path)
    shift = torch.tensor([10.0, 0, 0, 0])
    index.add(names(50), torch.randn(50, 4, generator=rng) + shift, modality="text")
    index.add(names(50, 50), torch.randn(50, 4, generator=rng) - shift, modality="image")
    query = torch.tensor([[1.0, 0.2, 0.1, 0.3]])
    assert {hit.modality for hit in index.search(query, k=20)[0]} == {"text"}
    kinds = [hit.modality for hit in index.search(query, k=20, standardize=True)[0]]
    assert 4 <= kinds.count("image") <= 16


def test_scores_that_are_all_equal_are_standardized_to_nought(tmp_path):
    index = Index.create(tmp_path)
    index.add(["a"], torch.full((1, 3), 0.1), modality="image")
    index.add(["b", "c"], torch.full((2, 3), 0.7))
    hits = index.search(torch.full((1, 3), 0.3), k=3, standardize=True)[0]
    assert [(hit.id, hit.score) for hit in hits] == [("a", 0.0), ("b", 0.0), ("c", 0.0)]


def test_standardized_scores_need_all_scores(rng, filled):
    with pytest.raises(ValueError, match=r"need the scores of all items; got candidates=5"):
        filled[0].search(ragged(1, rng), k=2, standardize=True, candidates=5)


def test_modalities_are_written_in_one_way():
    records = Records.of(3, None, ["TEXT", "text | image", "image|text"])
    assert matching(records, conditions_of({"modality": "text|image"})).tolist() == [
        False,
        True,
        True,
    ]


def test_no_queries_find_nothing_with_a_filter(filled):
    none = MultiVector(torch.empty(0, 8), torch.zeros(1, dtype=torch.int64))
    for options in ({"where": {"odd": True}}, {"standardize": True}, {"candidates": 4}):
        assert filled[0].search(none, k=2, **options) == []
