import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from markupsafe import escape
from PIL import Image

from align._display.figure import COLOURS, DARK
from align.data.pairs import Pairs
from probes.reporting.about import about
from probes.reporting.document import Report
from probes.reporting.html import items as items_module
from probes.reporting.html.captions import CAPTIONS, seen
from probes.reporting.html.items import item_renderer, printable
from probes.reporting.html.page import page, render
from probes.reporting.items import items_behind
from probes.reporting.model import Clouds, Histogram
from probes.reporting.verdict import conclusion, findings
from tests.probes.reporting.example_report import example_report, with_reading

VOID = {"meta", "link", "img", "br", "hr"}
HOSTILE = (
    "</script></style><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;\x00\ud800"
)


class Tree(HTMLParser):
    """Every element with its attributes; raises where a tag closes what is not open."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag):
        return [attrs for found, attrs in self.elements if found == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def section(id, report, item=None):
    """One section of the page, without the figures."""
    (found,) = re.findall(rf'<section id="{id}".*?</section>', render(report, item), re.DOTALL)
    return found


@pytest.fixture(scope="module")
def html():
    return page(example_report(common=True))


@pytest.fixture(scope="module")
def tree(html):
    return Tree(html)


@pytest.fixture
def pairs(tmp_path):
    """1,000 pairs of captions and pictures, where one picture is missing."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (200, 100), "green").save(photo)
    images = [photo] * 1000
    images[0] = tmp_path / "lost <b>.png"
    names = tuple(map(str, range(1000)))
    return Pairs(names, tuple(f"caption {name}" for name in names), tuple(images), names)


def test_the_page_is_whole_html_with_every_landmark(tree):
    assert tree.elements[0] == ("html", {"lang": "en"})
    assert {"charset": "utf-8"} in tree.all("meta")
    for tag in ("title", "h1", "header", "nav", "main"):
        assert len(tree.all(tag)) == 1, tag
    sections = [attrs["id"] for attrs in tree.all("section")]
    assert sections == ["verdict", "measures", "figures", "failures", "hubs", "provenance"]


