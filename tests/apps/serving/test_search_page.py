"""The page in a real browser: typed into, clicked, by mouse and by key, wide and narrow."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
import uvicorn

from align import EmbeddingStore
from align.apps.serving.app import web_app
from tests.apps.serving.browser import BROWSER, chromium
from tests.apps.serving.small_gallery import TEXTS, as_bytes, gallery, texts_gallery

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

CARDS = "[...document.querySelectorAll('.hit')]"
FIRST = "document.querySelector('.hit .title')?.textContent"
READY = "!document.getElementById('query').disabled"
IDLE = "!document.querySelector('[aria-busy]')"


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
def page(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def colours_url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colours")
    made = gallery(folder, several=True, store=EmbeddingStore(folder / "store"))
    with served(made) as url:
        yield url


def test_typing_finds_pictures_and_clicking_finds_their_like(page, colours_url, tmp_path):
    page.open(colours_url)
    page.until(READY)
    page.type("a red wall")
    page.until(f"{FIRST} === 'red.png'")
    assert page.run(f"{CARDS}.length") == 6
    page.until(
        "[...document.images].filter((i) => i.checkVisibility()).every((i) => i.naturalWidth)"
    )
    assert "6 hits of 6 items in" in page.run("document.getElementById('status').textContent")
    assert page.run("document.querySelectorAll('#plot .dot').length") == 6

    page.click(".hit:nth-child(1) button")
    page.until(f"{CARDS}.length === 5 && {IDLE}")
    assert "Items like" in page.run("document.getElementById('question-text').textContent")
    assert "red.png" not in page.run(f"{CARDS}.map((c) => c.textContent).join()")
    assert page.run("document.activeElement.id") == "clear"
    page.press("Enter", 13)
    page.until(f"{CARDS}.length === 0 && document.activeElement.id === 'query'")

    (tmp_path / "wall.png").write_bytes(as_bytes("purple"))
    page.choose_file("#picture", tmp_path / "wall.png")
    page.until(f"{FIRST} === 'purple.png'")
    assert page.run("document.getElementById('question-picture').src").startswith("blob:")
    assert page.problems == []


def test_the_switch_and_the_slider_search_again(page, colours_url):
    page.open(colours_url)
    page.until(READY)
    page.type("blue")
    page.until(f"{FIRST} === 'blue.png' && document.getElementById('budget-cost').textContent")
    assert page.run("document.getElementById('budget-value').textContent") == "4"
    page.run("document.getElementById('budget').focus()")
    page.press("Home", 36)
    page.until("document.getElementById('budget-value').textContent === '1'")
    page.until("performance.getEntriesByType('resource').some((r) => r.name.includes('budget=1'))")
    page.click("label[for=view-raw]")
    page.until("performance.getEntriesByType('resource').some((r) => r.name.includes('view=raw'))")
    page.until(f"{IDLE} && document.getElementById('budget').disabled")
    assert page.run(FIRST) == "blue.png" and page.problems == []


def test_a_dot_of_the_map_leads_to_its_hit(page, colours_url):
    page.open(colours_url)
    page.until(READY)
    page.type("green")
    page.until(f"{FIRST} === 'green.png'")
    page.run("document.querySelector('.dot').focus()")
    assert page.run("document.querySelector('.hit').classList.contains('lit')")
    page.press("ArrowRight", 39)
    assert page.run("[...document.querySelectorAll('.dot')].indexOf(document.activeElement)") == 1
    page.press("Enter", 13)
    assert page.run(f"{CARDS}.indexOf(document.activeElement)") == 1


def test_texts_of_users_are_never_markup(page, tmp_path):
    with served(texts_gallery(tmp_path)) as url:
        page.open(url)
        page.until(READY)
        assert not page.run("document.getElementById('by-picture').checkVisibility()")
        assert page.run("document.getElementById('view-raw').disabled")
        assert "--store" in page.run("document.getElementById('no-raw').innerText")
        page.type("green")
        page.until(f"{CARDS}.length === 4")
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
def test_nothing_sticks_out_and_everything_has_a_name(page, colours_url, width):
    page.open(colours_url, width=width, phone=width < 500)
    page.until(READY)
    page.type("white")
    page.until(f"{FIRST} === 'white.png'")
    assert page.run("document.documentElement.scrollWidth - innerWidth") <= 0
    # As a screen reader hears it.
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    spoken = {"button", "textbox", "searchbox", "slider", "radio", "image", "checkbox"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in nodes
        if not node["ignored"] and node.get("role", {}).get("value") in spoken
    ]
    assert ("searchbox", "Text to search with") in named and len(named) > 12
    assert all(name for _, name in named)


def test_an_error_is_shown_in_words(page, colours_url, tmp_path):
    page.open(colours_url)
    page.until(READY)
    (tmp_path / "notes.png").write_text("no picture")
    page.choose_file("#picture", tmp_path / "notes.png")
    page.until("document.getElementById('error').textContent.includes('must be a readable file')")
    page.problems.clear()  # the browser notes that a request was refused
