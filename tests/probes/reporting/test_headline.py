"""The headline is raw before and aligned after, in every form of a report; centred is a control."""

import json
import re
from dataclasses import replace

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from probes.reporting.before_after import HEADLINES, describe_change, headlines
from probes.reporting.document import Report
from probes.reporting.html.page import render
from probes.reporting.report import report
from probes.reporting.standard import STANDARD
from tests.probes.reporting.example_report import example_report, with_reading
from tests.probes.reporting.test_report import probe, shared

WARNING = "300 of the 1,000 pairs were trained on; these values are not held out."


def by_name(result):
    return {each.name: each for each in headlines(result)}


def test_the_headline_is_raw_before_and_aligned_after():
    headline = by_name(example_report(common=True))["recall_at_10"]
    assert (headline.values, headline.states) == ("0.010 → 0.632", "raw → aligned")
    assert headline.other_states == ("with the search corrected 0.671", "centred, a control: 0.021")
    assert headline.uncertainty[1] == "by chance 0.010"


def test_sides_of_two_widths_have_an_aligned_value_and_a_reason():
    headline = by_name(example_report(common=False))["recall_at_10"]
    assert headline.values == "0.632" and headline.before is None
    assert headline.states == "aligned; raw not defined before alignment"


def test_without_an_adapter_the_raw_value_is_the_headline_and_centred_is_not():
    headline = by_name(example_report(common=True, adapter=False))["gap_energy_share"]
    assert (headline.values, headline.states) == ("0.431", "raw")
    assert headline.other_states == ("centred, a control: 0.002",)
    assert by_name(example_report(common=False, adapter=False)).keys() == {"canonical_energy"}


def test_the_centred_state_stands_large_nowhere():
    result = example_report(common=True)
    html = render(result)
    large = re.findall(r'class="big">([^<]+)<', html)
    assert large and not any("0.002" in value for value in large)
    assert re.findall(r'class="beside">(centred[^<]+)<', html)[0].endswith("0.002")
    heads = re.findall(r'<th scope="col">([^<]+)</th>', html)[:5]
    assert heads == ["Probe", "raw", "aligned", "aligned \N{MINUS SIGN} raw", "centred (control)"]


@pytest.mark.parametrize("form", ["__str__", "to_markdown", "to_html"])
def test_text_markdown_and_page_show_the_headline_and_what_was_trained_on(form):
    text = getattr(example_report(common=True, trained=300), form)()
    for words in ("0.431 → 0.014", "0.010 → 0.632", "raw → aligned"):
        assert words in text, words
    flat = " ".join(text.split())
    # In the verdict, beside the headline, and where the report says what it is of.
    assert flat.count(WARNING) >= 3
    assert flat.index(WARNING) < flat.index("Offset:")
    assert WARNING not in " ".join(getattr(example_report(common=True), form)().split())


def test_json_begins_with_verdict_and_headline_and_comes_back_without_them():
    result = example_report(common=True, trained=300)
    data = json.loads(result.to_json())
    assert list(data)[:4] == ["schema", "caution", "verdict", "headline"]
    assert data["caution"] == WARNING and data["verdict"].startswith(WARNING)
    recall = next(each for each in data["headline"] if each["name"] == "recall_at_10")
    assert recall["before"]["value"] == 0.0102 and recall["after"]["value"] == 0.6321
    assert recall["state"] == "aligned" and recall["after"]["null"] == 0.01
    data["verdict"] = data["caution"] = "All is well."
    assert Report.from_json(json.dumps(data)) == result


def test_a_report_without_one_headline_probe_has_no_headline():
    result = example_report()
    bare = replace(result, rows=tuple(r for r in result.rows if r.name not in HEADLINES))
    assert len(bare.rows) > len(HEADLINES)
    assert headlines(bare) == [] and "Headline" not in str(bare) + bare.to_markdown()


def test_each_row_of_a_report_of_few_is_a_headline():
    result = example_report()
    asked = {row.name: row for row in result.rows if row.name in ("mmd", "recall_at_10")}
    few = replace(result, rows=tuple(reversed(asked.values())))
    assert [each.name for each in headlines(few)] == list(reversed(asked))


@pytest.fixture(scope="module")
def fitted():
    rng = torch.Generator().manual_seed(3)
    data = shared(rng, n=260, noise=0.6)
    return data, fit(data.take(range(200)), seed=0)


def test_a_report_counts_the_pairs_that_the_adapter_was_trained_on(fitted):
    data, adapter = fitted
    result = report(data, adapter, probes=[probe()])
    assert result.provenance.trained == 200
    assert result.verdict.startswith("200 of the 260 pairs were trained on; these values are not")
    assert report(data.take(range(200, 260)), adapter, probes=[probe()]).caution == ""


def test_training_pairs_in_another_order_and_scale_are_still_known(fitted):
    data, adapter = fitted
    turned = data.take(range(199, 149, -1))
    scaled = PairedEmbeddings.from_arrays(3 * turned.source, turned.target / 7)
    assert report(scaled, adapter, probes=[probe()]).provenance.trained == 50


