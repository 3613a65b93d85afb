"""A report as text, Markdown, a frame and files."""

import json
import sys

import pytest
from rich.console import Console

from probes.reporting.document import Report
from probes.reporting.text import NARROW
from tests.probes.reporting.example_report import example_report


@pytest.fixture(scope="module")
def found():
    return example_report()


def test_print_shows_the_verdict_each_row_and_where_it_comes_from(found):
    said = str(found)
    assert said.startswith(found.verdict[:40])
    assert all(row.label in said for row in found.rows)
    assert "1,000 pairs" in said and "isthmus" in said
    assert not any(line != line.rstrip() for line in said.splitlines())


def test_a_cell_holds_value_interval_and_null(found):
    line = [line for line in str(found).splitlines() if "Recall@10" in line][-1]
    assert "0.632 [" in line and "| 0.010" in line


def test_what_is_not_defined_is_a_numbered_note_said_once(found):
    said = str(found)
    reason = found.row("foscttm").undefined["raw"]
    assert said.count(f"(1) {reason}") == 1
    line = [line for line in said.splitlines() if "FOSCTTM" in line][-1]
    assert line.count("\N{EN DASH} (1)") == 2


def test_a_narrow_window_gets_short_cells_that_fit(found):
    console = Console(width=90, color_system=None)
    with console.capture() as captured:
        console.print(found)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 90
    assert any("Recall@10" in line and "±" in line and "[" not in line for line in lines)
    wide = Console(width=NARROW + 20, color_system=None)
    with wide.capture() as captured:
        wide.print(found)
    assert "±" not in captured.get()


def test_markdown_tables_have_as_many_cells_as_columns(found):
    text = found.to_markdown()
    assert text.startswith("# Modality gap\n\n" + found.verdict)
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    first = next(at for at, line in enumerate(lines) if line.startswith("| probe"))
    headline, tables = lines[:first], lines[first:]
    assert {line.count("|") for line in headline} == {6} and len(headline) == 2 + 6
    assert {line.count("|") for line in tables} == {len(found.columns) + 2}
    assert sum(line.startswith("| ") for line in tables) == len(found.rows) + 5


def test_a_frame_has_a_line_per_probe_and_state(found):
    pytest.importorskip("pandas")
    frame = found.to_frame()
    assert len(frame) == len(found.rows) * len(found.columns)
    line = frame[(frame.probe == "recall_at_10") & (frame.state == "aligned")].iloc[0]
    reading = found.row("recall_at_10").readings["aligned"]
    assert (line.value, line.low, line.n) == (reading.value, reading.low, reading.n)
    missing = frame[(frame.probe == "foscttm") & (frame.state == "raw")].iloc[0]
    assert missing.notes == found.row("foscttm").undefined["raw"]


def test_a_frame_without_pandas_says_what_to_install(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        found.to_frame()


@pytest.mark.parametrize("ending", [".html", ".md", ".json", ".txt"])
def test_a_report_is_saved_as_its_name_ends(found, tmp_path, ending):
    path = tmp_path / "new" / f"report{ending}"
    found.save(path)
    written = {
        ".html": found.to_html(), ".md": found.to_markdown(),
        ".json": found.to_json(), ".txt": str(found),
    }  # fmt: skip
    assert path.read_text(encoding="utf-8") == written[ending]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_another_ending_is_refused(found, tmp_path):
    with pytest.raises(ValueError, match=r"saved as .html, .md, .json, .txt; got '.*pdf'"):
        found.save(tmp_path / "report.pdf")


def test_json_comes_back_the_same(found):
    assert Report.from_json(found.to_json()) == found


@pytest.mark.parametrize("schema", [0, 1, "2", None])
def test_json_of_another_schema_is_refused(found, schema):
    data = {**json.loads(found.to_json()), "schema": schema}
    with pytest.raises(ValueError, match=f"schema 2; got {schema!r}"):
        Report.from_json(json.dumps(data))


def test_json_that_is_no_report_is_refused():
    with pytest.raises(ValueError, match="schema 2; got None"):
        Report.from_json("[]")


def test_a_row_that_is_not_there_is_refused_with_those_that_are(found):
    with pytest.raises(KeyError, match=r"none is named 'fosctm'. It has \['gap_energy_share'"):
        found.row("fosctm")
