"""The comparison: planted winners, none on noise, intervals, and what it prints and writes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.functional import normalize

from align.data.embeddings import PairedEmbeddings
from align.metrics.bootstrap import paired_bootstrap_interval, randomisation_test
from align.metrics.comparison.compare import compare
from align.metrics.evaluation import evaluate
from align.metrics.ranks import mean_reciprocal_rank, recall_at_k
from probes.similarity import comparison as similarity_comparison
from probes.similarity.comparison import METRICS, compare_ranks, compare_similarities
from probes.similarity.learned import PairMLP
from probes.similarity.standard import (
    chi_square,
    cosine,
    euclidean,
    manhattan,
    match_ranks,
    positive_and_negative_parts,
)
from probes.similarity.training import Plan, bilinear_plans

NAMES = [
    "cosine",
    "Euclidean",
    "Manhattan",
    "chi-square",
    "MLP on the pair",
    "low-rank bilinear",
]


@pytest.fixture(autouse=True, scope="module")
def short_training():
    """Small networks and few updates: what is tested here is the comparison."""

    def networks(d):
        def start(x, y, generator):
            return PairMLP(d, hidden=8, generator=generator)

        return (Plan("8 hidden units", start, learning_rate=1e-2, batch=32, steps=30),)

    def forms(d_source, d_target):
        plans = bilinear_plans(d_source, d_target)
        return tuple(replace(each, learning_rate=1e-2, steps=100) for each in plans)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity_comparison, "mlp_plans", networks)
        patch.setattr(similarity_comparison, "bilinear_plans", forms)
        yield


def parts(source, target, train, groups=None):
    pairs = PairedEmbeddings.from_arrays(source, target, groups=groups)
    return pairs.take(range(train)), pairs.take(range(train, len(pairs)))


@pytest.fixture(scope="module")
def noisy():
    """Sides that agree up to noise, not of unit norm: cosine is what suits them."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(220, 8, generator=rng)
    return parts(3 * x, x + 0.7 * torch.randn(220, 8, generator=rng), 120)


def by_name(comparison):
    return {each.name: each for each in comparison.judged}


@pytest.fixture(scope="module")
def found(short_training, noisy):
    return compare_similarities(*noisy)


def test_a_bilinear_form_beats_cosine_where_targets_are_sources_times_a_matrix(rng):
    x = torch.randn(300, 20, generator=rng)
    found = compare_similarities(*parts(x, x @ torch.randn(20, 20, generator=rng), 200))
    rows = by_name(found)
    assert rows["low-rank bilinear"].metrics["mean_reciprocal_rank"].low > 0.8
    assert rows["cosine"].metrics["mean_reciprocal_rank"].high < 0.2
    gain = rows["low-rank bilinear"].gain["recall_at_10"]
    assert 0.5 < gain.low <= gain.value <= gain.high and gain.p < 0.001
    assert found.conclusion.startswith("low-rank bilinear beats cosine: +0.")


def test_nothing_beats_cosine_on_noise(rng):
    train, test = parts(*torch.randn(2, 260, 8, generator=rng), 100)
    found = compare_similarities(train, test)
    chance = sum(1 / rank for rank in range(1, 161)) / 160
    for row in found.judged:
        mrr = row.metrics["mean_reciprocal_rank"]
        assert mrr.low < chance < mrr.high, row.name
    assert found.conclusion.startswith("No similarity beats cosine; the best other is ")


def test_values_are_those_of_the_ranks_and_gains_their_differences(noisy, found):
    assert [row.name for row in found.judged] == NAMES == list(found.ranks)
    assert (found.gallery, found.groups, found.reference) == (100, 100, "cosine")
    rows = by_name(found)
    for name, row in rows.items():
        ranks = found.ranks[name].flatten()
        wanted = recall_at_k(ranks, 1), recall_at_k(ranks, 10), mean_reciprocal_rank(ranks)
        for metric, value in zip(METRICS, wanted, strict=True):
            score = row.metrics[metric]
            assert score.value == pytest.approx(value)
            assert 0 <= score.low <= score.value <= score.high <= 1
            if name != "cosine":
                gain = value - rows["cosine"].metrics[metric].value
                assert row.gain[metric].value == pytest.approx(gain)
    assert rows["cosine"].gain is None
    source, target = noisy[1].source, noisy[1].target
    assert torch.equal(
        found.ranks["cosine"], match_ranks(cosine, source, target, torch.arange(100))
    )


