"""Panels: everything shown is escaped, nothing runs or is fetched, both themes stay readable."""

from __future__ import annotations

import pytest

from align._display.panel import MOST_BYTES, Folded, Panel, Picture, Table, Tile, render
from tests.helpers.html_tags import Tags

HOSTILE = '</div><script>alert(1)</script>\x1b[2J"\u202e'


def full(text: str) -> Panel:
    table = Table([text, "n"], [[text, 12000], [Picture("data:image/jpeg;base64,AAAA", text), 1]])
    return Panel(
        text, text, text, [Tile(text, text, text)], {text: text}, [table], [Folded(text, [table])]
    )


def test_hostile_text_opens_no_tag_and_reaches_no_terminal() -> None:
    html = render(full(HOSTILE))
    tags = Tags(html)
    assert not tags.open and "script" not in tags.seen
    assert "\x1b" not in html and "\u202e" not in html
    assert html.count("&lt;script&gt;") == html.count("alert(1)")


def test_nothing_is_fetched_from_elsewhere() -> None:
    tags = Tags(render(full("text")))
    assert tags.addresses and all(each.startswith("data:") for each in tags.addresses)
    assert not tags.seen & {"script", "link", "iframe"}


def test_whole_numbers_have_commas_and_texts_stay_as_they_are() -> None:
    html = render(Panel("t", tables=[Table(["n", "year"], [[12000, "12000"]])]))
    assert '<td class="number">12,000</td><td>12000</td>' in html


def test_a_panel_sets_no_colour_of_its_own_for_text_or_ground() -> None:
    style = render(Panel("t")).split("<style>")[1].split("</style>")[0]
    rules = [each for each in style.replace("{", ";").split(";") if "color:" in each]
    assert all("inherit" in each or "currentColor" in each for each in rules)


def huge(text: str) -> Panel:
    rows = [[text] * 500 for _ in range(500)]
    table = Table([text] * 500, rows, title=text, note=text)
    return Panel(
        text,
        text,
        text,
        [Tile(text, text, text)] * 500,
        {f"{text}{n}": text for n in range(500)},
        [table] * 20,
        [Folded(text, [table] * 20)] * 20,
    )


@pytest.mark.parametrize("text", ["&" * 2000, "\U0001f415" * 2000, "\x1b" * 2000, "a" * 100_000])
def test_a_panel_stays_small_whatever_it_is_given(text: str) -> None:
    html = render(huge(text))
    assert len(html.encode()) <= MOST_BYTES
    assert "more rows are not shown" in html and "more columns are not shown" in html
    tags = Tags(html)
    assert not tags.open


def test_pictures_beyond_what_a_panel_may_take_are_named_in_words() -> None:
    picture = Picture("data:image/jpeg;base64," + "A" * 9000, "dog.jpg")
    html = render(Panel("t", tables=[Table(["item"], [[picture]] * 8)]))
    assert html.count("<img") == 4 and html.count("<td>dog.jpg</td>") == 4


def test_what_fits_is_not_cut() -> None:
    html = render(Panel("t", "s" * 900, tables=[Table(["n"], [["x" * 500]] * 40)]))
    assert "…" not in html and "not shown" not in html
