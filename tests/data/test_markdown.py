"""Text of others inside Markdown is shown and does nothing."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from align.data.markdown import in_code, in_markdown

HOSTILE = [
    "![x](http://evil/x.png)", "[click](javascript:alert(1))", "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>", "http://evil.example/a", "www.evil.example", "a | b | c", "`code`",
    "**bold** _it_ ~~gone~~", "# head", "line\n\n# head\n- item", "1. one", "- item", "+ item",
    "---", "===", "> quote", "&lt;b&gt;", "[x]: http://evil", "$x$", "\\", "\x1b]0;t\x07",
    "\u202eevil", "<http://evil.example>", "12) twelve", "![", "](", "``` fence",
]  # fmt: skip
SHOWING = MarkdownIt("commonmark").enable("table").enable("strikethrough")
TAGS = re.compile("<(?!/?(?:p|table|thead|tbody|tr|th|td)>)")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_markup_in_a_paragraph_or_a_cell(text):
    for document in (in_markdown(text), f"said: {in_markdown(text)}", f"- {in_markdown(text)}"):
        html = SHOWING.render(document).replace("<ul>\n<li>", "").replace("</li>\n</ul>", "")
        assert not TAGS.search(html), html
    cells = SHOWING.render(f"| a | b |\n|---|---|\n| {in_markdown(text)} | end |\n")
    assert not TAGS.search(cells) and cells.count("<td>") == 2 and "<td>end</td>" in cells


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_code_span(text):
    html = SHOWING.render(f"| a | b |\n|---|---|\n| {in_code(text)} | end |\n")
    assert html.count("<td>") == 2 and html.count("<code>") == 1 and "<td>end</td>" in html
    assert not TAGS.search(re.sub("<code>.*?</code>", "", html))


@pytest.mark.parametrize("address", ["http://evil.example/a", "www.evil.example", "HTTPS://x.y"])
def test_a_bare_address_is_no_link(address):
    assert not re.search(r"https?://|www\.", in_markdown(address), re.IGNORECASE)


def test_ordinary_words_are_left_alone():
    for text in ("text:all-MiniLM-L6-v2", "rcca, 0.63 of 400", "Recall@10 ↑", "日本語 π", "a - b"):
        assert in_markdown(text) == text


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab `*_[]()!<>|~#+-=.1:/&;\\$\n"), max_size=12))
def test_any_text_is_shown_as_it_is(text):
    from html import unescape

    html = SHOWING.render(f"x {in_markdown(text)} x")
    assert not TAGS.search(html)
    shown = " ".join(unescape(re.sub("</?p>", "", html)).split())
    assert shown == " ".join(f"x {text.replace(chr(10), chr(92) + 'n')} x".split())
