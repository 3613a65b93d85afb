"""A report in a notebook: short, whole, and with the items that belong to it."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from align.data.pairs import Pairs
from probes.reporting.panel import HUBS, WORST, report_panel
from probes.reporting.verdict import conclusion
from tests.probes.reporting.example_report import example_report, with_side_names


@pytest.fixture
def pairs(tmp_path):
    """1,000 pairs of captions and one picture."""
    Image.new("RGB", (200, 100), "green").save(tmp_path / "photo.png")
    names = tuple(map(str, range(1000)))
    captions = tuple(f"caption <b> {name}" for name in names)
    return Pairs(names, captions, (tmp_path / "photo.png",) * 1000, names)


def folded(panel):
    return {each.summary.partition(":")[0]: each.tables[0] for each in panel.folded}


def test_it_begins_with_what_follows_and_six_tiles_beside_chance():
    made = example_report(common=True)
    panel = report_panel(made, None)
    assert panel.sentence == conclusion(made) and panel.warning == ""
    assert panel.title == "Modality gap of 1,000 pairs, source and target, raw and aligned"
    assert [tile.name for tile in panel.tiles][3] == "Recall@10 ↑" and len(panel.tiles) == 6
    assert panel.tiles[3].value == "0.010 → 0.632"
    beside = panel.tiles[3].beside.replace("\N{NO-BREAK SPACE}", " ")
    assert beside == "[0.611, 0.653]; by chance 0.010; effect 63 %"


def test_pairs_that_were_trained_on_are_said_first():
    html = example_report(common=True, trained=300)._repr_html_()
    assert html.index("300 of the 1,000 pairs were trained on") < html.index('class="tiles"')


def test_states_that_are_not_defined_are_no_columns_and_said_once():
    made = example_report(common=False)
    tables = folded(report_panel(made, None))
    assert tables["Offset"].columns[:2] == ("probe", "aligned")
    assert tables["Structure"].columns[:4] == ("probe", "raw", "aligned", "centred (control)")
    html = made._repr_html_()
    assert html.count("not defined before alignment: the sides have 384 and 1280") == 1


def test_a_row_has_as_many_cells_as_its_table_and_says_what_it_means():
    made = example_report(common=True)
    panel = report_panel(made, None)
    for each in panel.folded:
        for table in each.tables:
            assert all(len(row) == len(table.columns) for row in table.rows)
    pairing = folded(panel)["Pairing"]
    (row,) = (row for row in pairing.rows if str(row[0]).startswith("Recall@10"))
    assert row[-1].startswith("How often a search with one item has its partner")


def test_worst_searches_and_hubs_show_ids_until_the_items_are_known(pairs):
    made = with_side_names(example_report(), "caption", "image")
    without, shown = made._repr_html_(), made.with_items(pairs)._repr_html_()
    assert "<img" not in without and "with_items(pairs)" in without
    assert "caption &lt;b&gt; 0" in shown and "with_items" not in shown
    assert shown.index("Worst-ranked") < shown.index("Offset")
    panel = report_panel(made, made.with_items(pairs).items)
    assert [len(table.rows) for table in panel.tables] == [2 * WORST, 2 * HUBS]
    assert {row[1] for row in panel.tables[0].rows} == {"caption → image", "image → caption"}
    # Captions search pictures: one text, its picture, and the picture that came first.
    forth = next(row for row in panel.tables[0].rows if row[1] == "caption → image")
    assert isinstance(forth[2], str) and all(hasattr(cell, "address") for cell in forth[3:])


@pytest.mark.parametrize("common", [False, True])
def test_a_cell_of_a_notebook_stays_small(pairs, common):
    made = example_report(common=common)
    assert len(made._repr_html_()) < 20_000
    assert len(made.with_items(pairs)._repr_html_()) < 60_000


def test_no_probe_and_nothing_searched_is_still_a_panel():
    made = replace(example_report(failures=0, hubs=0), rows=())
    panel = report_panel(made, None)
    assert [each.summary for each in panel.folded] == ["What was measured"] and not panel.tiles


def test_hostile_names_and_items_stay_text(tmp_path):
    names = ("<script>alert(1)</script>", "\x1b[2J")
    made = with_side_names(example_report(failures=1, hubs=1), *names)
    html = made._repr_html_()
    assert "<script" not in html and "\x1b" not in html and "&lt;script&gt;" in html


def test_items_are_neither_compared_nor_written(pairs):
    made = example_report()
    shown = made.with_items(pairs)
    assert shown == made and shown.to_json() == made.to_json()
    assert "items" not in json.loads(shown.to_json())
    ids = {hub.id for hub in made.hubs}
    ids |= {id for failure in made.failures for id in (failure.id, failure.best_id)}
    assert set(shown.items.source) == ids == set(shown.items.target)


def test_pairs_that_lack_an_id_of_the_report_are_refused():
    other = Pairs(("a",), ("x",), ("y",), ("a",))
    with pytest.raises(ValueError, match=r"2 of 2 are missing, such as '0'"):
        example_report(failures=1, hubs=0).with_items(other)
