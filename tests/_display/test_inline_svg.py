"""Drawings made fit to stand inside a page."""

import pytest

from align._display.inline_svg import inline_svg


def test_what_marks_have_in_common_is_said_once_and_what_differs_stays():
    text = """<svg viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg"
        xmlns:xlink="http://www.w3.org/1999/xlink"><defs><path id="m" d="M 0.123456 1"/></defs>
        <g><use xlink:href="#m" x="1.23456" style="fill: #123456; stroke: #000000"/>
        <use xlink:href="#m" x="2" style="fill: #123456; stroke: #ffffff"/></g></svg>"""
    svg = inline_svg(text, name="a b", label="", variables={"#123456": "--ink"})
    assert '<g fill="var(--ink, #123456)">' in svg and 'stroke="#ffffff"' in svg
    assert svg.count("var(") == 1 and svg.count('href="#a-b-1"') == 2 and 'id="a-b-1"' in svg
    assert 'x="1.23"' in svg and 'd="M 0.12 1"' in svg


@pytest.mark.parametrize(
    "style, attributes",
    [
        ("font: 9px 'DejaVu Sans', serif; fill: #123456", 'font-size="9px" fill="#123456"'),
        ("font: 700 8.5px 'DejaVu Sans'", 'font-size="8.5px" font-weight="700"'),
        ("font-weight: 700; font-size: 9px; font-family: 'A'", 'font-weight="700" font-size="9px"'),
    ],
)
def test_labels_keep_size_and_weight_and_take_the_font_of_the_page(style, attributes):
    text = f'<svg viewBox="0 0 9 9"><text style="{style}">a  b</text></svg>'
    svg = inline_svg(text, name="a", label="", variables={})
    assert f"<text {attributes}>a  b</text>" in svg
