"""Held-out retrieval with several vectors per item, against the adapter and plain counts."""

from __future__ import annotations

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.metrics import multi_vector as meta_evaluation
from align.metrics.evaluation import evaluate
from align.metrics.multi_vector import evaluate_meta_tokens
from align.scoring.kernels import reference
from tests.helpers.meta_heads import made
from tests.helpers.planted import shared_factors

KINDS = [("tokens", "tokens"), ("heads", "tokens"), ("heads", "heads")]


def held_out(it, rng, *, photos=None, noise=2.0):
    """Pairs that a head of ``made`` can take, noisy enough to be ranked apart.

    With ``photos`` the pairs share that many target items, each a group.
    """
    n = 30
    x, y = shared_factors(n, (6, 5), shared=3, noise=0.5)
    x = x + noise * torch.randn(x.shape, generator=rng)
    sides, groups = [*it.tokens], None
    if photos is not None:
        of = torch.arange(n) // (n // photos)
        y, groups = y[of], [f"photo {photo}" for photo in of.tolist()]
        if sides[1] is not None:
            sides[1] = MultiVector.pack([sides[1][photo] for photo in of.tolist()])
    return TokenPairs(PairedEmbeddings.from_arrays(x, y, groups=groups), *sides)


@pytest.mark.parametrize("photos", [None, 6], ids=["pairs", "captions"])
@pytest.mark.parametrize("hubness", [False, True], ids=["plain", "corrected"])
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_the_smallest_budget_is_evaluated_exactly_as_the_adapter(kinds, hubness, photos, rng):
    it = made(kinds, rng=rng, hubness=hubness)
    pairs = held_out(it, rng, photos=photos)
    found = evaluate_meta_tokens(pairs, it.head, budget=(1, 1), seed=3)
    alone = evaluate(pairs.pooled, it.head.adapter, seed=3)
    assert alone.mean["recall_at_1"].value < 1
    assert found.mean == alone.mean
    for mine, theirs in (
        (found.source_to_target, alone.source_to_target),
        (found.target_to_source, alone.target_to_source),
    ):
        assert mine.ranks.equal(theirs.ranks) and mine.groups.equal(theirs.groups)
        assert mine.metrics == theirs.metrics
        assert mine.ids == theirs.ids and mine.gallery_size == theirs.gallery_size


def test_a_head_without_aspects_is_evaluated_as_its_adapter(rng):
    it = made((None, None), rng=rng, asking=1)
    pairs = held_out(it, rng)
    found, alone = evaluate_meta_tokens(pairs, it.head), evaluate(pairs.pooled, it.head.adapter)
    assert found.mean == alone.mean


@pytest.mark.parametrize("budget", [None, (1, 1), (2, 3), (3, 4)], ids=str)
def test_ranks_are_those_of_late_interaction_counted_one_by_one(budget, rng):
    it = made(rng=rng)
    pairs = held_out(it, rng)
    found = evaluate_meta_tokens(pairs, it.head, budget=budget)
    r_q, r_c = budget or (3, 4)
    asked = it.head.queries(pairs.pooled.source, pairs.source).prefix(r_q)
    gallery = it.head.gallery(pairs.pooled.target, pairs.target).prefix(r_c)
    scores = reference.maxsim(asked, gallery)
    ranks = [int((row >= row[own]).sum()) for own, row in enumerate(scores)]
    assert found.source_to_target.ranks.tolist() == ranks
    back = reference.maxsim(
        it.head.queries(pairs.pooled.target, pairs.target, side="target").prefix(r_q),
        it.head.gallery(pairs.pooled.source, pairs.source, side="source").prefix(r_c),
    )
    ranks = [int((row >= row[own]).sum()) for own, row in enumerate(back)]
    assert found.target_to_source.ranks.tolist() == ranks
    assert len(set(ranks)) > 3


def test_photos_with_several_captions_are_one_item_with_one_set_of_tokens(rng):
    it = made(rng=rng)
    pairs = held_out(it, rng, photos=6)
    found = evaluate_meta_tokens(pairs, it.head)
    assert found.source_to_target.gallery_size == 6 and len(found.source_to_target.ranks) == 30
    assert found.target_to_source.gallery_size == 30 and len(found.target_to_source.ranks) == 6
    photos = torch.arange(0, 30, 5)
    gallery = it.head.gallery(pairs.pooled.target[photos], pairs.target.take(photos))
    scores = reference.maxsim(it.head.queries(pairs.pooled.source, pairs.source), gallery)
    ranks = [int((row >= row[query // 5]).sum()) for query, row in enumerate(scores)]
    assert found.source_to_target.ranks.tolist() == ranks


@pytest.mark.parametrize("rows", [1, 7, 29])
def test_queries_scored_at_a_time_change_nothing(rows, rng, monkeypatch):
    it = made(rng=rng)
    pairs = held_out(it, rng)
    whole = evaluate_meta_tokens(pairs, it.head)
    monkeypatch.setattr(meta_evaluation, "ROWS", rows)
    again = evaluate_meta_tokens(pairs, it.head)
    assert again.source_to_target.ranks.equal(whole.source_to_target.ranks)
    assert again.mean == whole.mean


def test_the_seed_moves_the_intervals_alone(rng):
    it = made(rng=rng)
    pairs = held_out(it, rng)
    a, b = (evaluate_meta_tokens(pairs, it.head, seed=seed).mean["recall_at_5"] for seed in (0, 1))
    assert a.value == b.value and (a.low, a.high) != (b.low, b.high)


@pytest.mark.parametrize("budget", [(4, 4), (3, 5), (1, 5), (0, 1), (2, 0)], ids=str)
def test_a_budget_beyond_the_head_is_refused(budget, rng):
    it = made(rng=rng)
    assert (it.head.asking, it.head.vectors) == (3, 4)
    with pytest.raises(ValueError, match="budget must"):
        evaluate_meta_tokens(held_out(it, rng), it.head, budget=budget)


def test_pairs_without_the_tokens_of_the_head_are_refused(rng):
    it = made(rng=rng)
    pooled = held_out(it, rng).pooled
    with pytest.raises(ValueError, match="draws on the token states of the source side; got none"):
        evaluate_meta_tokens(TokenPairs(pooled), it.head)
