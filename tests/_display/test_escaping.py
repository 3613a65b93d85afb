"""Text from outside steers no terminal, makes no markup and calculates nothing."""

import csv
import io
import json
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from align._display.escaping import (
    escape_formula,
    in_code,
    in_markdown,
    plain,
    plain_json,
    plain_lines,
)

ANY = st.text(st.characters(exclude_categories=()))


def steers(character):
    kind = unicodedata.category(character)
    bidirectional = unicodedata.bidirectional(character)
    return (kind == "Cc" and character != "\t") or kind in ("Zl", "Zp", "Cs") or bidirectional in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    )  # fmt: skip


@given(ANY)
@settings(max_examples=200)
def test_no_steering_character_is_left_and_all_else_is_as_it_was(text):
    said = plain(text)
    assert not any(map(steers, said))
    said.encode("utf-8")  # does not raise
    if not any(map(steers, text)):
        assert said == text


def test_every_steering_character_of_unicode_is_spelled():
    for code in range(0x110000):
        if steers(chr(code)):
            assert plain(chr(code)).startswith("\\")


def test_brackets_colons_tabs_and_joined_emoji_stay():
    kept = "[bold]x[/bold] :dog:\t\N{WOMAN}\u200d\N{PERSONAL COMPUTER} שלום"
    assert plain(kept) == kept


def test_line_feeds_stay_only_where_lines_are_wanted():
    assert plain("a\nb\r\n") == "a\\nb\\r\\n"
    assert plain_lines("a\nb\r\n") == "a\nb\\r\n"


@given(st.recursive(ANY | st.integers(), lambda x: st.dictionaries(ANY, x, max_size=3)))
@settings(max_examples=50)
def test_json_reads_back_the_same_and_steers_nothing(value):
    said = plain_json(value)
    assert json.loads(said) == json.loads(json.dumps(value))
    assert not any(map(steers, said.replace("\n", "")))


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


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1", "-", "=", "-cat",
        '=HYPERLINK("http://x","y")', "+49 30 1234", "\uff1d1+1", "--1", "-1-1",
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_calculate_becomes_text(cell):
    assert escape_formula(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell",
    ["-5", "+5", "-0.25", "-.5", "-1e-5", "1", "", "a=b", "a-b", "'=1"],
)
def test_numbers_and_harmless_cells_stay_as_they_are(cell):
    assert escape_formula(cell) == cell


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("=+-@\t\r\n '\"1.ea,"), max_size=6))
def test_no_written_cell_begins_a_formula_that_is_no_number(text):
    file = io.StringIO(newline="")
    csv.writer(file).writerow([escape_formula(text)])
    ((cell, *_),) = list(csv.reader(io.StringIO(file.getvalue(), newline=""))) or [("",)]
    if cell.lstrip()[:1] in ("=", "+", "-", "@") or cell[:1] in ("\t", "\r"):
        assert cell[:1].isspace() is False and float(cell) is not None