def test_each_standard_similarity_is_the_function_of_its_name(noisy, found):
    source, target = noisy[1].source, noisy[1].target
    parts = [positive_and_negative_parts(side) for side in (source, target)]
    for name, similarity, sides in (
        ("cosine", cosine, (source, target)),
        ("Euclidean", euclidean, (source, target)),
        ("Manhattan", manhattan, (source, target)),
        ("chi-square", chi_square, parts),
    ):
        wanted = match_ranks(similarity, *sides, torch.arange(100))
        assert torch.equal(found.ranks[name], wanted), name


def test_euclidean_sees_norms_and_what_is_learned_does_not(noisy, found):
    train, test = noisy
    scales = torch.arange(1.0, 101)[:, None]
    stretched = compare_similarities(train, replace(test, target=test.target * scales))
    for name in ("cosine", "MLP on the pair", "low-rank bilinear"):
        assert torch.equal(found.ranks[name], stretched.ranks[name]), name
    for name in ("Euclidean", "Manhattan", "chi-square"):
        assert not torch.equal(found.ranks[name], stretched.ranks[name]), name


def test_the_same_seed_gives_the_same_comparison(noisy, found):
    again, other = (compare_similarities(*noisy, seed=seed) for seed in (0, 1))
    assert found.to_dict() == again.to_dict() != other.to_dict()


def test_intervals_and_p_values_are_those_of_align(noisy):
    source, target = noisy[1].source, noisy[1].target
    groups = [f"g{i // 2}" for i in range(100)]
    codes = torch.arange(100) // 2
    ranks = {
        "cosine": match_ranks(cosine, source, target, codes),
        "other": match_ranks(cosine, source[:, :4], target[:, :4], codes),
    }
    gain = by_name(compare_ranks(ranks, tuple(groups), seed=5))["other"].gain["recall_at_1"]
    ours, theirs = ((ranks[name] == 1).double().mean(dim=1) for name in ("other", "cosine"))
    generator = torch.Generator().manual_seed(5)
    low, high = paired_bootstrap_interval(ours, theirs, groups=codes, generator=generator)
    p = randomisation_test(ours, theirs, groups=codes, generator=generator)
    assert (gain.low, gain.high) == (low.item(), high.item())
    assert gain.p == pytest.approx(p.item(), rel=0.2)


def test_the_cosine_is_judged_as_align_evaluates_it(noisy):
    test = noisy[1]

    class Directions:
        def queries(self, x, *, side):
            return normalize(x.vectors, dim=1)

        gallery = queries

    class Halves(Directions):
        def queries(self, x, *, side):
            return normalize(x.vectors[:, :4], dim=1)

        gallery = queries

    whole, half = evaluate(test, Directions()), evaluate(test, Halves())
    codes = torch.arange(100)
    ranks = {
        "cosine": match_ranks(cosine, test.source, test.target, codes),
        "half": match_ranks(cosine, test.source[:, :4], test.target[:, :4], codes),
    }
    row = by_name(compare_ranks(ranks, test.groups))["half"]
    row_wanted = compare({"whole": whole, "half": half}).row("mean_reciprocal_rank")
    wanted = row_wanted.differences["half"]
    gain = row.gain["mean_reciprocal_rank"]
    assert row.metrics["recall_at_10"].value == pytest.approx(half.mean["recall_at_10"].value)
    assert gain.value == pytest.approx(wanted.value)
    assert gain.low == pytest.approx(wanted.low, abs=0.02)
    assert gain.high == pytest.approx(wanted.high, abs=0.02)


