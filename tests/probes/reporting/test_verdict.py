"""The verdict says what the families say together, and never more."""

from dataclasses import replace

import pytest

from probes.reporting.document import Report
from probes.reporting.model import Change, Provenance, Reading, ReportRow, View
from probes.reporting.verdict import verdict

PROVENANCE = Provenance(
    given=500, pairs=500, groups=500, rules=(), source_dim=8, target_dim=8, source_encoder=None,
    target_encoder=None, adapter=None, trained=None, dim=None, centring="",
    k=10, draws=1000, seed=0, versions={},
)  # fmt: skip
NOTHING = View(None, None, None, None, None)


def reading(value, half=0.01, null=None, p=None):
    return Reading(value, value - half, value + half, null, p, 500, ())


def row(name, *, raw=None, aligned=None, moved=False, **rest):
    """A row; ``moved`` says that the change is beyond its interval."""
    readings = {column: at for column, at in (("raw", raw), ("aligned", aligned)) if at is not None}
    change = None
    if raw is not None and aligned is not None:
        value = aligned.value - raw.value
        change = Change(value, value - 0.001, value + 0.001) if moved else Change(value, -1, 1)
    return ReportRow(name, name, "offset", "lower", "fixed", "", "", readings, {}, change)


def verdict_of(*rows, adapter=True):
    columns = ("raw", "aligned") if adapter else ("raw",)
    return verdict(Report(PROVENANCE, rows, dict.fromkeys(columns, NOTHING), (), ()))


def test_the_conclusion_comes_first():
    text = verdict_of(row("gap_energy_share", aligned=TOGETHER), row("recall_at_10", aligned=LOST))
    assert text.startswith("However near the clouds are, the two sides are not aligned. Offset: ")


SET_APART, TOGETHER = reading(0.4, null=0, p=0.001), reading(0.001, 0.001, null=0, p=0.4)
DIFFERENT, ALIKE = reading(0.3, null=0.05, p=0.01), reading(0.05, null=0.05, p=0.6)
LOST, FOUND = reading(0.02, null=0.02), reading(0.6, null=0.02)


def test_only_centroids_that_moved_are_not_called_a_closed_gap():
    text = verdict_of(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("sinkhorn_divergence_centred", raw=ALIKE, aligned=ALIKE),
        row("recall_at_10", raw=FOUND, aligned=FOUND),
    )
    assert "Only the centroids moved" in text
    assert "closed" not in text


def test_clouds_that_coincide_without_a_match_are_not_aligned():
    text = verdict_of(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("sinkhorn_divergence_centred", raw=DIFFERENT, aligned=ALIKE, moved=True),
        row("recall_at_10", raw=LOST, aligned=LOST),
    )
    assert "However near the clouds are, the two sides are not aligned" in text
    assert "closed" not in text


def test_a_gap_is_closed_only_if_offset_shape_and_pairing_say_so():
    text = verdict_of(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("sinkhorn_divergence_centred", raw=DIFFERENT, aligned=ALIKE, moved=True),
        row("recall_at_10", raw=LOST, aligned=FOUND, moved=True),
    )
    assert "The gap is closed in offset and in shape" in text


@pytest.mark.parametrize(
    ("share", "shape", "left"),
    [
        (SET_APART, ALIKE, "an offset is left"),
        (TOGETHER, DIFFERENT, "a difference in shape is left"),
        (SET_APART, DIFFERENT, "an offset and a difference in shape are left"),
    ],
)
def test_what_is_left_of_the_gap_is_named(share, shape, left):
    text = verdict_of(
        row("gap_energy_share", aligned=share),
        row("sinkhorn_divergence_centred", aligned=shape),
        row("recall_at_10", aligned=FOUND),
    )
    assert left in text
    assert "closed" not in text


def test_a_difference_in_shape_that_is_sure_but_tiny_is_not_called_one():
    tiny = reading(0.485, 0.0001, null=0.484, p=0.001)
    text = verdict_of(
        row("gap_energy_share", aligned=TOGETHER),
        row("sinkhorn_divergence_centred", aligned=tiny),
        row("recall_at_10", aligned=FOUND),
    )
    assert (
        "do not differ in shape by more than matters" in text
        and "closed in offset and in shape" in text
    )


def test_a_gap_whose_shape_was_not_measured_is_not_called_closed():
    text = verdict_of(row("gap_energy_share", aligned=TOGETHER), row("recall_at_10", aligned=FOUND))
    assert "The offset is gone and pairs are found" in text
    assert "closed" not in text


def test_without_an_adapter_the_verdict_is_of_the_raw_state():
    text = verdict_of(
        row("gap_energy_share", raw=SET_APART), row("recall_at_10", raw=FOUND), adapter=False
    )
    assert "The two sides share a space, with an offset between them" in text


