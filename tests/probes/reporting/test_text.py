"""A report as text, Markdown, a frame and files."""

import json
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from probes.reporting.document import Report
from probes.reporting.text import WIDTH, printed, printed_whole
from tests.probes.reporting.example_report import example_report, with_side_names


@pytest.fixture(scope="module")
def report():
    return example_report()


def test_the_whole_text_shows_the_verdict_each_row_and_where_it_comes_from(report):
    text = printed_whole(report, WIDTH)
    assert text.startswith(report.verdict[:40])
    assert all(row.label in text for row in report.rows)
    assert "1,000 pairs" in text and "isthmus" in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_print_adds_nothing_of_its_own_to_the_cell_of_a_notebook(report, monkeypatch):
    shown = []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *args: shown.append(args))
    assert printed(report) == str(report)
    assert not shown


def rows_besides(report):
    """The names in the second table of a print."""
    lines = str(report).splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("Besides"))
    return [line.strip() for line in lines[start + 4 : lines.index("", start + 2)]]


def test_a_print_of_100_columns_is_short_and_says_where_the_rest_is(report, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    many = replace(
        report,
        rows=tuple(
            replace(row, name=f"{row.name}_{copy}", label=f"{row.label} {copy}")
            for row in report.rows
            for copy in range(5)
        )
        + report.rows,
    )
    assert len(many.rows) > 80
    lines = str(many).splitlines()
    assert len(lines) <= 60
    said = " ".join(lines)
    assert said.endswith(
        'All of it: report.to_frame(), report.to_markdown(), report.save("gap.html").'
    )
    assert f"of {len(many.rows)} rows" in said
    assert printed(many, WIDTH, rest="See elsewhere.").endswith("See elsewhere.")
    assert all(f" {copy} " not in line for line in rows_besides(many) for copy in range(3, 5))


def test_a_print_shows_of_each_family_what_differs_from_chance(report):
    names = " ".join(rows_besides(report))
    assert "Offset" in names and "Centroid gap" in names and "Recall@1 " in names
    assert "FOSCTTM" not in names  # it is in the headline
    same = replace(report.row("mutual_knn").readings["aligned"], null=0.29, p=0.7)
    readings = {**report.row("mutual_knn").readings, "aligned": same, "corrected": same}
    chance = tuple(
        replace(row, readings=readings) if row.name == "mutual_knn" else row for row in report.rows
    )
    assert "Mutual kNN" in names
    assert "Mutual kNN" not in " ".join(rows_besides(replace(report, rows=chance)))
    tiny = replace(report.row("mutual_knn").readings["aligned"], effect=0.002)
    barely = tuple(
        replace(row, readings={"aligned": tiny}) if row.name == "mutual_knn" else row
        for row in report.rows
    )
    assert "Mutual kNN" not in " ".join(rows_besides(replace(report, rows=barely)))


def test_a_row_ends_with_interval_chance_and_effect_of_its_last_state(report):
    line = [x for x in printed_whole(report, WIDTH).splitlines() if "Recall@10" in x][-1]
    assert line.split() == [
        "Recall@10", "↑", "0.632", "0.671", "[0.649,", "0.693]", "0.010", "67", "%"
    ]  # fmt: skip


def test_why_states_are_not_defined_is_said_once_and_they_are_no_columns(report):
    text = " ".join(printed_whole(report, WIDTH).split())
    reason = report.row("foscttm").undefined["raw"]
    assert text.count(f"Raw and centred are {reason}.") == 1
    assert "Offset. Are the two clouds apart as wholes? aligned 95 % interval" in text


def test_a_reason_of_one_probe_names_it(report):
    row = replace(report.row("mmd"), readings={}, undefined={"raw": "not defined here: too few."})
    alone = replace(report, rows=(row,))
    for text in (str(alone), printed_whole(alone, WIDTH)):
        assert "MMD²: raw is not defined here: too few." in text
        assert "Distribution" not in text


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("columns", [80, 90, WIDTH, 160])
def test_a_print_fits_its_window_and_cuts_no_number(monkeypatch, columns, common):
    monkeypatch.setenv("COLUMNS", str(columns))
    made = with_side_names(example_report(common=common), "caption", "image")
    lines = str(made).splitlines()
    assert max(map(len, lines)) <= min(columns, WIDTH)
    assert "…" not in str(made)
    assert any("[" in line and "Recall@1 " in line for line in lines) == (columns >= WIDTH)
    console = Console(width=columns, color_system=None)
    with console.capture() as captured:
        console.print(made)
    assert [line.rstrip() for line in captured.get().splitlines()] == lines


def test_sides_are_called_as_the_reader_calls_them():
    made = with_side_names(example_report(common=True), "caption", "image")
    for text in (printed_whole(made, WIDTH), made.to_markdown(), made.to_html()):
        assert "Hubness skewness, image" in text and "Effective rank, caption" in text
        assert "Caption" in text and "Hubness skewness, target" not in text
    assert "caption → image" in made.to_html() and "source to target" not in made.to_html()
    assert Report.from_json(made.to_json()).side_names == ("caption", "image")


def test_a_repr_is_one_short_line(report):
    made = with_side_names(report, "caption", "image")
    assert repr(made) == (
        "Report(1,000 pairs, caption and image, raw → aligned, recall@10 \N{EN DASH} → 0.632)"
    )
    assert repr(replace(made, rows=())) == "Report(1,000 pairs, caption and image, raw → aligned)"


def test_a_summary_is_what_follows_and_the_headline_beside_chance():
    lines = example_report(common=True, trained=300).summary().splitlines()
    assert lines[0] == "Modality gap of 1,000 pairs, source and target, raw → aligned."
    assert lines[1].startswith("300 of the 1,000 pairs were trained on")
    assert lines[2].startswith("On these pairs partners are found across")
    assert len(lines) == 3 + 6
    assert lines[6].split() == ["Recall@10", "0.010", "→", "0.632", "by", "chance", "0.010"]


def test_a_summary_of_nothing_says_so(report):
    last = replace(report, rows=()).summary().splitlines()[-1]
    assert last == "None of the headline probes was run, so there is nothing to sum up."


def test_markdown_tables_have_as_many_cells_as_columns(report):
    text = report.to_markdown()
    assert text.startswith("# Modality gap\n\n" + report.verdict)
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    first = next(at for at, line in enumerate(lines) if line.startswith("| probe"))
    headline, tables = lines[:first], lines[first:]
    assert {line.count("|") for line in headline} == {7} and len(headline) == 2 + 6
    widths = [line.count("|") for line in tables]
    heads = [at for at, line in enumerate(tables) if line.startswith("| probe")]
    for at, end in zip(heads, [*heads[1:], len(tables)], strict=True):
        assert len(set(widths[at:end])) == 1
    assert "0.671 [0.649, 0.693]; chance 0.010; effect 67\N{NO-BREAK SPACE}%" in text
    assert sum(line.startswith("| ") for line in tables) == len(report.rows) + 5


def test_a_frame_has_a_line_per_probe_and_state(report):
    pytest.importorskip("pandas")
    frame = report.to_frame()
    assert len(frame) == len(report.rows) * len(report.columns)
    line = frame[(frame.probe == "recall_at_10") & (frame.state == "aligned")].iloc[0]
    reading = report.row("recall_at_10").readings["aligned"]
    assert (line.value, line.low, line.n) == (reading.value, reading.low, reading.n)
    assert line.effect == reading.effect == pytest.approx((0.6321 - 0.01) / 0.99)
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
        ".json": report.to_json(), ".txt": printed_whole(report, 100),
    }  # fmt: skip
    assert path.read_text(encoding="utf-8") == written[ending]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_another_ending_is_refused(report, tmp_path):
    with pytest.raises(ValueError, match=r"saved as .html, .md, .json, .txt; got '.*pdf'"):
        report.save(tmp_path / "report.pdf")


def test_json_comes_back_the_same(report):
    assert Report.from_json(report.to_json()) == report


def test_json_of_schema_2_is_read_with_what_it_did_not_say(report):
    data = {**json.loads(report.to_json()), "schema": 2}
    del data["provenance"]["side_names"]
    for row in data["rows"]:
        for reading in row["readings"].values():
            del reading["effect"]
    read = Report.from_json(json.dumps(data))
    assert read.side_names == ("source", "target")
    assert read.row("foscttm").readings["aligned"].effect is None
    assert read.verdict == report.verdict


@pytest.mark.parametrize("schema", [0, 1, "2", None])
def test_json_of_another_schema_is_refused(report, schema):
    data = {**json.loads(report.to_json()), "schema": schema}
    with pytest.raises(ValueError, match=f"schema '2.2'; got {schema!r}"):
        Report.from_json(json.dumps(data))


def test_json_that_is_no_report_is_refused():
    with pytest.raises(ValueError, match=r"schema '2\.2'; got None"):
        Report.from_json("[]")


def test_a_row_that_is_not_there_is_refused_with_those_that_are(report):
    with pytest.raises(KeyError, match=r"none is named 'fosctm'. It has \['gap_energy_share'"):
        report.row("fosctm")