def test_ranks_of_several_training_sets_are_averaged_pair_by_pair():
    one, two = torch.tensor([[1, 1]]).repeat(30, 1), torch.tensor([[2, 4]]).repeat(30, 1)
    ranks = {"cosine": torch.cat([one, one], 1), "other": torch.cat([one, two], 1)}
    found = by_name(compare_ranks(ranks, tuple(map(str, range(30)))))["other"]
    assert found.metrics["mean_reciprocal_rank"].value == (1 + 1 + 1 / 2 + 1 / 4) / 4
    assert found.metrics["recall_at_1"].value == 0.5
    assert found.gain["recall_at_10"].value == 0


@pytest.mark.parametrize(
    ("better", "beaten"), [(30, True), (2, False), (0, False)], ids=["many", "few", "none"]
)
def test_a_winner_is_named_only_if_its_interval_lies_above_zero(better, beaten):
    ranks = {"cosine": torch.full((100, 2), 2), "other": torch.full((100, 2), 2)}
    ranks["other"][:better] = 1
    ranks["other"][better : better + 1] = 3
    ranks["worse"] = torch.full((100, 2), 9)
    found = compare_ranks(ranks, tuple(map(str, range(100))))
    if beaten:
        assert found.conclusion.startswith("other beats cosine: +0.148 [")
    else:
        assert found.conclusion.startswith("No similarity beats cosine; the best other is other: ")
    assert "in MRR over 100 pairs, p = " in found.conclusion


def test_the_best_of_many_needs_more_evidence_than_one_alone():
    ranks = {"cosine": torch.full((100, 2), 2), "other": torch.full((100, 2), 2)}
    ranks["other"][:10] = 1
    ranks["other"][10:13] = 9
    groups = tuple(map(str, range(100)))
    alone = compare_ranks(ranks, groups)
    gain = by_name(alone)["other"].gain["mean_reciprocal_rank"]
    assert gain.low > 0 and 0.005 < gain.p < 0.05
    assert alone.conclusion.startswith("other beats cosine")
    assert alone.conclusion.endswith(f"p = {gain.p:.2g}.")
    also = {f"worse {i}": torch.full((100, 2), 9) for i in range(9)}
    among = compare_ranks({**ranks, **also}, groups)
    assert among.conclusion.startswith("No similarity beats cosine; the best other is other")
    assert among.conclusion.endswith(f"or {10 * gain.p:.2g} as the best of 10.")


def test_a_clear_gain_wins_over_a_larger_one_that_may_be_chance():
    ranks = {name: torch.full((100, 2), 2) for name in ("cosine", "steady", "lucky")}
    ranks["steady"][:10] = 1
    ranks["lucky"] = torch.cat([torch.ones(57, 2), torch.full((43, 2), 100)]).long()
    found = compare_ranks(ranks, tuple(map(str, range(100))))
    rows = by_name(found)
    steady, lucky = (rows[name].gain["mean_reciprocal_rank"] for name in ("steady", "lucky"))
    assert lucky.low < 0 < steady.low < steady.value < lucky.value
    assert found.conclusion.startswith("steady beats cosine")


