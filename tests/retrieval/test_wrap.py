"""A wrapped retriever answers the other side; one filled by another encoder is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from align import Index, fit, upgrade, wrap
from align.adapters.calibration.confidence import CONSIDERED
from align.adapters.corrections.hubness import CSLS
from align.adapters.corrections.reference_set import ReferenceSet
from tests.helpers.lookups import lookup, planted_pairs

PAIRS, SOURCE, TARGET = planted_pairs()
ITEMS = [f"t{row}" for row in range(len(PAIRS))]


def inner_product(vectors, ids=None):
    """A retriever as users have them: exact, over stored vectors that it never changes."""
    held = np.array(np.asarray(vectors), dtype=np.float32)
    held.flags.writeable = False

    def search(queries, k):
        assert queries.dtype == np.float32 and queries.flags.c_contiguous
        scores = queries @ held.T
        found = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        named = found if ids is None else np.array(ids)[found]
        return named, np.take_along_axis(scores, found, axis=1)

    return search


@pytest.fixture(scope="module")
def both():
    return fit(PAIRS, effort="fast")


def own_vectors():
    return torch.nn.functional.normalize(PAIRS.target, dim=1)


def test_a_query_only_adapter_searches_the_vectors_that_are_there():
    adapter = fit(PAIRS, side="source", effort="fast")
    wrapped = wrap(inner_product(own_vectors(), ITEMS), adapter, SOURCE)
    hits = wrapped.search([f"s{row}" for row in range(50)], k=3)
    expected = (adapter.queries(PAIRS.source[:50]) @ own_vectors().T).topk(3)
    assert [[hit.id for hit in row] for row in hits] == [
        [f"t{row}" for row in rows] for rows in expected.indices.tolist()
    ]
    assert [hit.score for hit in hits[0]] == pytest.approx(expected.values[0].tolist(), abs=1e-6)
    found = [f"t{row}" in {hit.id for hit in hits[row]} for row in range(50)]
    assert sum(found) > 20  # of 200, three by chance would be under one


@pytest.mark.parametrize("side", ["source", "target"])
def test_scores_are_the_corrected_ones_over_gallery_vectors(both, side):
    asking, held = (
        (PAIRS.source, PAIRS.target) if side == "source" else (PAIRS.target, PAIRS.source)
    )
    other = "target" if side == "source" else "source"
    encoder = {"source": SOURCE, "target": TARGET}[side]
    wrapped = wrap(inner_product(both.gallery(held, side=other)), both, encoder, side=side)
    expected = both.queries(asking[:9], side=side) @ both.gallery(held, side=other).T
    hits = wrapped.search([f"{side[0]}{row}" for row in range(9)], k=5)
    assert [[hit.id for hit in row] for row in hits] == expected.topk(5).indices.tolist()


def test_a_new_encoder_searches_an_old_index():
    new = torch.cat([PAIRS.target @ torch.randn(9, 12, generator=torch.Generator().manual_seed(1))])
    adapter = upgrade(new, PAIRS.target).adapter
    wrapped = wrap(inner_product(own_vectors(), ITEMS), adapter, lookup("t", new, name="new"))
    hits = wrapped.search(ITEMS[:50], k=1)
    assert sum(found[0].id == f"t{row}" for row, found in enumerate(hits)) > 45


@pytest.mark.parametrize("storage", [np.float32, np.float16, "int8"], ids=str)
@pytest.mark.parametrize("length", [1.0, 37.0])
def test_stored_vectors_of_the_right_encoder_pass_however_they_are_stored(both, storage, length):
    vectors = both.gallery(PAIRS.target[:20]).numpy() * length
    if storage == "int8":
        scale = np.abs(vectors).max() / 127
        vectors = np.round(vectors / scale) * scale
    else:
        vectors = vectors.astype(storage)
    stored = ITEMS[:20], vectors
    wrap(inner_product(vectors), both, SOURCE, stored=stored, stored_encoder=TARGET)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v.flip(0), "mean cosine"),
        (lambda v: torch.randn(v.shape, generator=torch.Generator().manual_seed(0)), "mean cosine"),
        (lambda v: v[:, 1:], r"stored vectors must be \(20, \d+\)"),
        (lambda v: v[1:], r"stored vectors must be \(20, \d+\)"),
        (lambda v: v * torch.inf, "finite"),
    ],
    ids=["another order", "another encoder", "another width", "one short", "infinite"],
)
def test_an_index_of_another_encoder_is_refused(both, spoil, message):
    stored = ITEMS[:20], spoil(both.gallery(PAIRS.target[:20]))
    with pytest.raises(ValueError, match=message):
        wrap(inner_product(own_vectors()), both, SOURCE, stored=stored, stored_encoder=TARGET)


def test_rows_that_the_retriever_padded_are_left_out(both):
    def search(queries, k):
        return [["a", None, -1]] * len(queries), np.full((len(queries), k), 0.5)

    hits = wrap(search, both, SOURCE).search(["s0", "s1"], k=3)
    assert [[(hit.id, hit.score) for hit in row] for row in hits] == [[("a", 0.5)]] * 2


def test_whole_numbers_and_tensors_come_back_as_python_values(both):
    def search(queries, k):
        return torch.arange(k).repeat(len(queries), 1), [np.ones(k, dtype=np.float32)]

    (hit,) = wrap(search, both, SOURCE).search(["s0"], k=1)[0]
    assert (type(hit.id), type(hit.score)) == (int, float)


def test_metadata_that_the_retriever_returns_reach_the_hits(both):
    def search(queries, k):
        return [["a", None, "b"]], [[0.9, 0.0, 0.5]], [[{"path": "a.png"}, {"of": "padding"}, None]]

    first, second = wrap(search, both, SOURCE).search(["s0"], k=3)[0]
    assert (first.id, first.metadata) == ("a", {"path": "a.png"})
    assert (second.id, second.metadata) == ("b", {})


def test_a_notebook_shows_the_pictures_of_a_wrapped_retriever(both, tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")

    def search(queries, k):
        return [["a"]], [[0.9]], [[{"path": str(tmp_path / "red.png")}]]

    shown = wrap(search, both, SOURCE).search(["s0"], k=1)._repr_html_()
    assert "data:image" in shown


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "must return a tuple, .*; got NoneType"),
        (([[1]],), "got tuple of 1"),
        ([[[1]], [[0.5]], [[None]], 4], "got list of 4"),
        (([[1]], [[0.5]], [["a.png"]]), "must be mappings, .*; that of 1 is of type str"),
    ],
)
def test_an_answer_of_another_form_is_refused(both, answer, message):
    with pytest.raises(TypeError, match=message):
        wrap(lambda queries, k: answer, both, SOURCE).search(["s0"], k=1)


def test_no_queries_have_no_hits(both):
    assert wrap(inner_product(own_vectors()), both, SOURCE).search([]) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (([[1]], [[1.0], [2.0]]), "ids that search returned must have one entry per row, 2; got 1"),
        (([[1], [2]], [[1.0]]), "scores that search returned must have one entry per row, 2"),
        (([[1], [2, 3]], [[1.0], [2.0]]), "scores of one query must have one entry per row, 2"),
        (([[1], [2]], [[1.0], [2.0]], [[None]]), "metadata that search returned must have one"),
        (([[1], [2]], [[1.0], [2.0]], [[None], []]), "metadata of one query must have one entry"),
        (([[1], [2]], [[1.0], [float("nan")]]), "scores must be numbers; that of 2 is NaN"),
    ],
)
def test_an_answer_that_does_not_fit_the_queries_is_refused(both, answer, message):
    with pytest.raises(ValueError, match=message):
        wrap(lambda queries, k: answer, both, SOURCE).search(["s0", "s1"], k=1)


class Prepared:
    """An encoder whose item is a matrix of vectors already, so that encoding costs nothing."""

    modality, dim, fingerprint = SOURCE.modality, SOURCE.dim, SOURCE.fingerprint

    def encode(self, items, *, progress=None):
        return items[0]


class Operators(TorchDispatchMode):
    """Counts the operators that PyTorch runs."""

    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def counted(call):
    """Operators of PyTorch, and functions of Python, that a call runs."""
    call()  # what is loaded on first use
    with Operators() as operators:
        call()
    frames = 0

    def count(frame, event, argument):
        nonlocal frames
        frames += event == "call"

    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return operators.calls, frames


@pytest.mark.parametrize("corrected", [False, True])
def test_a_query_costs_few_operators_and_calls(both, corrected):
    adapter = fit(PAIRS, side="source", effort="fast")
    if corrected:
        vectors = both.source(PAIRS.source), both.target(PAIRS.target)
        adapter = both.replaced(reference=ReferenceSet(*vectors, expansion=None, hubness=CSLS(5)))
    answer = [list(range(10))], np.linspace(1, 0, 10)[None]
    wrapped = wrap(lambda vectors, k: answer, adapter, Prepared())
    operators, calls = counted(lambda: wrapped.search([PAIRS.source[:1]]))
    assert operators <= 6
    assert calls <= 120


def test_k_below_one_is_refused(both):
    with pytest.raises(ValueError, match="k must be finite and at least 1; got 0"):
        wrap(inner_product(own_vectors()), both, SOURCE).search(["s0"], k=0)


def test_a_wrapped_retriever_of_known_size_is_as_sure_as_an_index(both, tmp_path):
    index = Index.create(tmp_path, both)
    index.add(ITEMS, PAIRS.target)
    asked = []

    def search(queries, k):
        asked.append(k)
        return inner_product(both.gallery(PAIRS.target), ITEMS)(queries, k)

    found = wrap(search, both, SOURCE, size=len(ITEMS)).search(["s3", "s4"], k=3)
    expected = index.search(PAIRS.source[3:5], k=3)
    assert asked == [CONSIDERED] and [len(hits) for hits in found] == [3, 3]
    for hits, others in zip(found, expected, strict=True):
        assert [hit.id for hit in hits] == [hit.id for hit in others]
        assert [hit.confidence for hit in hits] == pytest.approx(
            [hit.confidence for hit in others], abs=1e-4
        )
    assert wrap(search, both, SOURCE).search(["s3"], k=3)[0][0].confidence is None
    assert asked[1:] == [3]


def test_scores_that_do_not_fall_are_no_inner_products_to_be_sure_of(both):
    def distances(queries, k):
        return [["a", "b"]] * len(queries), [[0.1, 0.4]] * len(queries)

    [hits] = wrap(distances, both, SOURCE, size=2).search(["s3"], k=2)
    assert [hit.confidence for hit in hits] == [None, None]


def test_a_size_needs_a_calibration(both):
    with pytest.raises(ValueError, match=r"an adapter that is calibrated; got size=9"):
        wrap(inner_product(own_vectors()), both.replaced(calibration=None), SOURCE, size=9)
    with pytest.raises(ValueError, match="size must be finite and at least 1; got 0"):
        wrap(inner_product(own_vectors()), both, SOURCE, size=0)
