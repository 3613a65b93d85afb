"""Probes of a report by name: rows, functions that stand for rows, and what has no such name."""

from __future__ import annotations

import pytest
import torch

from probes.reporting.document import Report
from probes.reporting.report import report
from probes.reporting.selection import selected
from probes.reporting.standard import STANDARD

NAMES = [probe.name for probe in STANDARD]


def names(*chosen):
    return [probe.name for probe in selected(chosen)]


def test_every_row_may_be_named_and_the_order_is_kept():
    assert names(*reversed(NAMES)) == list(reversed(NAMES))
    assert names("recall_at_10", "modality_gap") == ["recall_at_10", "modality_gap"]


def test_the_name_of_a_function_stands_for_its_rows():
    assert names("recall_at_k") == ["recall_at_1", "recall_at_5", "recall_at_10"]
    assert names("effective_rank") == ["effective_rank_source", "effective_rank_target"]
    assert names("mmd") == ["mmd"]


def test_probes_and_names_may_stand_side_by_side():
    assert selected([STANDARD[3], "mmd"])[0] is STANDARD[3]


UNKNOWN = [
    ("recal_at_10", r"got 'recal_at_10'\. Did you mean 'recall_at_10'"),
    ("zzzz", r"got 'zzzz'\. Choose among \['gap_energy_share'"),
    ("recall", r"probes\.recall has none\. Call it on embeddings itself\. Did you mean 'recall_at"),
    ("canonical_spectrum", r"probes\.canonical_spectrum has none\. Call it on embeddings itself"),
]


@pytest.mark.parametrize(("name", "message"), UNKNOWN, ids=[name for name, _ in UNKNOWN])
def test_an_unknown_name_is_refused_with_what_is_near(name, message):
    with pytest.raises(ValueError, match=message):
        selected([name])


def test_one_name_alone_other_things_and_repeats_are_refused():
    with pytest.raises(TypeError, match=r"must be a list of names .* got 'mmd' alone\. Wrap"):
        selected("mmd")
    with pytest.raises(TypeError, match=r"or Probe objects; got int\. Pass its name"):
        selected([3])
    with pytest.raises(ValueError, match=r"with \['recall_at_5'\] more than once\. Name each once"):
        selected(["recall_at_5", "recall_at_k"])
    with pytest.raises(ValueError, match=r"needs at least one probe, .* got 0"):
        selected([])


def test_a_report_of_few_probes_has_every_form_and_says_what_it_did_not_measure():
    source = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    result = report(source, source + 0.1, probes=["recall_at_10", "mmd"])
    assert [row.name for row in result.rows] == ["recall_at_10", "mmd"]
    assert "not measured were the offset (gap_energy_share)" in result.verdict
    assert all(view.spectrum is None for view in result.views.values())
    assert "Recall@10" in result.to_html() and Report.from_json(result.to_json()) == result
    whole = report(source, source + 0.1, probes=["canonical_dims"])
    assert whole.views["raw"].spectrum is not None
