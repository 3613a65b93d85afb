"""A report as text, Markdown, a frame and files."""

import json
import sys

import pytest
from rich.console import Console

from probes.reporting.document import Report
from probes.reporting.text import NARROW
from tests.probes.reporting.example_report import example_report


@pytest.fixture(scope="module")
def report():
    return example_report()


def test_print_shows_the_verdict_each_row_and_where_it_comes_from(report):
    text = str(report)
    assert text.startswith(report.verdict[:40])
    assert all(row.label in text for row in report.rows)
    assert "1,000 pairs" in text and "isthmus" in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_a_cell_holds_value_interval_and_null(report):
    line = [line for line in str(report).splitlines() if "Recall@10" in line][-1]
    assert "0.632 [" in line and "| 0.010" in line


def test_what_is_not_defined_is_a_numbered_note_written_once(report):
    text = str(report)
    reason = report.row("foscttm").undefined["raw"]
    assert text.count(f"(1) {reason}") == 1
    line = [line for line in text.splitlines() if "FOSCTTM" in line][-1]
    assert line.count("\N{EN DASH} (1)") == 2


def test_a_narrow_window_gets_short_cells_that_fit(report):
    console = Console(width=90, color_system=None)
    with console.capture() as captured:
        console.print(report)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 90
    assert any("Recall@10" in line and "±" in line and "[" not in line for line in lines)
    wide = Console(width=NARROW + 20, color_system=None)
    with wide.capture() as captured:
        wide.print(report)
    assert "±" not in captured.get()


def test_markdown_tables_have_as_many_cells_as_columns(report):
    text = report.to_markdown()
    assert text.startswith("# Modality gap\n\n" + report.verdict)
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    first = next(at for at, line in enumerate(lines) if line.startswith("| probe"))
    headline, tables = lines[:first], lines[first:]
    assert {line.count("|") for line in headline} == {6} and len(headline) == 2 + 6
    assert {line.count("|") for line in tables} == {len(report.columns) + 2}
    assert sum(line.startswith("| ") for line in tables) == len(report.rows) + 5


def test_a_frame_has_a_line_per_probe_and_state(report):
    pytest.importorskip("pandas")
    frame = report.to_frame()
    assert len(frame) == len(report.rows) * len(report.columns)
    line = frame[(frame.probe == "recall_at_10") & (frame.state == "aligned")].iloc[0]
    reading = report.row("recall_at_10").readings["aligned"]
    assert (line.value, line.low, line.n) == (reading.value, reading.low, reading.n)
    missing = frame[(frame.probe == "foscttm") & (frame.state == "raw")].iloc[0]
    assert missing.notes == report.row("foscttm").undefined["raw"]


def test_a_frame_without_pandas_says_what_to_install(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.to_frame()


@pytest.mark.parametrize("ending", [".html", ".md", ".json", ".txt"])
def test_a_report_is_saved_as_its_name_ends(report, tmp_path, ending):
    path = tmp_path / "new" / f"report{ending}"
    report.save(path)
    written = {
        ".html": report.to_html(), ".md": report.to_markdown(),
        ".json": report.to_json(), ".txt": str(report),
    }  # fmt: skip
    assert path.read_text(encoding="utf-8") == written[ending]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_another_ending_is_refused(report, tmp_path):
    with pytest.raises(ValueError, match=r"saved as .html, .md, .json, .txt; got '.*pdf'"):
        report.save(tmp_path / "report.pdf")


def test_json_comes_back_the_same(report):
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize("schema", [0, 1, "2", None])
def test_json_of_another_schema_is_refused(report, schema):
    data = {**json.loads(report.to_json()), "schema": schema}
    with pytest.raises(ValueError, match=f"schema '2.1'; got {schema!r}"):
        Report.from_json(json.dumps(data))


def test_json_that_is_no_report_is_refused():
    with pytest.raises(ValueError, match=r"schema '2\.1'; got None"):
        Report.from_json("[]")


def test_a_row_that_is_not_there_is_refused_with_those_that_are(report):
    with pytest.raises(KeyError, match=r"none is named 'fosctm'. It has \['gap_energy_share'"):
        report.row("fosctm")
