import json
import sys

import pytest

from align.metrics.comparison.compare import compare
from align.metrics.comparison.document import Comparison, check_format
from align.metrics.comparison.holm import with_adjusted_p
from align.metrics.comparison.values import ComparisonRow, Difference, Score
from tests.metrics.comparison.ranked import Noisy, Same, pairs


def planted():
    """Two systems beside a baseline: one better, one not shown to differ, one quantity unpaired."""
    recall = ComparisonRow(
        "recall_at_10", "Recall@10", "pairing", "higher", True, True,
        {"CLIP": Score(0.4, 0.35, 0.45, 0.02), "ours": Score(0.431, 0.39, 0.47, 0.02),
         "x|<b>\n": Score(0.41, 0.36, 0.46, 0.02)}, {},
        {"ours": Difference(0.031, 0.012, 0.050, 0.001),
         "x|<b>\n": Difference(0.01, -0.02, 0.04, 0.5)},
    )  # fmt: skip
    gap = ComparisonRow(
        "modality_gap", "Centroid gap", "offset", "lower", False, True,
        {"CLIP": Score(0.8, 0.7, 0.9), "ours": Score(0.2, 0.1, 0.3)},
        {"x|<b>\n": "the sides have 3 and 4 dimensions"},
        {"ours": Difference(-0.6, -0.7, -0.5, 1e-6, is_paired=False)},
    )  # fmt: skip
    return Comparison(
        "Modality gap, compared with CLIP",
        ("CLIP", "ours", "x|<b>\n"),
        "CLIP",
        with_adjusted_p((recall, gap)),
        {"offset": "Offset", "pairing": "Pairing"},
        "recall_at_10",
        ("ours has seen the answers.",),
        ("100 pairs.",),
    )


def test_the_verdict_names_the_winner_with_its_gain():
    assert planted().verdict == (
        "ours finds more partners than CLIP: recall@10 +3.1 [1.2, 5.0] points. Besides, ours is "
        "better in Centroid gap. No difference in partners found is shown between x|<b>\n and "
        "CLIP: recall@10 +1.0 [\N{MINUS SIGN}2.0, 4.0] points."
    )


def test_a_baseline_that_wins_has_the_gain():
    rows = with_adjusted_p(
        [
            ComparisonRow(
                "recall_at_10", "Recall@10", "pairing", "higher", True, True,
                {}, {}, {"b": Difference(-0.05, -0.07, -0.02, 0.001)},
            )
        ]
    )  # fmt: skip
    found = Comparison("", ("a", "b"), "a", rows, {"pairing": ""}, "recall_at_10", (), ())
    assert found.verdict == "a finds more partners than b: recall@10 +5.0 [2.0, 7.0] points."


def test_a_difference_with_a_caveat_is_neither_better_nor_worse():
    difference = Difference(0.1, 0.05, 0.15, 0.001, 0.001, caveat="as does the width")
    row = ComparisonRow("x", "X", "p", "higher", False, True, {}, {}, {"b": difference})
    assert row.outcome("b") == "differs"
    found = Comparison("", ("a", "b"), "a", (row,), {"p": ""}, "other", (), ())
    assert found.verdict == "b beside a: other, neither better nor worse, in X."


def test_a_difference_needs_both_its_interval_and_its_adjusted_p():
    assert Difference(0.1, 0.05, 0.15, 0.01, 0.05).is_shown
    assert not Difference(0.1, 0.05, 0.15, 0.01, 0.051).is_shown
    assert not Difference(0.1, -0.01, 0.15, 0.01, 0.01).is_shown
    assert not Difference(0.1).is_shown


def test_print_stays_within_100_columns_and_says_everything_that_decides(rng):
    for found in (planted(), compare({"a" * 60: Same(), "b": Noisy(1)}, pairs(rng))):
        text = str(found)
        assert max(map(len, text.split("\n"))) <= 100
    text = str(planted())
    assert "ours has seen the answers." in text
    assert "+3.1 [1.2, 5.0]" in text and "better, p 0.002" in text
    assert "better, p < 0.001, unpaired" in text
    assert "the sides have 3 and 4 dimensions" in text
    assert "x|<b>\\n" in text


def test_a_repr_is_one_short_line():
    assert repr(planted()) == (
        "Comparison(baseline CLIP, Recall@10: ours +3.1 [1.2, 5.0] better; x|<b>\\n +1.0 "
        "[\N{MINUS SIGN}2.0, 4.0] no difference shown)"
    )
    gain = Difference(0.012345678, -0.0034, 0.027, 0.123)
    assert repr(gain) == "Difference(+0.01235 [-0.0034, +0.027], p 0.12)"


def test_a_notebook_shows_the_verdict_and_escapes_names():
    html = planted()._repr_html_()
    assert "ours finds more partners than CLIP" in html
    assert "<b>" not in html and "x|&lt;b&gt;" in html
    assert html.index("ours has seen the answers.") < html.index("ours finds")


def test_rows_that_do_not_decide_are_folded_away(rng):
    html = compare({"one": Same(), "two": Noisy(1.0)}, pairs(rng))._repr_html_()
    assert html.count("<details>") == 3
    assert "source → target (4)" in html


def test_a_name_cannot_break_a_table_of_markdown():
    text = planted().to_markdown()
    tables = [line for line in text.split("\n") if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {8}
    assert "x\\|&lt;b&gt;\\\\n" in text


def test_a_frame_has_a_line_per_row_and_system():
    frame = planted().to_frame()
    assert len(frame) == 6
    line = frame[(frame.name == "recall_at_10") & (frame.system == "ours")].iloc[0]
    assert (line.value, line.difference, line.outcome) == (0.431, 0.031, "better")
    assert line.chance == 0.02 and line.decides


def test_every_format_is_written_and_another_refused(tmp_path):
    found = planted()
    for ending in (".html", ".md", ".json", ".txt", ".png", ".svg"):
        found.save(tmp_path / f"out{ending}")
        assert (tmp_path / f"out{ending}").stat().st_size > 200
    assert json.loads((tmp_path / "out.json").read_text())["schema"] == 1
    page = (tmp_path / "out.html").read_text()
    assert "<script" not in page and "http:" not in page and "https:" not in page
    with pytest.raises(ValueError, match=r"can be saved as \.html"):
        found.save(tmp_path / "out.pdf")


def test_a_page_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setattr("align.metrics.comparison.document.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install 'isthmus"):
        check_format("out.png")
    assert check_format("out.md") == ".md"


def test_the_figure_touches_no_pyplot_and_tells_shown_differences_from_others(monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    figure = planted().plot()
    assert "matplotlib.pyplot" not in sys.modules
    assert figure.get_figwidth() == 6
    shares, gap = figure.axes
    marks = [line for line in shares.lines if line.get_marker() in "os" and len(line.get_xdata())]
    full = {line.get_xdata()[0]: line.get_markerfacecolor() != "none" for line in marks}
    assert full == pytest.approx({3.1: True, 1.0: False})
    assert [label.get_text() for label in gap.get_yticklabels()] == ["Centroid gap ↓"]


def test_nothing_to_draw_is_refused():
    empty = Comparison("", ("a", "b"), "a", (), {}, "recall_at_10", (), ())
    with pytest.raises(ValueError, match="a row that decides"):
        empty.plot()
    assert empty.verdict == "Nothing that decides could be compared between b and a."


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="none is named 'recall' in 'mean'"):
        planted().row("recall", "mean")
