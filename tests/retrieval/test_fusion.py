"""Several rankings as one: by ranks, and by standardised scores."""

from statistics import fmean, pstdev

import numpy as np
import pytest
import torch

from align.retrieval.fusion import reciprocal_rank_fusion, z_score_fusion
from align.retrieval.hits import Hit

FUSIONS = pytest.mark.parametrize("fuse", [reciprocal_rank_fusion, z_score_fusion])


def ranking(*ids, scores=None):
    return [
        Hit(name, score) for name, score in zip(ids, scores or range(len(ids), 0, -1), strict=True)
    ]


def scores_of(hits):
    return {hit.id: hit.score for hit in hits}


def ids_of(hits):
    return [hit.id for hit in hits]


def test_reciprocal_ranks_are_added_up():
    [hits] = reciprocal_rank_fusion([[ranking("a", "b", "c")], [ranking("c", "d")]])
    assert ids_of(hits) == ["c", "a", "b", "d"]
    assert scores_of(hits) == pytest.approx(
        {"a": 1 / 61, "b": 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 62}
    )


def test_a_constant_of_zero_lets_a_first_place_beat_two_third_places():
    rankings = [[ranking("a", "b", "c")], [ranking("d", "e", "c")]]
    assert ids_of(reciprocal_rank_fusion(rankings, constant=0)[0])[0] == "a"
    assert ids_of(reciprocal_rank_fusion(rankings)[0])[0] == "c"


def test_reciprocal_ranks_do_not_look_at_scores():
    tame, wild = ranking("a", "b"), ranking("a", "b", scores=[float("inf"), -3.0])
    other = ranking("b", "a", "c")
    assert reciprocal_rank_fusion([[tame], [other]]) == reciprocal_rank_fusion([[wild], [other]])


def test_standardised_scores_are_added_and_a_missing_item_gets_the_lowest():
    first, second = [9.0, 4.0, 1.0], [0.5, 0.25]
    rankings = [[ranking("a", "b", "c", scores=first)], [ranking("c", "d", scores=second)]]

    def z(value, among):
        return (value - fmean(among)) / pstdev(among)

    assert scores_of(z_score_fusion(rankings)[0]) == pytest.approx(
        {
            "a": z(9, first) - 1,
            "b": z(4, first) - 1,
            "c": z(1, first) + 1,
            "d": z(1, first) - 1,
        }
    )


def test_standardised_scores_do_not_change_with_scale_and_shift():
    values = [3.0, 2.5, -1.0, -4.0]
    other = ranking("d", "b", "e", "a")
    plain = z_score_fusion([[ranking(*"abcd", scores=values)], [other]])
    moved = z_score_fusion([[ranking(*"abcd", scores=[7 * v - 100 for v in values])], [other]])
    assert ids_of(plain[0]) == ids_of(moved[0])
    assert scores_of(plain[0]) == pytest.approx(scores_of(moved[0]))


def test_one_ranking_keeps_its_order_under_both_fusions():
    hits = ranking("x", "b", "m")
    assert ids_of(reciprocal_rank_fusion([[hits]])[0]) == ["x", "b", "m"]
    [fused] = z_score_fusion([[hits]])
    assert ids_of(fused) == ["x", "b", "m"]
    assert np.mean([hit.score for hit in fused]) == pytest.approx(0)
    assert np.std([hit.score for hit in fused]) == pytest.approx(1)


def test_an_item_never_gains_by_being_missing():
    found = z_score_fusion([[ranking("a", "b", scores=[1.0, 0.9])], [ranking("c", "a", "b")]])
    # c is missing from the first: no better there than b, its last.
    missing = scores_of(found[0])["c"] - 1.5**0.5
    assert missing == pytest.approx(-1)


@pytest.mark.parametrize("silent", [[], [Hit("b", 0.1)], [Hit("b", 0.1), Hit("a", 0.1)]])
def test_a_ranking_that_does_not_tell_items_apart_adds_nothing_to_standardised_scores(silent):
    telling = ranking("a", "b", "c")
    assert z_score_fusion([[telling], [silent]]) == z_score_fusion([[telling]])


