"""A head that draws on token states is asked with them, from either side."""

from __future__ import annotations

import pytest
import torch

from align import Index
from align.apps.serving.gallery import Gallery, Question, Scope
from align.retrieval.retriever import Retriever
from tests.helpers.meta_heads import TOKEN_WIDTHS, WIDTHS, made


class TokenLookup:
    """Gives rows and token states of numbered items; any other text is the first."""

    def __init__(self, side, rows, tokens, modality="text"):
        self.modality, self.dim, self.token_dim = modality, WIDTHS[side], TOKEN_WIDTHS[side]
        self.fingerprint, self._rows, self._tokens = f"lookup {side}", rows, tokens

    def _at(self, items):
        numbers = [int(item) if str(item).isdigit() else 0 for item in items]
        return torch.tensor(numbers)

    def encode(self, items, *, progress=False):
        return self._rows[self._at(items)]

    def encode_tokens(self, items, *, progress=False):
        return self._tokens.take(self._at(items))


@pytest.fixture(params=[False, True], ids=["plain", "corrected"])
def served(request, tmp_path, rng):
    """A head, its pairs, and a gallery of its targets; texts ask and code is found."""
    found = made(rng=rng, hubness=request.param)
    index = Index.create(tmp_path, found.head)
    index.add(
        list(map(str, range(30))), found.head.gallery(found.sides[1], found.tokens[1]),
        modality="code",
    )  # fmt: skip
    encoders = [
        TokenLookup(side, found.sides[side], found.tokens[side], kind)
        for side, kind in enumerate(("text", "code"))
    ]
    return found, index, Gallery(Retriever(index, source=encoders[0], target=encoders[1]))


@pytest.mark.parametrize("budget", [None, 1, 2])
def test_a_text_query_has_all_vectors_of_the_head(served, budget):
    found, index, made_gallery = served
    asked = found.head.queries(found.sides[0], found.tokens[0])
    both = None if budget is None else (budget, budget)
    for row in (0, 7):
        by_hand = index.search(asked[row : row + 1], k=5, budget=both)[0]
        hits = made_gallery.search(Question("text", str(row)), k=5, scope=Scope(budget=budget)).hits
        assert [hit.id for hit in hits] == [hit.id for hit in by_hand]
        assert [hit.score for hit in hits] == pytest.approx(
            [hit.score for hit in by_hand], abs=1e-6
        )


def test_queries_of_the_indexed_side_rank_by_similarity_alone(served):
    """Whatever the correction, an item is asked for as the head makes it without one."""
    found, _, made_gallery = served
    alone = found.head.target(found.sides[1], found.tokens[1])
    hits = made_gallery.search(Question("item", "3"), k=29).hits
    others = [int(hit.id) for hit in hits]
    by_hand = [float((alone[3] @ alone[row].T).amax(dim=1).sum()) for row in others]
    assert 3 not in others and len(others) == 29
    assert [hit.score for hit in hits] == pytest.approx(by_hand, abs=1e-5)
