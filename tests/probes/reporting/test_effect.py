"""How far a value lies from chance, in a unit that the number of pairs does not change."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import probes
from align.data.embeddings import PairedEmbeddings
from probes.reporting.formatting import effect
from probes.reporting.model import Reading, effect_of
from probes.reporting.standard import STANDARD

finite = st.floats(-1e6, 1e6)


@given(null=finite, extreme=finite, share=st.floats(-2, 2))
def test_an_effect_is_the_share_of_the_way_from_chance_to_the_extreme(null, extreme, share):
    if abs(extreme - null) < 1e-3:
        return
    value = null + share * (extreme - null)
    assert effect_of(value, null, extreme) == pytest.approx(share, abs=1e-6)


def test_an_auc_becomes_somers_d_and_foscttm_the_same_of_the_other_sign():
    assert effect_of(0.75, 0.5, 1.0) == pytest.approx(2 * 0.75 - 1)
    assert effect_of(0.25, 0.5, 0.0) == pytest.approx(1 - 2 * 0.25)


@given(null=st.floats(0, 1), value=st.floats(0, 1))
def test_an_effect_passes_neither_end_of_what_is_bounded_on_both_sides(null, value):
    found = effect_of(value, null, 1.0, opposite=0.0)
    assert found is None or -1 <= found <= 1


def test_the_other_side_of_chance_is_measured_by_its_own_end():
    assert effect_of(0.0, 0.9, 1.0, opposite=0.0) == pytest.approx(-1)
    assert effect_of(0.45, 0.9, 1.0, opposite=0.0) == pytest.approx(-0.5)
    assert effect_of(0.95, 0.9, 1.0, opposite=0.0) == pytest.approx(0.5)
    assert effect_of(0.0, 0.9, 1.0) == pytest.approx(-9)


def test_a_gap_orthogonal_to_the_data_is_as_far_as_it_goes_in_few_dimensions_too():
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0] * 10 + [0.01] * 2)
    x = torch.randn(100, 12, generator=generator) * scale
    gap = torch.zeros(12)
    gap[11] = 3.0
    y = x + 0.1 * torch.randn(100, 12, generator=generator) * scale + gap
    chosen = [probe for probe in STANDARD if probe.name == "gap_orthogonality"]
    found = effects(probes.report(PairedEmbeddings.from_arrays(x, y), probes=chosen))
    assert -1 <= found["gap_orthogonality"] < -0.5


@pytest.mark.parametrize("null, extreme", [(None, 1.0), (0.5, None), (1.0, 1.0)])
def test_without_two_ends_there_is_no_effect(null, extreme):
    assert effect_of(0.7, null, extreme) is None


@pytest.mark.parametrize(
    "share, shown",
    [(0.6321, "63 %"), (0.0123, "1.2 %"), (0.0004, "0 %"), (-0.0004, "0 %"), (-0.31, "-31 %"),
     (1.0, "100 %"), (0.0996, "10 %"), (None, "")],
)  # fmt: skip
def test_an_effect_is_shown_in_per_cent(share, shown):
    reading = Reading(0.5, None, None, 0.1, None, 9, (), share)
    plain = effect(reading).replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")
    assert plain == shown


def report_of(n, noise, gap=0.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 8, generator=generator)
    y = x + noise * torch.randn(n, 8, generator=generator) + gap
    names = {"modality_gap", "foscttm", "recall_at_10", "median_rank", "robin_hood_index"}
    names |= {"sinkhorn_divergence_centred", "canonical_energy", "hubness_skewness_target"}
    chosen = [probe for probe in STANDARD if probe.name in names]
    return probes.report(PairedEmbeddings.from_arrays(x, y), probes=chosen)


def effects(report):
    return {row.name: row.readings["raw"].effect for row in report.rows}


def test_sides_that_are_equal_are_as_far_from_chance_as_pairing_goes():
    found = effects(report_of(60, 0.0))
    for name in ("foscttm", "recall_at_10", "median_rank"):
        assert found[name] == pytest.approx(1), name
    assert found["canonical_energy"] > 0.9
    assert abs(found["modality_gap"]) < 1e-6


def test_sides_that_have_nothing_to_do_with_each_other_are_at_chance():
    found = effects(report_of(120, 50.0))
    for name in ("foscttm", "recall_at_10", "canonical_energy"):
        assert abs(found[name]) < 0.15, name


def test_twice_as_many_pairs_make_no_larger_effect_of_a_gap():
    few, many = (effects(report_of(n, 1.0, gap=0.5))["modality_gap"] for n in (100, 400))
    assert many == pytest.approx(few, rel=0.25)


@pytest.mark.parametrize("probe", STANDARD, ids=lambda probe: probe.name)
def test_every_standard_probe_but_the_unbounded_has_an_extreme(probe):
    assert (probe.extreme is None) == probe.name.startswith("two_nn")
    assert callable(probe.extreme) or math.isfinite(probe.extreme or 0)
