"""Recall of each kind of pair by itself, beside chance and beside all others."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import align
from align.metrics.estimates import MEANS
from align.metrics.evaluation import evaluate
from align.metrics.subgroups import RankedQueries, subgroups


class Cosine:
    """Rows as they are."""

    def queries(self, x, *, side):
        return torch.as_tensor(x.vectors if hasattr(x, "vectors") else x)

    gallery = queries


def planted(rng, easy: int, hard: int):
    """Pairs of which the last ``hard`` have partners of their own making."""
    source = rng.standard_normal((easy + hard, 16))
    target = source.copy()
    target[easy:] = rng.standard_normal((hard, 16))
    return align.PairedEmbeddings.from_arrays(source, target), ["easy"] * easy + ["hard"] * hard


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def adapter():
    return align.fit(*np.random.default_rng(1).standard_normal((2, 60, 16)), effort="fast")


def test_a_kind_that_is_not_found_is_told_from_one_that_is(rng):
    pairs, labels = planted(rng, 60, 40)
    found = evaluate(pairs, Cosine(), by=labels)
    easy, hard = found.subgroups
    assert (easy.label, easy.pairs, hard.label, hard.pairs) == ("easy", 60, "hard", 40)
    assert easy.metrics["recall_at_1"].value > 0.9
    assert hard.metrics["recall_at_10"].low < hard.chance["recall_at_10"] + 0.1
    assert easy.stands_out and hard.stands_out
    assert hard.minus_others["mean_reciprocal_rank"].high < 0
    assert easy.chance["recall_at_10"] == pytest.approx(0.1)


def test_subgroups_of_equal_weight_average_to_the_whole(rng):
    pairs, labels = planted(rng, 50, 50)
    found = evaluate(pairs, Cosine(), by=labels)
    for name in MEANS:
        halves = [each.metrics[name].value for each in found.subgroups]
        assert np.mean(halves) == pytest.approx(found.mean[name].value, abs=1e-12)
        there = [each.source_to_target[name].value for each in found.subgroups]
        assert np.mean(there) == pytest.approx(found.source_to_target.metrics[name].value)


def test_labels_change_nothing_else(rng):
    pairs, labels = planted(rng, 30, 30)
    with_labels, without = (evaluate(pairs, Cosine(), by=by) for by in (labels, None))
    assert without.subgroups == ()
    assert with_labels.mean == without.mean
    assert with_labels.source_to_target.metrics == without.source_to_target.metrics


def test_kinds_that_are_alike_do_not_stand_out(rng):
    source = rng.standard_normal((200, 12))
    pairs = align.PairedEmbeddings.from_arrays(source, source + rng.standard_normal((200, 12)))
    alike = [0, 0]
    for seed in range(20):
        labels = np.random.default_rng(seed).integers(0, 4, 200)
        found = evaluate(pairs, Cosine(), by=labels).subgroups
        alike[any(each.stands_out for each in found)] += 1
    assert alike[1] <= 4  # one in twenty is expected


def test_an_item_of_two_kinds_counts_in_both():
    source = np.eye(6)
    target = np.vstack([np.eye(6)[:5], np.eye(6)[4:5]])  # pairs 4 and 5 share one target
    groups = ["a", "b", "c", "d", "e", "e"]
    pairs = align.PairedEmbeddings.from_arrays(source, target, groups=groups)
    labels = ["x", "x", "x", "x", "x", "y"]
    x, y = evaluate(pairs, Cosine(), by=labels).subgroups
    assert y.target_to_source["recall_at_1"].value == 1.0
    assert x.target_to_source["recall_at_1"].value == 1.0


def test_of_fewer_than_five_groups_the_interval_says_nothing(rng):
    pairs, labels = planted(rng, 36, 4)
    _, few = evaluate(pairs, Cosine(), by=labels).subgroups
    assert (few.metrics["recall_at_1"].low, few.metrics["recall_at_1"].high) == (0.0, 1.0)
    difference = few.minus_others["recall_at_1"]
    assert (difference.low, difference.high) == (-1.0, 1.0)
    assert not few.stands_out


def test_text_panel_and_json_hold_each_kind_beside_chance(rng, adapter):
    pairs, labels = planted(rng, 30, 30)
    labels = [f"<b>{label}" for label in labels]
    found = evaluate(pairs, adapter, by=labels)
    assert "<b>easy" in str(found)
    assert "&lt;b&gt;easy" in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    kinds = json.loads(json.dumps(found.to_dict()))["subgroups"]
    assert [kind["label"] for kind in kinds] == ["<b>easy", "<b>hard"]
    assert repr(found.subgroups[0]).startswith("Subgroup(<b>easy, 30 pairs, recall@10 ")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], "one entry per row, 40"),
        (["a"] * 40, "2 to 100 kinds"),
        (["a"] * 39 + [None], "row 39"),
        (["a"] * 39 + [float("nan")], "row 39"),
    ],
)
def test_labels_that_tell_nothing_apart_are_refused(rng, labels, message):
    pairs, _ = planted(rng, 20, 20)
    with pytest.raises(ValueError, match=message):
        evaluate(pairs, Cosine(), by=labels)


def test_a_label_for_every_item_is_refused(rng):
    pairs, _ = planted(rng, 60, 60)
    with pytest.raises(ValueError, match="got 120 for 120 pairs"):
        evaluate(pairs, Cosine(), by=range(120))


def test_one_word_is_no_list_of_labels(rng):
    pairs, _ = planted(rng, 20, 20)
    with pytest.raises(TypeError, match="one str"):
        evaluate(pairs, Cosine(), by="easy")


@given(
    ranks=st.lists(st.integers(1, 9), min_size=6, max_size=30),
    kinds=st.lists(st.sampled_from("ab"), min_size=30, max_size=30),
)
def test_values_are_means_of_the_queries_of_each_label(ranks, kinds):
    n = len(ranks)
    labels = ["a", "b", *kinds[: n - 2]]
    queries = RankedQueries(
        torch.tensor(ranks), torch.arange(n), torch.ones(n, dtype=torch.int64), 9, torch.arange(n)
    )
    for each in subgroups(labels, queries, queries):
        own = [rank for rank, label in zip(ranks, labels, strict=True) if label == each.label]
        assert each.pairs == len(own)
        assert each.metrics["recall_at_5"].value == pytest.approx(np.mean(np.array(own) <= 5))
        found = each.metrics["mean_reciprocal_rank"]
        assert found.value == pytest.approx(np.mean(1 / np.array(own)))
        assert found.low - 1e-9 <= found.value <= found.high + 1e-9
