import re
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from align._display.figure import COLOURS, as_inline_svg
from probes.reporting.html.captions import CAPTIONS
from probes.reporting.html.plots import UNDEFINED, figure
from probes.reporting.model import CanonicalCorrelations, Clouds, Curve, Histogram
from tests.probes.reporting.example_report import example_report, with_side_names

NAMES = {"clouds", "along the gap", "cosines", "k-occurrence", "canonical spectrum", "recall"}
ONE_POINT = Clouds(((0.0, 0.0),) * 3, ((0.0, 0.0),) * 3, (0.0,) * 3, (0.0,) * 3)
LABEL = "Lines <of> recall & more."


def all_figures(report):
    return {name: figure(name, report) for name in CAPTIONS}


def drawings(report):
    return {
        name: as_inline_svg(name, made, label=LABEL) for name, made in all_figures(report).items()
    }


@cache
def drawn_once():
    """All drawings of a report with everything, for tests that only read them."""
    return drawings(example_report(common=True))


def words(figure):
    return " ".join(
        text.get_text()
        for axes in figure.axes
        for text in [*axes.texts, axes.title, axes.xaxis.label]
    )


def with_view(report, state, **parts):
    return replace(report, views=report.views | {state: replace(report.views[state], **parts)})


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("adapter", [True, False])
def test_every_figure_is_there_whatever_states_there_are(common, adapter):
    made = all_figures(example_report(common=common, adapter=adapter))
    assert set(made) == NAMES
    assert all(as_inline_svg("clouds", made[name], label="") for name in ("clouds", "recall"))


@pytest.mark.parametrize("name", ["clouds", "along the gap", "cosines"])
def test_a_state_without_a_common_space_has_a_panel_that_says_so(name):
    panels = figure(name, example_report(common=False)).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["raw", "aligned"]
    said = [" ".join(text.get_text() for text in axes.texts) for axes in panels]
    assert [text.replace("\n", " ") for text in said] == [UNDEFINED, ""]


@pytest.mark.parametrize("name", ["k-occurrence", "recall"])
def test_lines_that_cannot_be_drawn_are_named_above_those_that_can(name):
    (axes,) = figure(name, example_report(common=False)).axes
    assert axes.get_title(loc="left") == f"raw: {UNDEFINED}"
    (axes,) = figure(name, example_report(common=True)).axes
    assert axes.get_title(loc="left") == ""


def test_without_any_common_space_no_figure_is_blank():
    made = all_figures(example_report(common=False, adapter=False))
    for name in NAMES - {"canonical spectrum"}:
        assert "not defined\nbefore alignment" in words(made[name]), name


def test_a_correction_that_moves_no_vectors_has_no_panel_but_has_its_lines():
    report = example_report(common=True)
    made = all_figures(report)
    assert len(made["clouds"].axes) == len(made["canonical spectrum"].axes) == 3
    curve = report.views["corrected"].recall
    lines = [(line.get_xdata(), line.get_ydata()) for line in made["recall"].axes[0].lines]
    assert any(np.array_equal(x, curve.x) and np.array_equal(y, curve.y) for x, y in lines)
    assert any(np.array_equal(y, curve.null) for _, y in lines)


def test_all_clouds_are_drawn_to_one_scale():
    panels = figure("clouds", example_report(common=True)).axes
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    assert {axes.get_aspect() for axes in panels} == {1.0}
    assert np.abs(panels[0].get_xlim()).max() > 0.5


def test_the_line_between_centroids_joins_the_means_of_the_points():
    clouds = Clouds(((0.0, 0.0), (2.0, 0.0)), ((5.0, 1.0), (5.0, 3.0)), (0.0, 1.0), (2.0, 3.0))
    report = with_view(example_report(common=True), "raw", clouds=clouds)
    lines = figure("clouds", report).axes[0].lines
    joined = [line for line in lines if line.get_linestyle() == "-"]
    assert [line.get_xydata().tolist() for line in joined] == [[[1.0, 0.0], [5.0, 2.0]]]