def test_a_worse_foscttm_than_chance_finds_no_pairs():
    text = verdict_of(
        row("gap_energy_share", aligned=TOGETHER), row("foscttm", aligned=reading(0.7, null=0.5))
    )
    assert "pairs are not found" in text and "not aligned" in text


def test_partners_that_are_only_roughly_nearer_are_no_match():
    text = verdict_of(
        row("gap_energy_share", aligned=TOGETHER),
        row("recall_at_10", aligned=LOST),
        row("foscttm", aligned=reading(0.41, null=0.5, p=0.001)),
    )
    assert "pairs are not found" in text and "not aligned" in text


def test_nothing_is_made_up_about_probes_that_were_not_run():
    assert verdict_of(row("mean_cosine_source", raw=TOGETHER)).startswith(
        "None of the headline probes"
    )
    assert verdict_of(row("recall_at_10", aligned=FOUND)) == (
        "Pairing: pairs are found; recall@10 in a gallery of 500 is 0.600 [0.590, 0.610] aligned, "
        "by chance 0.020. Whether there is a gap is not said: not measured were the offset "
        "(gap_energy_share), the shape (sinkhorn_divergence_centred), the mixing "
        "(modality_mixing), a collapse (effective_rank_source)."
    )


def test_what_a_conclusion_does_not_rest_on_is_named_after_it():
    rows = [
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("recall_at_10", raw=LOST, aligned=FOUND, moved=True),
        row("modality_mixing", aligned=reading(0.5, null=0.5)),
        row("effective_rank_source", aligned=reading(50.0)),
    ]
    assert "The offset is gone and pairs are found across." in verdict_of(*rows)
    missing = "Not measured were the shape (sinkhorn_divergence_centred)."
    assert verdict_of(*rows).endswith(missing)
    shape = row("sinkhorn_divergence_centred", aligned=ALIKE)
    assert "Not measured" not in verdict_of(*rows, shape)


def test_hubs_are_named_where_they_crowd_the_answers():
    few = verdict_of(row("hubness_skewness_target", aligned=reading(4.0, 0.5, null=0.3)))
    none = verdict_of(row("hubness_skewness_target", aligned=reading(0.8, 0.3, null=0.3)))
    assert "a few hubs crowd the answers" in few
    assert "spread over the gallery" in none


def at(value, null, half=0.001, p=None):
    return Reading(value, value - half, value + half, null, p, 500, ())


def test_a_share_of_the_variance_is_small_below_one_hundredth():
    sure = {"null": 0, "p": 0.001}
    for high, says in ((0.0099, "nearly coincide"), (0.0101, "lie apart")):
        share = Reading(0.005, 0.001, high, **sure, n=500, notes=())
        text = verdict_of(
            row("gap_energy_share", aligned=share), row("recall_at_10", aligned=FOUND)
        )
        assert f"the centroids {says}" in text
        assert ("an offset is left" in text) == (says == "lie apart")


def test_a_difference_in_shape_matters_above_one_hundredth():
    for excess, differs in ((0.0099, False), (0.0101, True)):
        shape = at(0.3 + excess, 0.3, p=0.001)
        text = verdict_of(
            row("gap_energy_share", aligned=TOGETHER),
            row("sinkhorn_divergence_centred", aligned=shape),
            row("recall_at_10", aligned=FOUND),
        )
        assert ("clouds differ in shape" in text) == differs
        assert ("difference in shape is left" in text) == differs


def test_a_difference_in_shape_is_sure_by_p_and_by_interval():
    for p, half, differs in ((0.05, 0.04, True), (0.0501, 0.04, False), (0.05, 0.06, False)):
        text = verdict_of(row("sinkhorn_divergence_centred", aligned=at(0.35, 0.3, half, p)))
        assert ("clouds differ in shape" in text) == differs, (p, half)


def test_recall_is_weak_below_a_tenth_of_what_there_is_above_chance():
    for value, found in ((0.1, False), (0.11, False), (0.12, True)):
        text = verdict_of(
            row("gap_energy_share", raw=TOGETHER), row("recall_at_10", raw=at(value, 0.02)),
            adapter=False,
        )  # fmt: skip
        assert text.startswith("The two sides share a space") == found, value
        assert ("pairs are seldom found" in text) == (not found)


def test_a_loss_of_recall_is_harm_above_one_hundredth():
    for loss, harmful in ((0.0095, False), (0.0105, True)):
        text = verdict_of(
            row("gap_energy_share", raw=TOGETHER, aligned=TOGETHER),
            row("recall_at_10", raw=at(0.9, 0.02), aligned=at(0.9 - loss, 0.02), moved=True),
        )
        assert text.startswith("The adapter harms retrieval: recall@10 falls") == harmful, loss


