"""The page in a real browser: typed into, clicked, by mouse and by key, wide and narrow."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
import uvicorn

from align import EmbeddingStore
from align.apps.serving.app import web_app
from align.apps.serving.gallery import Gallery
from align.retrieval.retriever import Retriever
from tests.apps.serving.browser import BROWSER, chromium
from tests.apps.serving.small_gallery import (
    TEXTS,
    as_bytes,
    colours_index,
    draw,
    gallery,
    many_texts,
    texts_gallery,
)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="the page is looked at in Chromium; there is none here"
)

CARDS = "[...document.querySelectorAll('.hit')]"
FIRST = "document.querySelector('.hit .title')?.textContent"
READY = "!document.getElementById('query').disabled"
IDLE = "!document.querySelector('[aria-busy]')"
ANSWERED = IDLE + " && document.getElementById('status').textContent.includes(' of ')"
AT_FIRST = IDLE + " && document.querySelector('#sample-title')"
QUERY = "document.getElementById('query').value"


def text_of(id):
    return f"document.getElementById('{id}').textContent"


@contextlib.contextmanager
def served(made):
    """The address of a gallery that is served on a free port, in a thread."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(web_app(made), log_level="error", ws="none", lifespan="off")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(timeout=20)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(browser):
    browser.run("0")  # what the browser has said by now is of the test before
    browser.problems.clear()
    return browser


@pytest.fixture(scope="module")
def colours_url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colours")
    store, names = EmbeddingStore(folder / "store"), ("caption", "picture")
    made = gallery(folder, several=True, store=store, side_names=names)
    made.measure_budgets()
    with served(made) as url:
        yield url


def test_at_first_the_page_says_what_there_is_and_how_to_ask(page, colours_url):
    page.open(colours_url)
    page.until(f"{AT_FIRST} && {READY}")
    assert page.run(text_of("name")) == page.run("document.title") == "idx"
    assert page.run(text_of("facts")) == "caption → picture, 6 pictures"
    assert page.run(text_of("sample-title")) == "All items"
    assert page.run(f"{CARDS}.map((c) => c.querySelector('.title').textContent)[0]") == "red.png"
    assert page.run("document.activeElement.id") == "query"
    page.click(".example")
    page.until(ANSWERED)
    assert page.run(f"new URLSearchParams(location.search).get('q') === {QUERY} && {QUERY}.length")
    assert page.problems == []


def test_typing_finds_pictures_and_clicking_finds_their_like(page, colours_url, tmp_path):
    page.open(colours_url)
    page.until(f"{AT_FIRST} && {READY}")
    page.type("a red wall")
    page.until(f"{FIRST} === 'red.png' && {ANSWERED} && location.search === '?q=a+red+wall'")
    assert page.run(f"{CARDS}.length") == 6
    page.until(
        "[...document.images].filter((i) => i.checkVisibility()).every((i) => i.naturalWidth)"
    )
    assert "6 hits of 6 items in" in page.run(text_of("status"))
    assert page.run("document.querySelectorAll('#plot .dot').length") == 6
    assert page.run("document.title") == "a red wall - idx"

    page.click(".hit .like")
    page.until(f"{CARDS}.length === 5 && {IDLE}")
    assert "Items like \u201cred.png\u201d" in page.run(text_of("question-text"))
    assert page.run("document.title") == "Items like \u201cred.png\u201d - idx"
    assert "red.png" not in page.run(f"{CARDS}.map((c) => c.textContent).join()")
    assert page.run("document.activeElement.id") == "clear"
    page.press("Enter", 13)
    page.until(f"{AT_FIRST} && document.activeElement.id === 'query'")

    (tmp_path / "wall.png").write_bytes(as_bytes("purple"))
    page.choose_file("#picture", tmp_path / "wall.png")
    page.until(f"{FIRST} === 'purple.png' && {ANSWERED}")
    assert page.run("document.getElementById('question-picture').src").startswith("blob:")
    assert page.problems == []


def test_what_is_typed_beside_an_example_says_how_hits_should_differ(page, tmp_path):
    with served(gallery(tmp_path)) as url:
        page.open(f"{url}?item=id%2Fred")
        page.until(f"{CARDS}.length === 5 && {IDLE}")
        assert page.run("document.getElementById('query').placeholder").startswith("But different")
        page.run("document.getElementById('query').focus()")
        page.type("blue")
        page.until(
            f"{FIRST} === 'purple.png' && {IDLE} && location.search === '?item=id%2Fred&q=blue'"
        )
        question = "Items like \u201cred.png\u201d, but \u201cblue\u201d"
        assert page.run(text_of("question-text")) == question
        page.run("history.back()")
        page.until(f"location.search === '?item=id%2Fred' && {CARDS}.length === 5 && {IDLE}")
        page.click("#clear")
        page.until(f"{AT_FIRST} && document.getElementById('query').value === ''")
        assert page.run("document.getElementById('query').placeholder").startswith("Describe")
        assert page.problems == []