def test_no_id_is_used_twice_and_every_reference_has_its_aim(tree):
    ids = [attrs["id"] for _, attrs in tree.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    aims = {attrs["href"] for attrs in tree.all("a")} | {
        f"#{attrs['aria-labelledby']}" for _, attrs in tree.elements if "aria-labelledby" in attrs
    }
    assert len(aims) > 10 and aims <= {f"#{id}" for id in ids}


def test_nothing_is_loaded_from_anywhere(html, tree):
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    for tag, attrs in tree.elements:
        for key in ("src", "href", "xlink:href", "srcset", "action", "data"):
            if attrs.get(key):
                assert attrs[key].startswith(("#", "data:")), (tag, attrs)
        assert not any(key.startswith("on") or key == "style" for key in attrs), (tag, attrs)


def test_the_policy_allows_the_one_style_and_the_one_script_by_their_hash(html, tree):
    (policy,) = (a["content"] for a in tree.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert policy.count("sha256-") == 2 == len(tree.all("style")) + len(tree.all("script"))
    assert html.index("Content-Security-Policy") < html.index("<style")


def test_the_same_report_gives_the_same_page(html):
    assert page(example_report(common=True)) == html


def test_the_page_is_small(html, pairs):
    assert len(html) < 600_000
    assert len(example_report().with_items(pairs).to_html()) < 1_000_000


def test_the_verdict_and_the_headline_numbers_come_first(html, tree):
    report = example_report(common=True)
    first = html.index(escape(conclusion(report)))
    said = html.index(escape(findings(report)["pairing"]))
    assert first < html.index('class="cards"') < said < html.index("<table")
    shown = re.findall(r'<li><h3>([^<&]+).*?</h3><p class="big">([^<]+)</p>', html)
    assert shown[0] == ("Gap energy share", "0.431 → 0.014")
    assert shown[3] == ("Recall@10", "0.010 → 0.632") and len(shown) == 6


def test_headline_numbers_that_were_not_measured_are_left_out():
    report = example_report()
    few = replace(report, rows=tuple(row for row in report.rows if row.name == "foscttm"))
    assert section("verdict", few).count('class="big"') == 1
    assert "<li>" not in section("verdict", replace(report, rows=()))


def rows_of(report):
    html = section("measures", report)
    rows = re.findall(r'<tr><th scope="row">(?:<a [^>]*>)?([^<&]+).*?</th>(.*?)</tr>', html)
    return dict(rows)


def test_a_cell_holds_value_interval_null_chance_and_pairs():
    found = rows_of(example_report(common=True))
    assert found["MMD²"].startswith(
        "<td><b>0.612</b><small>[0.592, 0.633]</small><small>chance 0, p 0.005</small>"
        "<small>effect 31\N{NO-BREAK SPACE}%</small><small>n 500</small></td>"
    )
    assert found["Mutual kNN"].startswith("<td><b>0.131</b><small>chance 0.010, p 0.001</small>")


def test_an_undefined_cell_is_a_dash_and_a_state_without_values_is_no_column():
    html = section("measures", example_report(common=False))
    offset, pathology = (html.split(f'<h3 id="{family}">')[1] for family in ("offset", "pathology"))
    heads = re.findall(r'scope="col">([^<]+)<', offset.split("</table>")[0])
    assert heads == ["Probe", "aligned"]
    (mark,) = re.findall(r'undefined">\N{EN DASH}<sup><a href="#(note-\d)"', pathology)[-1:]
    assert f'<li id="{mark}">' in html
    assert html.count("are not defined before alignment: the sides have 384 and 1280") == 1


def test_notes_of_doubt_are_marked_in_the_cell_and_listed_below():
    report = with_reading(example_report(common=True), "foscttm", "raw", notes=("Few <pairs>.",))
    html = section("measures", report)
    (at,) = re.findall(r"<b>0.499</b><sup><a href=\"#note-(\d)\"", html)
    assert f'<li id="note-{at}">Few &lt;pairs&gt;.</li>' in html


def test_the_direction_that_is_better_is_in_words_too():
    html = section("measures", example_report(common=True))
    assert "FOSCTTM</a>&nbsp;<span" in html and html.count(", lower is better</span>") == 8
    assert html.count(", higher is better</span>") == 5
    assert ">Effective rank, source</a></th>" in html


@pytest.mark.parametrize(
    "better, change, word",
    [
        ("lower", (-0.2, -0.3, -0.1), "better"),
        ("lower", (0.2, 0.1, 0.3), "worse"),
        ("higher", (0.2, 0.1, 0.3), "better"),
        ("higher", (-0.2, -0.3, -0.1), "worse"),
        ("neither", (0.2, 0.1, 0.3), "changed"),
        ("higher", (0.2, -0.1, 0.3), "no clear change"),
    ],
)
def test_a_change_is_called_what_it_is(better, change, word):
    report = example_report(common=True)
    row = report.row("foscttm")
    moved = type(row.change)(*change)
    html = section("measures", replace(report, rows=(replace(row, better=better, change=moved),)))
    (cell,) = re.findall(r"<td><b>\W0\.200</b>.*?</td>", html)
    assert f">{word}</small>" in cell
    assert ("<b>+0.200" in html) == (change[0] > 0)


def test_without_an_adapter_there_is_no_column_of_changes():
    html = section("measures", example_report(adapter=False, common=True))
    assert "aligned" not in html and '<th scope="col">centred (control)</th></tr>' in html


def test_a_probe_links_to_what_it_means():
    report = example_report(common=True)
    html = section("measures", report)
    (link,) = re.findall(r'<a class="probe" href="#about-foscttm" title="([^"]+)">', html)
    assert link == about("foscttm").meaning
    (row,) = re.findall(r'<tr id="about-foscttm">.*?</tr>', section("provenance", report))
    assert about("foscttm").beware in row and "doi:10.4230/LIPIcs.WABI.2019.10" in row
    # A probe of a user's own has no such row, and no link.
    assert ">MMD²&nbsp;" not in html and '<th scope="row">Centroid gap' in html


def test_every_figure_has_a_caption_and_says_what_is_to_be_seen(tree):
    labels = [attrs["aria-label"] for attrs in tree.all("svg")]
    assert len(labels) == len(tree.all("figcaption")) == len(CAPTIONS) == 6
    assert all(label.endswith(".") and "raw" in label and "aligned" in label for label in labels)
    assert "galleries of 1,000 items" in tree.text and "among the 10 best" in tree.text


def test_a_figure_is_described_with_the_numbers_of_its_view():
    clouds = Clouds(((0.0, 0.0), (2.0, 0.0)), ((4.0, 4.0),), (1.0, 3.0), (1.5,))
    report = example_report(common=False)
    cosines = Histogram((0.0, 0.5, 1.0), (0.0, 2.0), (1.0, 1.0))
    changed = replace(report.views["aligned"], clouds=clouds, cosines=cosines)
    report = replace(report, views=report.views | {"aligned": changed})
    assert seen("clouds", report).endswith("raw not defined before alignment, aligned 5.00.")
    assert seen("along the gap", report).endswith("aligned 0.500.")
    assert seen("cosines", report).endswith("aligned 0.750 and 0.500.")
    assert "Recall at 10: raw not defined" in seen("recall", report)


def test_failures_show_the_query_its_match_and_what_came_first(pairs):
    report = example_report(failures=2)
    html = section("failures", report, item_renderer(items_behind(report, pairs)))
    first, second = re.findall(r"<tr><td class=\"number\".*?</tr>", html, re.DOTALL)
    # The first failure searched pictures by captions, the second captions by pictures.
    assert re.findall(r'caption \d+|<img|cannot be read: [^<]+|class="id"[^<]+', first) == [
        "caption 0", 'class="id" dir="auto">0', "cannot be read: lost &lt;b&gt;.png",
        "<img", 'class="id" dir="auto">999',
    ]  # fmt: skip
    assert re.findall(r"caption \d+|<img", second) == ["<img", "caption 1", "caption 998"]


def test_hubs_show_the_item_that_was_retrieved(pairs):
    report = example_report(hubs=3)
    html = section("hubs", report, item_renderer(items_behind(report, pairs)))
    shown = re.findall(r"caption \d+|<img|cannot be read", html)
    assert shown == ["cannot be read", "caption 3", "<img"]


def test_each_picture_is_drawn_once(pairs, monkeypatch):
    drawn = []
    real = items_module.thumbnail
    monkeypatch.setattr(
        items_module, "thumbnail", lambda item, *a, **o: drawn.append(item) or real(item, *a, **o)
    )
    item = item_renderer(items_behind(example_report(), pairs))
    assert item("target", "7") == item("target", "7") and len(drawn) == 1


@pytest.mark.parametrize(
    "item, shown",
    [
        ("x" * 500, ">" + "x" * 240 + "…</p>"),
        ({"a": "<b>"}, "<code>{&#39;a&#39;: &#39;&lt;b&gt;&#39;}</code>"),
        (Path("nowhere/a.png"), "cannot be read: a.png"),
        ("سلام", 'dir="auto">سلام</p>'),
    ],
    ids=["long text", "object", "lost file", "right to left"],
)
def test_items_of_any_type_are_shown(item, shown):
    held = Pairs(("0",), (item,), (item,), ("0",))
    report = example_report(failures=0, hubs=1)
    assert shown in item_renderer(items_behind(report, held))("source", "0")


def test_a_report_with_nothing_to_list_says_so():
    report = example_report(failures=0, hubs=0)
    assert "every query found its own match first" in section("failures", report)
    assert "Nothing was searched." in section("hubs", report)


def test_provenance_is_shown_in_full(tree):
    for fact in (
        "1,000 measured, of 1,012 given, in 960 groups", "repeat an item of their group",
        "text:all-MiniLM-L6-v2@8b3219a9", "encoder unknown", "means of the other 4 of 5 folds",
        "rcca; held-out recall@10 0.63", "256 dimensions", "1,000 bootstrap draws",
        "torch 2.13.0", "bootstrap over pairs", "random pairing",
    ):  # fmt: skip
        assert fact in tree.text, fact


def hostile(value, key=""):
    """The JSON of a report with every free text replaced."""
    if isinstance(value, dict):
        return {name: hostile(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [hostile(entry, key) for entry in value]
    closed = ("family", "better", "direction", "scale", "schema")
    return HOSTILE if isinstance(value, str) and key not in closed else value


def test_hostile_text_stays_text():
    data = hostile(json.loads(example_report().to_json()))
    data["provenance"]["versions"][HOSTILE] = HOSTILE
    report = Report.from_json(json.dumps(data))
    held = Pairs((HOSTILE,), (HOSTILE,), (Path(HOSTILE),), ("0",))
    html = report.with_items(held).to_html()
    html.encode("utf-8")
    tree = Tree(html)
    assert len(tree.all("script")) == len(tree.all("style")) == 1 and not tree.all("img")
    assert not any(key.startswith("on") for _, attrs in tree.elements for key in attrs)
    assert "\x00" not in html and "<script>alert" not in html
    assert tree.text.count("<script>alert(1)</script>") > 100


def test_other_scripts_arrive_unchanged():
    assert printable("日本語 עברית\n\tπ 🎉") == "日本語 עברית\n\tπ 🎉"
    assert printable("a\x07b\ud800c\x85") == "a\ufffdb\ufffdc\ufffd"


def luminance(colour):
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(mode):
    css = resources.files("probes.reporting.html").joinpath("page.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#\w{6});", light if mode == "light" else dark))
    figures = COLOURS if mode == "light" else DARK
    found |= {f"figure-{role}": colour for role, colour in figures.items()}
    for role in ("ink", "muted", "link", "good", "bad", "figure-ink", "figure-muted"):
        assert contrast(found[role], found["paper"]) >= 4.5, role
    for role in set(COLOURS) - {"rule"}:
        assert contrast(found[f"figure-{role}"], found["paper"]) >= 3, role