class Forgetful:
    def source(self, x):
        return x.vectors[:, :5]

    target = source


def test_an_adapter_that_does_not_remember_is_named(rng):
    result = report(shared(rng), Forgetful(), probes=[probe()])
    assert result.provenance.trained is None and result.caution == ""
    for text in (str(result), result.to_markdown(), result.to_html()):
        assert "does not remember its training pairs" in text
    without = report(shared(rng), probes=[probe()])
    assert without.provenance.trained is None and without.about_training == ""


def test_an_adapter_without_its_training_items_does_not_remember(fitted):
    data, adapter = fitted
    bare = type(adapter)(
        adapter.source_map, adapter.target_map, adapter.card, reference=adapter.reference
    )
    assert report(data, bare, probes=[probe()]).provenance.trained is None


@pytest.mark.parametrize("answer", [torch.ones(80), torch.ones(3).bool(), torch.ones(80, 1).bool()])
def test_what_is_no_boolean_per_pair_is_refused(rng, answer):
    class Odd(Forgetful):
        def trained_on(self, pairs):
            return answer

    with pytest.raises(ValueError, match="trained_on must give one boolean per pair; got torch"):
        report(shared(rng), Odd(), probes=[probe()])


def test_failures_and_hubs_are_of_the_raw_search_and_not_of_the_control(rng):
    source = torch.randn(60, 8, generator=rng)
    data = PairedEmbeddings.from_arrays(source, source + 4)
    result = report(data, probes=[probe()])
    assert result.searched == "raw"
    assert "Searches (raw) in a gallery" in result.to_html()
    control = result.views["centred"].recall
    assert result.failures[0].rank > control.x[control.y.index(1.0)]


def moved(value, *, before, after, nulls=(0.0, 0.0), **changes):
    """What a change of the FOSCTTM row of the example is called, with some fields changed."""
    result = example_report(common=True)
    row = result.row("foscttm")
    change = type(row.change)(value, value - 0.01, value + 0.01)
    readings = {
        state: replace(row.readings[state], value=at, null=null)
        for state, at, null in zip(("raw", "aligned"), (before, after), nulls, strict=True)
    }
    changed = replace(row, readings=row.readings | readings, change=change, **changes)
    return describe_change(changed, result)


def test_better_and_worse_are_earned():
    assert moved(-0.4, before=0.5, after=0.1, nulls=(0.5, 0.5)) == ("better", "better")
    assert moved(0.4, before=0.1, after=0.5, nulls=(0.5, 0.5)) == ("worse", "worse")
    assert moved(-0.4, before=0.5, after=0.1, better="neither") == ("changed", "")


def test_a_change_that_the_width_makes_is_neither():
    assert moved(-0.4, before=0.5, after=0.1, scale="width") == ("changed, as did the width", "")
    result = example_report(common=True)
    same = replace(result.provenance, dim=384)
    row = replace(result.row("foscttm"), scale="width")
    assert describe_change(row, replace(result, provenance=same)) == ("better", "better")


def test_a_change_of_what_chance_gives_is_neither():
    words = moved(-0.4, before=0.5, after=0.1, nulls=(0.48, 0.08))
    assert words == ("changed, as did chance", "")
    assert moved(-0.4, before=0.5, after=0.1, nulls=(0.0, 0.03))[1] == "better"


def test_a_change_of_all_cosines_or_against_the_raw_state_is_neither():
    assert moved(-0.4, before=0.5, after=0.1, scale="spread")[1] == ""
    assert moved(-0.4, before=1.0, after=0.6, scale="raw")[1] == ""


def test_beyond_chance_is_no_better_than_chance_for_offset():
    nulls = (0.5, 0.5)
    down = {"family": "offset", "nulls": nulls}
    assert moved(-0.23, before=0.45, after=0.22, **down) == ("at chance before and after", "")
    assert moved(-0.7, before=0.92, after=0.22, **down)[1] == "better"
    assert moved(0.3, before=0.22, after=0.52, **down)[1] == "worse"


BOUND = {"effective_rank", "participation_ratio", "two_nn", "iso_score", "mean_cosine"}


def test_what_the_number_of_dimensions_bounds_has_no_better_direction():
    named = {each.name: each for each in STANDARD}
    for name in BOUND:
        sides = [named[each] for each in named if each.startswith(name)]
        assert len(sides) == 2 and {each.better for each in sides} == {"neither"}, name
    for name in ("pq_agreement", "int8_agreement", "noise_agreement", "procrustes_distance"):
        assert named[name].scale == "width"


def test_no_change_from_wide_to_narrow_is_coloured_by_the_width_alone():
    result = example_report(common=False)
    html = render(with_reading(result, "effective_rank_source", "aligned", value=61.3))
    cell = html.partition("Effective rank, source")[2].partition("</tr>")[0]
    assert "changed" in cell and "better" not in cell and "worse" not in cell