@FUSIONS
def test_ties_go_to_the_item_that_the_first_ranking_has_higher(fuse):
    one, two = ranking("p", "q", scores=[2, 1]), ranking("q", "p", scores=[2, 1])
    assert ids_of(fuse([[one], [two]])[0]) == ["p", "q"]
    assert ids_of(fuse([[two], [one]])[0]) == ["q", "p"]


def test_sums_of_many_rankings_do_not_depend_on_their_order():
    # Added one after the other in float64, these differ in the last bit.
    rankings = [[ranking("a", "b", "c")], [ranking("b", "c", "a")], [ranking("c", "a", "b")]]
    [hits] = reciprocal_rank_fusion(rankings, constant=2)
    assert len({hit.score for hit in hits}) == 1
    assert ids_of(hits) == ["a", "b", "c"]


@FUSIONS
def test_each_query_is_fused_by_itself(fuse):
    first, second = [ranking("a", "b"), []], [ranking("b"), ranking("z")]
    fused = fuse([first, second])
    assert [sorted(ids_of(hits)) for hits in fused] == [["a", "b"], ["z"]]
    assert fused == [*fuse([first[:1], second[:1]]), *fuse([first[1:], second[1:]])]


@FUSIONS
def test_what_is_said_of_an_item_comes_from_the_first_ranking_that_says_it(fuse):
    silent = [Hit("a", 1.0)]
    kind = [Hit("a", 1.0, "image")]
    full = [Hit("a", 1.0, "text", {"page": 3})]
    [[hit]] = fuse([[silent], [kind], [full]])
    assert (hit.modality, hit.metadata) == ("image", {"page": 3})


@FUSIONS
def test_rankings_of_other_queries_are_refused(fuse):
    with pytest.raises(ValueError, match=r"rankings of the same queries; got 2 of \[1, 2\]"):
        fuse([[ranking("a")], [ranking("a"), ranking("b")]])
    with pytest.raises(ValueError, match=r"one or more rankings .* got 0 of \[\]"):
        fuse([])


@FUSIONS
def test_an_item_that_stands_in_a_ranking_twice_is_refused(fuse):
    with pytest.raises(ValueError, match=r"ids of one ranking must be unique.*'a' \(rows 0 and 2"):
        fuse([[ranking("a", "b", "a")]])


def test_a_constant_below_zero_is_refused():
    with pytest.raises(ValueError, match="constant must be finite and at least 0; got -1"):
        reciprocal_rank_fusion([[ranking("a")]], constant=-1)


def test_a_score_that_cannot_be_standardised_is_refused():
    with pytest.raises(ValueError, match=r"1 of 2 are not, the first is inf of 'b'"):
        z_score_fusion([[ranking("a", "b", scores=[1.0, float("inf")])]])


def test_ranks_are_fused_where_scores_are_infinite():
    found = reciprocal_rank_fusion([[ranking("a", "b", scores=[1.0, -float("inf")])]])
    assert [hit.id for hit in found[0]] == ["a", "b"]


@pytest.mark.parametrize("fuse", [reciprocal_rank_fusion, z_score_fusion])
@pytest.mark.parametrize("score", [float("nan"), np.float32("nan"), torch.tensor(float("nan"))])
def test_a_score_that_is_nan_is_refused(fuse, score):
    with pytest.raises(ValueError, match=r"scores must be numbers; that of 'b' is NaN\."):
        fuse([[ranking("a", "b", scores=[1.0, score])]])


@pytest.mark.parametrize("fuse", [reciprocal_rank_fusion, z_score_fusion])
@pytest.mark.parametrize(
    ("rankings", "message"),
    [
        ("abc", "rankings must be a list.*Wrap it in a list"),
        (["abc"], "each ranking must be a list.*Wrap it in a list"),
        ([[["a"]]], "a ranking must be a list of Hit.*got a str, 'a'"),
        ([ranking("a")], "a ranking must be a list of Hit.*wrap the hits of a single query"),
        ([[[("a", 1.0)]]], "a ranking must be a list of Hit.*got a tuple"),
        ([[ranking("a", scores=["0.5"])]], "scores must be numbers; that of 'a' is '0.5'"),
        ([[ranking("a", scores=[None])]], "scores must be numbers; that of 'a' is None"),
    ],
)
def test_what_is_no_ranking_is_refused(fuse, rankings, message):
    with pytest.raises(TypeError, match=message):
        fuse(rankings)