def test_bars_are_not_cut_off():
    for name in ("along the gap", "cosines"):
        for axes in figure(name, example_report(common=True)).axes:
            top = max(patch.get_data().values.max() for patch in axes.patches)
            assert axes.get_ylim()[1] > top


@pytest.mark.parametrize(
    "name, view",
    [
        ("clouds", {"clouds": ONE_POINT}),
        ("along the gap", {"clouds": ONE_POINT}),
        ("cosines", {"cosines": Histogram((0.5, 0.501), (1000.0,), (1000.0,))}),
        ("canonical spectrum", {"spectrum": CanonicalCorrelations((0.5,), (0.9,), (0.0,))}),
        (
            "canonical spectrum",
            {"spectrum": CanonicalCorrelations((-0.5, -0.9), (0.9, 0.8), (-0.1, 0.1))},
        ),
        ("recall", {"recall": Curve((1.0,), (0.0,), (1.0,))}),
    ],
    ids=["one point", "along the gap", "one bin", "one direction", "below zero", "one k"],
)
def test_degenerate_views_are_drawn_without_a_warning(name, view):
    report = with_view(example_report(common=False), "aligned", **view)
    as_inline_svg(name, figure(name, report), label="")


def test_no_global_state_of_matplotlib_is_used_or_changed(monkeypatch):
    from matplotlib import rcParams

    def settings():
        return {key: rcParams[key] for key in rcParams if key != "backend"}

    before = settings()
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    as_inline_svg("recall", figure("recall", example_report()), label="")
    assert "matplotlib.pyplot" not in sys.modules
    assert settings() == before


def test_the_style_of_the_reader_does_not_show():
    import matplotlib

    loud = {"text.color": "red", "font.size": 20, "svg.fonttype": "path", "axes.grid": True}
    with matplotlib.rc_context(loud):
        svg = as_inline_svg("recall", figure("recall", example_report(common=True)), label=LABEL)
    assert svg == drawn_once()["recall"]


def test_the_same_report_gives_the_same_drawings():
    assert drawings(example_report(common=True)) == drawn_once()


def test_figures_without_matplotlib_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'isthmus\[report\]'"):
        all_figures(example_report())


def test_a_strict_policy_allows_the_drawings_and_their_rules_do_not_leak():
    for svg in drawn_once().values():
        assert not re.search(r"style|<script|<metadata|xmlns|http", svg)


def test_drawings_of_one_page_do_not_share_ids_and_refer_to_their_own():
    seen = set()
    for name, svg in drawn_once().items():
        ids = re.findall(r' id="([^"]+)"', svg)
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
        assert len(ids) == len(set(ids)) and set(ids) == {a or b for a, b in used}
        assert all(id.startswith(name.replace(" ", "-")) for id in ids)
        assert not seen & set(ids)
        seen |= set(ids)


def test_every_colour_can_be_changed_by_the_page():
    everything = "".join(drawn_once().values())
    fixed = re.sub(r"var\(--figure-(\w+), (#\w{6})\)", "", everything)
    assert not re.search(r"#[0-9a-f]{6}|(fill|stroke)=\"(?!none|\")[a-z]", fixed)
    assert set(re.findall(r"var\(--figure-(\w+)", everything)) == set(COLOURS)


def test_a_drawing_says_what_is_to_be_seen_and_keeps_its_text():
    svg = drawn_once()["recall"]
    assert 'role="img" aria-label="Lines &lt;of&gt; recall &amp; more."' in svg
    assert ">share found in the top k</text>" in svg


def test_hundreds_of_points_stay_small():
    assert len(drawn_once()["clouds"]) < 200_000


def test_a_report_plots_one_figure_by_name_without_pyplot():
    report = with_side_names(example_report(common=True), "caption $x$", "image")
    made = report.plot("clouds")
    labels = [text.get_text() for text in made.legends[0].get_texts()]
    assert labels[:2] == [r"caption \$x\$", "image"]
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
    assert made._repr_png_().startswith(b"\x89PNG")


def test_a_figure_that_a_report_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(ValueError, match=r"figures \['clouds', .*; got 'cloud'. Choose one"):
        example_report().plot("cloud")
