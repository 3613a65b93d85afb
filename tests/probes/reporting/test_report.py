"""The report as a whole: what it measures, what it refuses, and that it is the same each time."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import probes
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.metrics.evaluation import evaluate
from probes.estimates import Measured, Null, mean_of
from probes.reporting.report import report
from probes.reporting.standard import STANDARD
from probes.space import Probe
from tests.helpers.one_thread import one_thread


def shared(rng, n=80, widths=(10, 7), noise=0.3):
    factors = torch.randn(n, 5, generator=rng)
    source, target = (
        factors @ torch.randn(5, d, generator=rng) + noise * torch.randn(n, d, generator=rng)
        for d in widths
    )
    return PairedEmbeddings.from_arrays(source, target)


def probe(name="ours", needs="sides", measure=None, **rest):
    def of_source(space):
        value, replicate = mean_of(space.source[:, 0])
        return Measured(value, replicate, null=Null(0.0, 0.5))

    return Probe(name, name, "pairing", "higher", needs, measure or of_source, **rest)


@pytest.fixture
def in_order():
    """Probes are read one after the other, as on a machine with one core."""
    with one_thread():
        yield


class Halves:
    """An adapter that keeps the first columns of each side."""

    def __init__(self, d):
        self.d = d

    def source(self, x):
        return x.vectors[:, : self.d]

    def target(self, x):
        return x.vectors[:, : self.d]


@pytest.fixture(scope="module")
def whole():
    """The standard report of an adapter with a correction, on pairs that it has not seen."""
    rng = torch.Generator().manual_seed(0)
    data = shared(rng, n=260, noise=0.6)
    train, test = data.take(range(200)), data.take(range(200, 260))
    adapter = fit(train, seed=0)
    return test, adapter, report(test, adapter)


def test_every_standard_probe_says_something_in_every_state(whole):
    _, _, result = whole
    assert [row.name for row in result.rows] == [each.name for each in STANDARD]
    for row in result.rows:
        assert set(row.readings) | set(row.undefined) == set(result.columns)
        assert not set(row.readings) & set(row.undefined)
        for reading in row.readings.values():
            assert math.isfinite(reading.value)
            assert reading.low is None or reading.low <= reading.high
            assert reading.p is None or 0 < reading.p <= 1


def test_names_are_unique_and_every_null_is_explained():
    assert len({each.name for each in STANDARD}) == len(STANDARD)
    assert all(each.interval for each in STANDARD)


def test_sides_of_two_widths_have_no_cosine_before_alignment(whole):
    _, _, result = whole
    row = result.row("foscttm")
    assert row.undefined["raw"] == (
        "not defined before alignment: the sides have 10 and 7 dimensions"
    )
    assert "aligned" in row.readings and row.change is None
    assert set(result.row("linear_cka").readings) >= {"raw", "centred", "aligned"}


def test_recall_is_the_recall_of_evaluate(whole):
    test, adapter, result = whole
    searched = result.row("recall_at_10").readings[result.searched]
    assert searched.value == pytest.approx(evaluate(test, adapter).mean["recall_at_10"].value)


def test_a_report_is_the_same_each_time_and_goes_to_json_and_back(whole):
    test, adapter, result = whole
    assert report(test, adapter) == result
    assert probes.Report.from_json(result.to_json()) == result
    assert report(test, adapter, seed=1) != result


def test_failures_and_hubs_name_pairs_of_the_report(whole):
    test, _, result = whole
    assert {entry.id for entry in (*result.failures, *result.hubs)} <= set(test.ids)
    assert [entry.rank for entry in result.failures] == sorted(
        (entry.rank for entry in result.failures), reverse=True
    )
    assert all(entry.rank > 1 and entry.best_score >= entry.score for entry in result.failures)
    assert all(0 <= entry.wrong <= entry.count for entry in result.hubs)


def test_a_change_is_measured_on_the_same_draws(rng):
    data = shared(rng, widths=(6, 6))
    result = report(data, Halves(6), probes=[probe()])
    same = result.row("ours").change
    # Nothing was changed, so that the difference is 0 in every draw and not only on average.
    assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-7)
    moved = report(data, Halves(3), probes=[probe()]).row("ours")
    assert moved.change.value == pytest.approx(
        moved.readings["aligned"].value - moved.readings["raw"].value
    )
    assert moved.change.low <= moved.change.value <= moved.change.high


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(60):
        rng = torch.Generator().manual_seed(seed)
        x = F.normalize(torch.randn(60, 4, generator=rng), dim=1)
        data = PairedEmbeddings.from_arrays(x, x + 1)
        reading = report(data, probes=[probe()], seed=seed).row("ours").readings["raw"]
        hits += reading.low <= 0 <= reading.high
    assert 50 <= hits <= 60


def test_a_probe_that_cannot_answer_says_why_in_its_cell(rng):
    def degenerate(space):
        raise ValueError("there must be a shape; got a point. Pass more.")

    result = report(shared(rng), probes=[probe(measure=degenerate), probe("other")])
    assert result.row("ours").undefined["raw"].startswith("not defined here: there must be a shape")
    assert result.row("ours").readings == {}
    assert result.row("other").readings


def test_a_number_that_is_none_is_a_defect_and_not_a_reading(rng):
    broken = probe(measure=lambda space: Measured(float("nan")))
    with pytest.raises(ArithmeticError, match="ours gave nan on 80 raw pairs"):
        report(shared(rng), probes=[broken])


def test_probes_of_one_name_and_no_probes_are_refused(rng):
    with pytest.raises(ValueError, match=r"got 2 with \['ours'\] more than once"):
        report(shared(rng), probes=[probe(), probe()])
    with pytest.raises(ValueError, match="at least one probe"):
        report(shared(rng), probes=[])


def test_probes_of_search_are_read_on_the_corrected_search_and_others_are_not(rng):
    data = shared(rng, widths=(6, 6))

    class Corrected(Halves):
        def queries(self, x, *, side):
            return torch.cat([x.vectors, torch.ones(len(x), 1)], dim=1)

        def gallery(self, y, *, side):
            return torch.cat([y.vectors, torch.arange(len(y))[:, None] / 10.0], dim=1)

    result = report(data, Corrected(6), probes=[probe(), probe("search", needs="search")])
    assert result.columns == ("raw", "aligned", "corrected", "centred")
    assert "corrected" in result.row("search").readings
    assert result.row("ours").undefined["corrected"].startswith("as aligned")


def test_a_probe_on_a_sample_gets_the_weights_of_its_rows(rng):
    seen = []

    def on_a_sample(space):
        drawn, rows = space.sample(30)
        value, replicate = mean_of(drawn.source[:, 0])

        def watched(weights):
            seen.append(tuple(weights.shape))
            return replicate(weights)

        return Measured(value, watched, rows=rows)

    result = report(shared(rng), probes=[probe(measure=on_a_sample)])
    assert seen[0] == (1000, 30)
    assert result.row("ours").readings["raw"].n == 30


def test_a_progress_bar_is_shown_on_demand_only(rng, capsys):
    report(shared(rng), probes=[probe()])
    assert capsys.readouterr().err == ""
    report(shared(rng), probes=[probe()], progress=True)
    assert "centred: ours" in capsys.readouterr().err


def test_several_threads_read_what_one_reads(rng):
    data, threads = shared(rng), torch.get_num_threads()
    names = ["recall_at_1", "foscttm", "sinkhorn_divergence", "svcca", "iso_score", "two_nn"]
    torch.set_num_threads(4)
    try:
        several = report(data, Halves(5), probes=names)
    finally:
        torch.set_num_threads(threads)
    with one_thread():
        assert report(data, Halves(5), probes=names) == several


@pytest.mark.usefixtures("in_order")
def test_an_interrupted_report_goes_on_where_it_stopped(rng, tmp_path):
    data = shared(rng)
    calls = []

    def counted(name, *, dies=False):
        def measure(space):
            calls.append(name)
            if dies:
                raise KeyboardInterrupt
            return Measured(float(len(name)), mean_of(space.source[:, 0])[1])

        return probe(name, measure=measure)

    partial = tmp_path / "partial"
    with pytest.raises(KeyboardInterrupt):
        report(data, probes=[counted("a"), counted("b", dies=True)], resume=partial)
    with partial.open("a") as file:
        file.write('{"state": "raw", "pro')  # a line that a kill cut short
    straight = report(data, probes=[counted("a"), counted("b")])
    calls.clear()
    result = report(data, probes=[counted("a"), counted("b")], resume=partial)
    assert result == straight
    assert calls == ["b", "a", "b"]  # "a" of the raw state was there already
    assert not partial.exists()


@pytest.mark.parametrize("content", ["My thesis", '{"key": "value"}\n', '["key"]', "{x"])
def test_a_file_that_no_report_left_is_neither_overwritten_nor_removed(rng, tmp_path, content):
    mine = tmp_path / "mine"
    mine.write_text(content)
    with pytest.raises(
        FileExistsError, match=r"resume must name a new file, .*Nothing was changed"
    ):
        report(shared(rng), probes=[probe()], resume=mine)
    assert mine.read_text() == content
    link = tmp_path / "link"
    link.symlink_to("absent")
    with pytest.raises(FileExistsError, match="is another file"):
        report(shared(rng), probes=[probe()], resume=link)
    assert link.is_symlink()


@pytest.mark.usefixtures("in_order")
def test_a_reading_that_was_changed_on_disk_is_measured_again(rng, tmp_path):
    data, partial = shared(rng), tmp_path / "partial"

    def dies(space):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report(data, probes=[probe(), probe("b", measure=dies)], resume=partial)
    lines = partial.read_text().splitlines()
    line = json.loads(lines[1])
    line["outcome"]["reading"]["value"] += 1
    partial.write_text("\n".join([lines[0], json.dumps(line)]) + "\n")
    fresh = report(data, probes=[probe(), probe("b")])
    assert report(data, probes=[probe(), probe("b")], resume=partial) == fresh


@pytest.mark.usefixtures("in_order")
def test_readings_of_other_data_are_not_taken_for_these(rng, tmp_path):
    partial = tmp_path / "partial"

    def dies(space):
        raise KeyboardInterrupt

    for data in (shared(rng), shared(rng)):
        with pytest.raises(KeyboardInterrupt):
            report(data, probes=[probe(), probe("b", measure=dies)], resume=partial)
        assert len([line for line in partial.read_text().splitlines() if "outcome" in line]) == 1
    fresh = report(data, probes=[probe(), probe("b")])
    assert report(data, probes=[probe(), probe("b")], resume=partial) == fresh


@settings(max_examples=8, deadline=None)
@given(st.integers(20, 45), st.integers(2, 40), st.integers(2, 9), st.integers(0, 2**20))
def test_small_and_awkward_pairs_give_numbers_or_reasons_and_never_nan(n, d, e, seed):
    rng = torch.Generator().manual_seed(seed)
    source, target = torch.randn(n, d, generator=rng), torch.randn(n, e, generator=rng)
    source[:, 0] = 3.0  # a constant column
    target[1] = target[0]  # a repeat in another group
    result = report(PairedEmbeddings.from_arrays(source, target), seed=seed)
    for row in result.rows:
        for reading in row.readings.values():
            assert math.isfinite(reading.value)
        assert not any("This is a defect" in reason for reason in row.undefined.values())
    assert result.verdict


def test_the_standard_probes_can_be_shortened_and_renamed(rng):
    own = replace(STANDARD[0], name="mine")
    assert [row.name for row in report(shared(rng), probes=[own]).rows] == ["mine"]


def test_sides_of_one_column_leave_cells_that_say_why(rng):
    x = torch.randn(24, 1, generator=rng)
    data = PairedEmbeddings.from_arrays(x, x + 0.1 * torch.randn(24, 1, generator=rng))
    chosen = [each for each in STANDARD if each.family in ("offset", "pathology")]
    result = report(data, probes=chosen)
    reason = result.row("iso_score_source").undefined["raw"]
    assert reason.startswith("not defined here: source must have at least two columns")
    assert result.row("gap_energy_share").readings and result.to_html() and result.to_json()


def test_few_distinct_items_give_values_without_intervals_and_not_nan(rng):
    few = torch.randn(3, 4, generator=rng).repeat(14, 1)[:40]
    data = PairedEmbeddings.from_arrays(few, torch.randn(40, 4, generator=rng))
    result = report(data, probes=[each for each in STANDARD if each.family != "distribution"])
    for row in result.rows:
        for reading in row.readings.values():
            assert reading.low is None or math.isfinite(reading.low + reading.high), row.name
    assert result.to_json() and result.verdict


def test_draws_that_are_not_defined_leave_no_interval_and_a_note(rng):
    def sometimes(space):
        return Measured(1.0, lambda weights: torch.where(weights[:, 0] > 0, 1.0, float("nan")))

    reading = report(shared(rng), probes=[probe(measure=sometimes)]).row("ours").readings["raw"]
    assert reading.low is None and reading.high is None
    assert "Too few items differ for an interval" in reading.notes[0]


def test_a_side_whose_rows_point_one_way_is_refused(rng):
    ray = torch.arange(1, 41.0)[:, None] * torch.ones(1, 3)
    data = PairedEmbeddings.from_arrays(torch.randn(40, 3, generator=rng), ray)
    with pytest.raises(ValueError, match="target side must differ between pairs; all 40 rows are"):
        report(data, probes=[probe()])