def test_a_loss_that_may_be_chance_is_no_harm():
    text = verdict_of(
        row("gap_energy_share", raw=TOGETHER, aligned=TOGETHER),
        row("recall_at_10", raw=at(0.9, 0.02), aligned=at(0.8, 0.02), moved=False),
    )
    assert text.startswith("The adapter changed little")


@pytest.mark.parametrize(("rank", "before", "collapsed"), [
    (1.99, 3.0, True), (2.01, 3.0, False), (7.9, 40.0, True), (8.1, 40.0, False),
    (5.0, 400.0, True), (13.0, 400.0, False),
])  # fmt: skip
def test_a_side_has_collapsed_below_a_fifth_of_what_it_could_fill(rank, before, collapsed):
    made = replace(PROVENANCE, source_dim=512, target_dim=512, dim=64)
    rows = (row("effective_rank_source", raw=at(before, 300), aligned=at(rank, 60)),)
    text = verdict(Report(made, rows, dict.fromkeys(("raw", "aligned"), NOTHING), (), ()))
    assert text.startswith("The adapter collapses the space: the source side") == collapsed


@pytest.mark.parametrize(
    ("before", "after", "collapsed"), [(0.9, 0.951, True), (0.9, 0.949, False), (0.96, 0.97, False)]
)
def test_a_side_has_collapsed_where_all_items_come_to_point_one_way(before, after, collapsed):
    text = verdict_of(row("mean_cosine_target", raw=at(before, 0), aligned=at(after, 0)))
    assert text.startswith("The adapter collapses the space: the target side") == collapsed


def test_partners_that_move_apart_are_named_where_recall_cannot_show_it():
    for rise, apart in ((0.009, False), (0.02, True)):
        worse = row("foscttm", raw=at(0.1, 0.5), aligned=at(0.1 + rise, 0.5), moved=True)
        text = verdict_of(row("gap_energy_share", aligned=TOGETHER), worse)
        assert text.startswith("The adapter moves partners apart: 10.0 %") == apart


def test_a_correction_of_the_search_that_spoils_it_is_named():
    recall = row("recall_at_10", raw=at(0.5, 0.02), aligned=at(0.6, 0.02), moved=True)
    recall = replace(recall, readings={**recall.readings, "corrected": at(0.4, 0.02)})
    share = row("gap_energy_share", raw=TOGETHER, aligned=TOGETHER)
    columns = dict.fromkeys(("raw", "aligned", "corrected"), NOTHING)
    text = verdict(Report(PROVENANCE, (share, recall), columns, (), ()))
    assert text.startswith(
        "The correction of the search harms retrieval: recall@10 falls from 0.600 aligned to 0.400"
    )


def test_pairs_that_were_trained_on_are_named_before_anything_else():
    made = replace(PROVENANCE, adapter="rcca", trained=300, pairs=400)
    rows = (
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("sinkhorn_divergence_centred", raw=DIFFERENT, aligned=ALIKE, moved=True),
        row("recall_at_10", raw=LOST, aligned=FOUND, moved=True),
    )
    text = verdict(Report(made, rows, dict.fromkeys(("raw", "aligned"), NOTHING), (), ()))
    assert text.startswith(
        "300 of the 400 pairs were trained on; these values are not held out. "
        "On these pairs the gap is closed"
    )
    assert "The gap is closed" not in text
    nothing = verdict(Report(made, (), {}, (), ()))
    assert nothing.startswith("300 of the 400 pairs were trained on")


def test_every_recall_of_a_verdict_stands_beside_chance():
    text = verdict_of(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("recall_at_10", raw=FOUND, aligned=LOST, moved=True),
    )
    for sentence in text.split(". "):
        assert "recall@10" not in sentence or "chance" in sentence, sentence


def test_a_shape_that_may_differ_is_not_called_closed():
    unsure = at(0.35, 0.3, 0.06, p=0.05)
    text = verdict_of(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("sinkhorn_divergence_centred", raw=DIFFERENT, aligned=unsure),
        row("recall_at_10", raw=LOST, aligned=FOUND, moved=True),
    )
    assert text.startswith("The offset is gone and pairs are found across; whether the clouds")
    assert "closed" not in text


@pytest.mark.parametrize(("share", "p", "left"), [
    (0.27, 0.002, True), (0.449, 0.002, True), (0.451, 0.002, False), (0.27, 0.2, False),
])  # fmt: skip
def test_a_gap_is_not_closed_where_near_items_are_of_their_own_side(share, p, left):
    text = verdict_of(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("modality_mixing", raw=at(0.1, 0.5, p=0.002), aligned=at(share, 0.5, p=p)),
        row("sinkhorn_divergence_centred", raw=DIFFERENT, aligned=ALIKE, moved=True),
        row("recall_at_10", raw=LOST, aligned=FOUND, moved=True),
    )
    assert text.startswith("The gap is closed") != left
    assert ("a nearness of items to their own side is left" in text) == left