def test_going_back_and_forward_asks_again_what_was_asked_there(page, colours_url):
    page.open(colours_url)
    page.until(f"{AT_FIRST} && {READY}")
    start = page.run("history.length")
    for part in ("r", "e", "d"):  # so slowly that each is searched for
        page.type(part)
        page.until(f"location.search === '?q=' + {QUERY} && {ANSWERED}")
    assert page.run(FIRST) == "red.png" and page.run("history.length") == start + 1
    page.press("Enter", 13)
    page.run(f"document.getElementById('query').select(), {QUERY}")
    page.type("blue")
    page.until(f"{FIRST} === 'blue.png' && {ANSWERED}")
    assert page.run("history.length") == start + 2  # letters make no entries of their own
    page.click(".hit .like")
    page.until("location.search === '?item=id%2Fblue'")
    page.run("history.back()")
    page.until(f"location.search === '?q=blue' && {FIRST} === 'blue.png' && {ANSWERED}")
    assert page.run(QUERY) == "blue" and page.run("document.title") == "blue - idx"
    page.run("history.back()")
    page.until(f"{QUERY} === 'red' && {FIRST} === 'red.png' && {ANSWERED}")
    page.run("history.back()")
    page.until(f"{QUERY} === '' && {AT_FIRST}")
    page.run("history.forward()")
    page.until(f"{QUERY} === 'red' && {FIRST} === 'red.png' && {ANSWERED}")
    assert page.problems == []


def test_a_picture_is_found_again_when_going_back_and_missed_after_a_new_start(page, colours_url):
    page.open(colours_url)
    page.until(f"{AT_FIRST} && {READY}")
    drop = """(() => {
      const canvas = Object.assign(document.createElement("canvas"), {width: 40, height: 40});
      canvas.getContext("2d").fillStyle = "rgb(20, 20, 230)";
      canvas.getContext("2d").fillRect(0, 0, 40, 40);
      return new Promise((done) => canvas.toBlob((blob) => {
        const held = new DataTransfer();
        held.items.add(new File([blob], "%s.png", {type: "image/png"}));
        dispatchEvent(new %s);
        done(true);
      }));
    })()"""
    dropping = 'DragEvent("drop", {dataTransfer: held, cancelable: true})'
    page.run(drop % ("dropped", dropping))
    page.until(f"{FIRST} === 'blue.png' && {ANSWERED}")
    assert "dropped.png" in page.run(text_of("question-text"))
    pasting = 'ClipboardEvent("paste", {clipboardData: held, cancelable: true})'
    page.run(drop % ("pasted", pasting))
    page.until(f"{ANSWERED} && {text_of('question-text')}.includes('pasted.png')")
    page.run("history.back()")
    page.until(f"{ANSWERED} && {text_of('question-text')}.includes('dropped.png')")
    page.run("location.reload()")
    page.until(f"{AT_FIRST} && {text_of('status')}.includes('choose it again')")
    assert page.problems == []


def test_an_address_with_everything_in_it_can_be_shared(page, colours_url):
    page.open(f"{colours_url}?q=blue&view=raw")
    page.until(f"{FIRST} === 'blue.png' && {ANSWERED}")
    assert page.run("document.getElementById('view-raw').checked")
    assert page.run("document.getElementById('budget').disabled")
    page.open(f"{colours_url}?q=blue&budget=2&view=nonsense&modality=smell")
    page.until(f"{FIRST} === 'blue.png' && {ANSWERED}")
    assert page.run(text_of("budget-value")) == "2"
    assert page.run("document.getElementById('view-aligned').checked") and page.problems == []


