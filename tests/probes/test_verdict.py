"""The verdict says what the families say together, and never more."""

import pytest

from probes.reporting.document import Change, Provenance, Reading, Report, Row
from probes.reporting.pictures import View
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
    readings = {
        column: found for column, found in (("raw", raw), ("aligned", aligned)) if found is not None
    }
    change = None
    if raw is not None and aligned is not None:
        value = aligned.value - raw.value
        change = Change(value, value - 0.001, value + 0.001) if moved else Change(value, -1, 1)
    return Row(name, name, "offset", "lower", "fixed", "", "", readings, {}, change)


def told(*rows, adapter=True):
    columns = ("raw", "aligned") if adapter else ("raw",)
    return verdict(Report(PROVENANCE, rows, dict.fromkeys(columns, NOTHING), (), ()))


def test_the_conclusion_comes_first():
    said = told(row("gap_energy_share", aligned=TOGETHER), row("recall_at_10", aligned=LOST))
    assert said.startswith("However near the clouds are, the two sides are not aligned. Offset: ")


SET_APART, TOGETHER = reading(0.4, null=0, p=0.001), reading(0.001, 0.001, null=0, p=0.4)
DIFFERENT, ALIKE = reading(0.3, null=0.05, p=0.01), reading(0.05, null=0.05, p=0.6)
LOST, FOUND = reading(0.02, null=0.02), reading(0.6, null=0.02)


def test_only_centroids_that_moved_are_not_called_a_closed_gap():
    said = told(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("sinkhorn_divergence_centred", raw=ALIKE, aligned=ALIKE),
        row("recall_at_10", raw=FOUND, aligned=FOUND),
    )
    assert "Only the centroids moved" in said
    assert "closed" not in said


def test_clouds_that_coincide_without_a_match_are_not_aligned():
    said = told(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("sinkhorn_divergence_centred", raw=DIFFERENT, aligned=ALIKE, moved=True),
        row("recall_at_10", raw=LOST, aligned=LOST),
    )
    assert "However near the clouds are, the two sides are not aligned" in said
    assert "closed" not in said


def test_a_gap_is_closed_only_if_offset_shape_and_pairing_say_so():
    said = told(
        row("gap_energy_share", raw=SET_APART, aligned=TOGETHER, moved=True),
        row("sinkhorn_divergence_centred", raw=DIFFERENT, aligned=ALIKE, moved=True),
        row("recall_at_10", raw=LOST, aligned=FOUND, moved=True),
    )
    assert "The gap is closed in offset and in shape" in said


@pytest.mark.parametrize(
    ("share", "shape", "left"),
    [
        (SET_APART, ALIKE, "an offset is left"),
        (TOGETHER, DIFFERENT, "a difference in shape is left"),
        (SET_APART, DIFFERENT, "an offset and a difference in shape are left"),
    ],
)
def test_what_is_left_of_the_gap_is_named(share, shape, left):
    said = told(
        row("gap_energy_share", aligned=share),
        row("sinkhorn_divergence_centred", aligned=shape),
        row("recall_at_10", aligned=FOUND),
    )
    assert left in said
    assert "closed" not in said


def test_a_difference_in_shape_that_is_sure_but_tiny_is_not_called_one():
    tiny = reading(0.485, 0.0001, null=0.484, p=0.001)
    said = told(
        row("gap_energy_share", aligned=TOGETHER),
        row("sinkhorn_divergence_centred", aligned=tiny),
        row("recall_at_10", aligned=FOUND),
    )
    assert (
        "do not differ in shape by more than matters" in said
        and "closed in offset and in shape" in said
    )


def test_a_gap_whose_shape_was_not_measured_is_not_called_closed():
    said = told(row("gap_energy_share", aligned=TOGETHER), row("recall_at_10", aligned=FOUND))
    assert "The offset is gone and pairs are found" in said
    assert "closed" not in said


def test_without_an_adapter_the_raw_state_is_judged():
    said = told(
        row("gap_energy_share", raw=SET_APART), row("recall_at_10", raw=FOUND), adapter=False
    )
    assert "The two sides share a space, with an offset between them" in said


def test_a_worse_foscttm_than_chance_finds_no_pairs():
    said = told(
        row("gap_energy_share", aligned=TOGETHER), row("foscttm", aligned=reading(0.7, null=0.5))
    )
    assert "pairs are not found" in said and "not aligned" in said


def test_partners_that_are_only_roughly_nearer_are_not_called_found():
    said = told(
        row("gap_energy_share", aligned=TOGETHER),
        row("recall_at_10", aligned=LOST),
        row("foscttm", aligned=reading(0.41, null=0.5, p=0.001)),
    )
    assert "pairs are not found" in said and "not aligned" in said


def test_nothing_is_made_up_about_probes_that_were_not_run():
    assert told(row("mean_cosine_source", raw=TOGETHER)).startswith("None of the headline probes")
    assert told(row("recall_at_10", aligned=FOUND)) == (
        "Pairing: pairs are found; recall@10 in a gallery of 500 is 0.600 [0.590, 0.610] aligned, "
        "by chance 0.020."
    )


def test_hubs_are_named_where_they_crowd_the_answers():
    few = told(row("hubness_skewness_target", aligned=reading(4.0, 0.5, null=0.3)))
    none = told(row("hubness_skewness_target", aligned=reading(0.8, 0.3, null=0.3)))
    assert "a few hubs crowd the answers" in few
    assert "spread over the gallery" in none
