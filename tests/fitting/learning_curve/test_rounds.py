"""What a curve is fitted to and judged on never meets, and galleries are of one size."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.data.embeddings import PairedEmbeddings
from align.fitting.learning_curve.rounds import QUERIES, deal_rounds


def pairs(groups, domains=None):
    rows = torch.randn(len(groups), 3, generator=torch.Generator().manual_seed(0))
    return PairedEmbeddings.from_arrays(
        rows, rows, groups=[str(each) for each in groups], domains=domains
    )


@settings(max_examples=25, deadline=None)
@given(
    groups=st.lists(st.integers(0, 400), min_size=160, max_size=260).filter(
        lambda groups: len(set(groups)) >= 50
    ),
    folds=st.integers(3, 5),
    seed=st.integers(0, 3),
)
def test_groups_are_held_out_whole_and_samples_are_nested(groups, folds, seed):
    train = pairs(groups)
    rounds = deal_rounds(train, folds=folds, seed=seed)
    assert len(rounds) == folds
    assert len({len(each.held_out) for each in rounds}) == 1
    for each in rounds:
        held_out = {groups[row] for row in each.held_out.tolist()}
        assert len(held_out) == len(each.held_out)
        for smaller, larger in zip(each.samples, each.samples[1:], strict=False):
            assert set(smaller.tolist()) <= set(larger.tolist())
        largest = {groups[row] for row in each.samples[-1].tolist()}
        assert not held_out & largest
        shares = (1 / 8, 1 / 4, 1 / 2)
        for share, sample in zip(shares, each.samples[:3], strict=True):
            assert len({groups[row] for row in sample.tolist()}) >= 10
            assert len(sample) >= round(share * len(groups))


def test_samples_are_of_whole_groups_and_hardly_larger_than_asked_for():
    train = pairs([row // 3 for row in range(600)])
    for each in deal_rounds(train, folds=5, seed=0):
        assert [len(sample) for sample in each.samples] == [75, 150, 300, 480]
        for sample in each.samples:
            assert all(n == 3 for n in torch.bincount(sample // 3) if n)


def test_domains_are_held_out_whole_where_there_are_any():
    train = pairs(range(300), [str(row // 10) for row in range(300)])
    for each in deal_rounds(train, folds=3, seed=0):
        assert not set((each.held_out // 10).tolist()) & set((each.samples[-1] // 10).tolist())


def test_no_more_folds_are_used_than_hold_out_enough():
    rounds = deal_rounds(pairs(range(12_000)), folds=5, seed=0)
    assert len(rounds) == 2 and sum(len(each.held_out) for each in rounds) == QUERIES
    assert len(deal_rounds(pairs(range(1000)), folds=5, seed=0)) == 5