def test_the_switch_and_the_slider_search_again(page, colours_url):
    page.open(colours_url)
    page.until(f"{AT_FIRST} && {READY}")
    page.type("blue")
    page.until(f"{FIRST} === 'blue.png' && {ANSWERED}")
    assert page.run(text_of("budget-value")) == "4"
    page.until(f"{text_of('budget-cost')}.startsWith('all vectors: ')")
    page.run("document.getElementById('budget').focus()")
    page.press("Home", 36)
    page.until(f"{text_of('budget-value')} === '1' && location.search.includes('budget=1')")
    page.until("performance.getEntriesByType('resource').some((r) => r.name.includes('budget=1'))")
    said = page.run(text_of("budget-cost"))
    assert said.startswith("finds 100% of the ten best of all 4, in ")
    assert said.endswith("(mean over 6 items as queries)")
    page.click("label[for=view-raw]")
    page.until("performance.getEntriesByType('resource').some((r) => r.name.includes('view=raw'))")
    page.until(f"{IDLE} && document.getElementById('budget').disabled")
    assert page.run(FIRST) == "blue.png" and page.problems == []


def test_both_rankings_stand_side_by_side(page, colours_url):
    page.open(f"{colours_url}?q=blue", width=1400)
    page.until(f"{FIRST} === 'blue.png' && {ANSWERED}")
    page.click("label[for=view-both]")
    page.until(f"document.querySelectorAll('.hits').length === 2 && {IDLE}")
    titles = page.run("[...document.querySelectorAll('.hits h2')].map((h) => h.textContent)")
    assert titles == ["Aligned", "Raw"]
    left, right = page.run(
        "[...document.querySelectorAll('.hits')].map((h) => h.getBoundingClientRect().left)"
    )
    assert left < right and page.problems == []


def test_weak_matches_are_folded_away_when_nothing_else_is_there(page, colours_url):
    page.open(f"{colours_url}?q=xqzv")
    page.until(ANSWERED)
    assert "all of them weak" in page.run(text_of("status"))
    assert not page.run("document.querySelector('.hit').checkVisibility()")
    assert "Nothing here matches clearly" in page.run("document.querySelector('.note').innerText")
    page.click(".weak summary")
    assert page.run("document.querySelector('.hit').checkVisibility()")
    page.open(f"{colours_url}?q=red")
    page.until(f"{FIRST} === 'red.png' && {ANSWERED}")
    assert page.run("document.querySelector('.hit').checkVisibility()") and page.problems == []


def test_a_picture_is_enlarged_in_a_dialog_that_keys_move_and_close(page, colours_url):
    page.open(f"{colours_url}?q=red")
    page.until(f"{FIRST} === 'red.png' && {ANSWERED}")
    page.click(".hit .open")
    page.until("document.querySelector('#viewer[open] img')?.naturalWidth === 600")
    assert page.run(text_of("viewer-title")) == "red.png"
    assert page.run("document.getElementById('viewer').contains(document.activeElement)")
    page.press("ArrowRight", 39)
    second = page.run(f"{CARDS}[1].querySelector('.title').textContent")
    assert page.run(text_of("viewer-title")) == second != "red.png"
    page.press("ArrowLeft", 37)
    page.press("ArrowLeft", 37)
    assert page.run(text_of("viewer-place")) == "6 of 6 shown"
    page.press("Escape", 27)
    page.until("!document.getElementById('viewer').open")
    assert page.run("document.activeElement.matches('.hit .open')")  # where it came from
    assert page.problems == []


def test_more_hits_come_behind_those_that_are_there(page, tmp_path):
    with served(many_texts(tmp_path)) as url:
        page.open(f"{url}?q=red")
        page.until(f"{CARDS}.length === 24 && {ANSWERED}")
        for shown in (48, 60):
            page.run("document.querySelector('.weak').open = true")
            page.until("!document.querySelector('.more').hidden")
            page.click(".more")
            page.until(f"{CARDS}.length === {shown}")
            assert page.run(f"{CARDS}.indexOf(document.activeElement)") == (
                24 if shown < 60 else 48
            )
        assert page.run("document.querySelector('.more').hidden")
        ids = page.run("[...document.querySelectorAll('.hit .text')].map((t) => t.textContent)")
        assert len(set(ids)) == 60 and page.problems == []


def test_a_dot_of_the_map_leads_to_its_hit(page, colours_url):
    page.open(f"{colours_url}?q=green")
    page.until(f"{FIRST} === 'green.png' && {ANSWERED}")
    page.run("document.querySelector('.dot').focus()")
    assert page.run("document.querySelector('.hit').classList.contains('lit')")
    page.press("ArrowRight", 39)
    assert page.run("[...document.querySelectorAll('.dot')].indexOf(document.activeElement)") == 1
    page.press("Enter", 13)
    assert page.run(f"{CARDS}.indexOf(document.activeElement)") == 1


