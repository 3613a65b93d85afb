"""``Retriever.explain``: from a query and a hit to the terms of the hit's score."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import align
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion, ReferenceSet

RNG = np.random.default_rng(0)
CAPTIONS = RNG.standard_normal((120, 6)).astype("f4")
WORDS = {f"text {row}": row for row in range(120)}
TITLES = {f"title {row}": row for row in range(120)}
WEIGHT = RNG.standard_normal((6, 8)).astype("f4")


def source(items):
    return CAPTIONS[[WORDS[item] for item in items]]


def target(items):
    return CAPTIONS[[TITLES[item] for item in items]] @ WEIGHT


@pytest.fixture
def retriever(tmp_path):
    x, y = torch.from_numpy(CAPTIONS), torch.from_numpy(CAPTIONS @ WEIGHT)
    plain = rcca(x, y)
    kept = ReferenceSet(
        plain.source(x), plain.target(y),
        expansion=Expansion(0.5, 6.0), hubness=InvertedSoftmax(10.0),
    )  # fmt: skip
    index = align.Index.create(tmp_path / "idx", plain.replaced(reference=kept))
    made = align.Retriever(
        index,
        source=align.CallableEncoder(source, name="texts", dim=6),
        target=align.CallableEncoder(target, name="titles", dim=8),
    )
    rows = range(60)
    texts = [{"text": f"title {row}"} if row != 9 else {} for row in rows]
    made.add([str(row) for row in rows], [f"title {row}" for row in rows], metadata=texts)
    return made


def test_the_terms_of_a_hit_add_up_to_its_score(retriever):
    [hits] = retriever.search(["text 3"])
    found = retriever.explain(hits.query, hits[0])
    assert found.score == pytest.approx(hits[0].score, abs=1e-5)
    assert found.total == pytest.approx(hits[0].score, abs=1e-5)
    assert found.expansion != 0 and found.hubness < 0
    assert (found.query, found.item) == ("text 3", "title 3")
    assert "'title 3' for 'text 3'" in str(found)


def test_an_item_that_is_not_kept_is_explained_by_its_stored_vector(retriever):
    found = retriever.explain("text 9", "9")
    assert found.expansion is None and found.item == "9"
    assert found.total == pytest.approx(found.score, abs=1e-5)
    assert "what the expansion added is part of them" in str(found)


def test_a_text_that_changed_since_is_not_taken_for_the_item(retriever):
    retriever.index.delete(["4"])
    retriever.index.add(["4"], CAPTIONS[5:6] @ WEIGHT, metadata=[{"text": "title 4"}])
    found = retriever.explain("text 4", "4")
    assert found.expansion is None
    [hits] = retriever.search(["text 4"], k=60)
    assert found.score == pytest.approx(next(h.score for h in hits if h.id == "4"), abs=1e-5)


def test_pairs_are_named(retriever):
    pairs = align.PairedEmbeddings.from_arrays(CAPTIONS, CAPTIONS @ WEIGHT)
    found = retriever.explain("text 3", "3", pairs=pairs, names=list(WORDS), top=2)
    assert found.pairs[0].name == "text 3" and len(found.directions) == 2


def test_queries_of_the_other_side_and_stored_int8_add_up_too(retriever, tmp_path):
    index = align.Index.create(
        tmp_path / "back", retriever.index.adapter, side="source", dtype="int8"
    )
    back = align.Retriever(
        index,
        source=align.CallableEncoder(source, name="texts", dim=6),
        target=align.CallableEncoder(target, name="titles", dim=8),
    )
    back.add(
        list(WORDS)[:40], list(WORDS)[:40], metadata=[{"text": text} for text in list(WORDS)[:40]]
    )
    [hits] = back.search(["title 8"])
    found = back.explain(hits.query, hits[0])
    assert found.total == pytest.approx(hits[0].score, abs=1e-4)
    assert found.expansion is not None


def test_an_id_that_is_not_there_is_named(retriever):
    with pytest.raises(KeyError, match="ids must be in the index"):
        retriever.explain("text 3", "gone")