def test_groups_are_resampled_whole():
    ranks = {"cosine": torch.full((60, 2), 2), "other": torch.full((60, 2), 2)}
    ranks["other"][:10] = 1
    apart = compare_ranks(ranks, tuple(map(str, range(60))))
    together = compare_ranks(ranks, tuple(str(i // 10) for i in range(60)))
    assert (apart.groups, together.groups) == (60, 6)
    narrow, wide = (by_name(each)["other"].gain["recall_at_1"] for each in (apart, together))
    assert wide.low == 0 < narrow.low < narrow.high < wide.high
    assert wide.p > 0.9 > 0.05 > narrow.p
    narrow, wide = (by_name(each)["other"].metrics["recall_at_1"] for each in (apart, together))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_matches_of_a_group_answer_each_other(rng):
    x = torch.randn(90, 6, generator=rng)
    groups = [f"g{i // 2}" for i in range(90)]
    # Each target belongs to the other source of its group.
    swapped = x.view(45, 2, 6).flip(1).reshape(90, 6)
    found = compare_similarities(*parts(x, swapped, 60, groups))
    assert by_name(found)["cosine"].metrics["recall_at_1"].value == 1
    assert found.groups == 15


def test_the_table_is_markdown_with_a_row_for_each_and_the_conclusion(found):
    lines = str(found).splitlines()
    assert lines[0] == "| similarity | R@1 | R@10 | MRR | MRR minus that of cosine | p |"
    assert [line.split(" | ")[0] for line in lines[2:8]] == [f"| {name}" for name in NAMES]
    assert {line.count("|") for line in lines[:8]} == {7}
    mrr = by_name(found)["cosine"].metrics["mean_reciprocal_rank"]
    assert f"| {mrr.value:.3f} [{mrr.low:.3f}, {mrr.high:.3f}] |" in lines[2]
    assert lines[-1] == found.conclusion
    assert "-0.000" not in str(found)


def test_a_comparison_goes_to_json(found):
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert written == found.to_dict()
    assert [row["name"] for row in written["judged"]] == NAMES
    assert written["judged"][0]["gain"] is None
    assert set(written["judged"][5]["gain"]["recall_at_1"]) == {"value", "low", "high", "p"}
    assert written["learned"]["MLP on the pair"]["chosen"]["plan"] == "8 hidden units"
    assert [each["plan"] for each in written["learned"]["low-rank bilinear"]["tried"]] == [
        "rank 8 from random",
        "rank 8 from cosine",
    ]


def test_sides_that_share_no_space_are_refused(rng):
    narrow, wide = torch.randn(40, 5, generator=rng), torch.randn(40, 6, generator=rng)
    mixed = PairedEmbeddings.from_arrays(narrow, wide)
    square = PairedEmbeddings.from_arrays(narrow, narrow)
    with pytest.raises(ValueError, match="widths 5 and 6 in train, 5 and 6 in test"):
        compare_similarities(mixed, mixed)
    with pytest.raises(ValueError, match="widths 5 and 5 in train, 6 and 6 in test"):
        compare_similarities(square, PairedEmbeddings.from_arrays(wide, wide))


def test_rows_without_direction_and_too_few_groups_are_refused(noisy):
    train, test = noisy
    zeros = train.source.clone()
    zeros[7] = 0
    with pytest.raises(ValueError, match=r"every row of train source needs a direction.*\[7\]"):
        compare_similarities(replace(train, source=zeros), test)
    with pytest.raises(ValueError, match="at least 20 groups of pairs; got 19 pairs in 19"):
        compare_similarities(train.take(range(19)), test)
    with pytest.raises(ValueError, match="pairs must be of at least two groups"):
        compare_similarities(train, replace(test, groups=("one",) * 100))


def test_ranks_without_the_reference_or_of_other_pairs_are_refused():
    ones = partial(torch.ones, dtype=torch.int64)
    groups = ("a", "b", "c")
    with pytest.raises(ValueError, match=r"must hold 'cosine' and another.*got \['other'\]"):
        compare_ranks({"other": ones(3, 2)}, groups)
    with pytest.raises(ValueError, match=r"must hold 'cosine' and another.*got \['cosine'\]"):
        compare_ranks({"cosine": ones(3, 2)}, groups)
    with pytest.raises(ValueError, match=r"ranks of 'b' must be a row for each of 3 pairs"):
        compare_ranks({"cosine": ones(3, 2), "b": ones(4, 2)}, groups)
    with pytest.raises(ValueError, match=r"with as many columns as those of 'cosine'; got \(3, 4"):
        compare_ranks({"cosine": ones(3, 2), "b": ones(3, 4)}, groups)
    with pytest.raises(ValueError, match=r"ranks of 'cosine' must be.*got \(3,\)"):
        compare_ranks({"cosine": ones(3), "b": ones(3, 2)}, groups)
