"""The page in a real browser, narrow as a telephone: it sorts, fits, and asks for nothing."""

import html
import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256

import pytest
from PIL import Image

from align.data.pairs import Pairs
from tests.probes.reporting.example_report import example_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

FRAME = """<!DOCTYPE html><title>A telephone</title>
<iframe src="page.html" width="360" height="800" frameborder="0"></iframe>
<script>
addEventListener("message", (event) => {
  const shown = document.createElement("pre");
  shown.id = "browser";
  shown.textContent = event.data;
  document.body.append(shown);
});
</script>
"""

EARLY = """
const browser = { violations: [], errors: [] };
addEventListener("securitypolicyviolation", (e) => browser.violations.push(e.effectiveDirective));
addEventListener("error", (e) => browser.errors.push(e.message));
"""

LATE = """
const all = (selector) => [...document.querySelectorAll(selector)];
const heads = all("#failures th");
const click = (at) => heads[at].querySelector("button").click();
const state = (at) => ({
  keys: all("#failures tbody tr").map((row) => row.cells[at].dataset.key),
  sorts: heads.map((head) => head.getAttribute("aria-sort")),
});
browser.titles = heads.map((head) => head.textContent);
browser.buttons = heads.map((head) => head.querySelectorAll("button[type=button]").length);
browser.first = state(0);
click(0); browser.clicked = state(0);
click(0); browser.again = state(0);
click(2); browser.text = state(2);
click(4); browser.score = state(4);

const stops = all("a, button, summary, [tabindex]").filter(
  (element) => element.tabIndex >= 0 && element.checkVisibility()
);
browser.stops = stops.map((element) => element.tagName + " " + element.textContent.trim());
browser.unsure = stops.filter((element) => {
  element.focus();
  return document.activeElement !== element || getComputedStyle(element).outlineStyle !== "solid";
}).map((element) => element.outerHTML.slice(0, 80));

browser.width = innerWidth;
browser.overflow = document.documentElement.scrollWidth - innerWidth;
browser.images = [...document.images].map((image) => image.naturalWidth);
browser.loaded = performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 60));
browser.quiet = [...browser.violations];
new Image().src = "http://127.0.0.1:9/stray.png";
setTimeout(() => parent.postMessage(JSON.stringify(browser), "*"), 300);
"""


def source_of(script):
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """What a script saw that was let into a copy of the page beside its own."""
    folder = tmp_path_factory.mktemp("browser")
    Image.new("RGB", (50, 50), "green").save(folder / "photo.png")
    names = tuple(map(str, range(1000)))
    texts = tuple("a caption in many words " * 20 for _ in names)
    pairs = Pairs(names, texts, (folder / "photo.png",) * 1000, names)
    made = example_report(common=True).with_items(pairs).to_html()
    allowed = f"script-src {source_of(EARLY)} {source_of(LATE)} "
    made = made.replace("script-src ", allowed, 1)
    made = made.replace("<title>", f"<script>{EARLY}</script>\n<title>", 1)
    made = made.replace("</body>", f"<script>{LATE}</script>\n</body>", 1)
    (folder / "page.html").write_text(made, encoding="utf-8")
    # A window is never narrower than 500 pixels; a frame may be.
    (folder / "frame.html").write_text(FRAME, encoding="utf-8")
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --hide-scrollbars "
        f"--virtual-time-budget=3000 --user-data-dir={folder / 'profile'}"
    )
    done = subprocess.run(
        [BROWSER, *options.split(), "--dump-dom", (folder / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    text = re.search(r'<pre id="browser">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text, f"the script did not come to its end: {done.stderr[-500:]}"
    return json.loads(html.unescape(text[1]))


def test_no_script_fails(browser):
    assert browser["errors"] == []


def test_nothing_is_loaded_and_nothing_is_blocked(browser):
    assert [name for name in browser["loaded"] if not name.startswith("data:")] == []
    assert browser["quiet"] == []


def test_an_image_from_elsewhere_would_be_blocked(browser):
    assert browser["violations"] == ["img-src"]


def test_headers_are_buttons_where_there_is_something_to_sort_by(browser):
    assert browser["titles"][:4] == ["Rank", "Search", "Query", "Its match"]
    assert browser["buttons"] == [1, 1, 1, 0, 1, 1, 1]


def test_a_click_on_a_header_sorts_and_says_so(browser):
    ranks = [int(key) for key in browser["first"]["keys"]]
    assert ranks == sorted(ranks, reverse=True) and browser["first"]["sorts"][0] == "descending"
    assert [int(key) for key in browser["clicked"]["keys"]] == sorted(ranks)
    assert browser["clicked"]["sorts"] == ["ascending", *[None] * 6]
    assert [int(key) for key in browser["again"]["keys"]] == ranks
    assert browser["again"]["sorts"][0] == "descending"


def test_names_sort_as_people_count_and_scores_as_numbers(browser):
    assert browser["text"]["keys"] == [str(at) for at in range(24)]
    assert browser["text"]["sorts"] == [None, None, "ascending", *[None] * 4]
    scores = [float(key) for key in browser["score"]["keys"]]
    assert scores == sorted(scores) and len(set(scores)) > 2


def test_the_tab_key_reaches_everything_and_the_focus_is_seen(browser):
    assert browser["stops"][0] == "A Skip to the verdict"
    assert {"BUTTON Rank", "SUMMARY Notes", "BUTTON Times retrieved"} <= set(browser["stops"])
    assert browser["unsure"] == []


def test_nothing_sticks_out_of_a_narrow_screen(browser):
    assert browser["width"] == 360 and browser["overflow"] <= 0


def test_thumbnails_are_shown(browser):
    assert len(browser["images"]) > 20 and set(browser["images"]) == {50}