def test_texts_of_users_are_never_markup(page, tmp_path):
    with served(texts_gallery(tmp_path)) as url:
        page.open(url)
        page.until(f"{AT_FIRST} && {READY}")
        assert not page.run("document.getElementById('by-picture').checkVisibility()")
        assert not page.run("document.getElementById('view-raw').checkVisibility()")
        assert "--store" in page.run("document.getElementById('no-raw').innerText")
        page.type("green")
        page.until(f"{CARDS}.length === 4 && {ANSWERED}")
        shown = page.run("[...document.querySelectorAll('.text')].map((t) => t.textContent)")
        assert TEXTS["markup"][1] in shown and TEXTS["code"][1] in shown
        assert page.run("document.querySelectorAll('.hit script, .text img').length") == 0
        code = "getComputedStyle(document.querySelector('pre.text')).fontFamily"
        assert "monospace" in page.run(code)
        page.click("#kind-boxes label:nth-child(1)")
        page.until(f"{CARDS}.length === 1")
        assert page.problems == []
        # The policy would stop it, had it become markup after all.
        page.run(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.bad=1>')"
        )
        assert page.run("new Promise((done) => setTimeout(() => done(window.bad), 200))") is None
        page.problems.clear()


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("where", ["", "?q=white", "?q=white&view=both"])
def test_nothing_sticks_out_and_everything_has_a_name(page, colours_url, width, where):
    page.open(colours_url + where, width=width, phone=width < 500)
    page.until(f"{READY} && {ANSWERED if where else AT_FIRST}")
    assert page.run("document.documentElement.scrollWidth - innerWidth") <= 0
    # As a screen reader hears it.
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    spoken = {"button", "textbox", "searchbox", "slider", "radio", "image", "checkbox", "list"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in nodes
        if not node["ignored"] and node.get("role", {}).get("value") in spoken - {"list"}
    ]
    assert ("searchbox", "Text to search with") in named and len(named) > 12
    assert all(name for _, name in named)


def test_an_error_takes_the_place_of_the_hits_and_can_be_tried_again(page, colours_url, tmp_path):
    page.open(f"{colours_url}?q=red")
    page.until(f"{FIRST} === 'red.png' && {ANSWERED}")
    (tmp_path / "notes.png").write_text("no picture")
    page.choose_file("#picture", tmp_path / "notes.png")
    page.until(f"{text_of('error-text')}.includes('must be a readable file')")
    assert page.run(f"{CARDS}.length") == 0 and page.run(text_of("status")) == ""
    page.run("document.getElementById('query').focus()")
    page.type("blue")
    page.until(f"{FIRST} === 'blue.png' && {ANSWERED}")
    assert page.run("document.getElementById('error').hidden")
    page.problems.clear()  # the browser notes that a request was refused


def test_a_server_that_is_gone_is_said_in_words(page, tmp_path):
    with served(gallery(tmp_path)) as url:
        page.open(f"{url}?q=red")
        page.until(f"{FIRST} === 'red.png' && {ANSWERED}")
    page.click("#name")
    page.until(f"{text_of('error-text')}.includes('Is align serve still running?')")
    assert page.run(f"{CARDS}.length") == 0
    page.problems.clear()  # as above


def test_an_older_answer_never_takes_the_place_of_a_newer_one(page, colours_url):
    page.open(colours_url)
    page.until(f"{AT_FIRST} && {READY}")
    # The first answer is held back until the second was shown.
    page.run("""(() => {
      const real = window.fetch;
      window.late = 0;
      window.fetch = async (...given) => {
        const answer = await real(given[0]);  // without its signal: it cannot be cut off
        if (given[0].includes("q=red")) await new Promise((done) => (window.go = done));
        window.late += given[0].includes("q=red");
        return answer;
      };
    })()""")
    page.type("red")
    page.until("window.go")
    page.press("Enter", 13)
    page.run(f"document.getElementById('query').select(), {QUERY}")
    page.type("blue")
    page.until(f"{FIRST} === 'blue.png' && {ANSWERED}")
    page.run("window.go()")
    page.until("window.late === 1")
    page.run("new Promise((done) => setTimeout(done, 100))")
    assert page.run(FIRST) == "blue.png" and page.problems == []


def test_what_is_missing_is_said_with_what_to_do(page, tmp_path):
    paths = draw(tmp_path / "photos")
    index, words, looker = colours_index(tmp_path, paths=paths)
    paths["red"].unlink()
    with served(Gallery(Retriever(index, source=words, target=looker))) as url:
        page.open(url)
        page.until(AT_FIRST)
        said = page.run("document.getElementById('missing').innerText")
        assert said.startswith("1 of 6 files") and "red.png" in said and "--root" in said
        page.problems.clear()  # the browser notes that the picture was not there
