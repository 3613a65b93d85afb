"""The picture of what a search found."""

from __future__ import annotations

import pytest
from PIL import Image

from experiments.contact_sheet import contact_sheet

RED = Image.new("RGB", (40, 20), "red")
DOT = Image.new("RGBA", (20, 20), (0, 0, 255, 255))
CLEAR = Image.new("RGBA", (20, 20), (0, 0, 0, 0))


def test_a_sheet_is_a_png_at_twice_the_layout_size(tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet([("one", [RED, DOT]), ("two", [RED])], path)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        # Margins 36, query column 216, cards 116, gaps 18 across and 38 down.
        assert sheet.size == (2 * (72 + 216 + 2 * 116 + 18), 2 * (72 + 2 * 116 + 38))
    assert [each.name for each in tmp_path.iterdir()] == ["sheet.png"]


def test_images_stand_in_order_of_rank_photos_fill_and_emoji_have_room(tmp_path):
    path = tmp_path / "sheet.png"
    DOT.save(tmp_path / "dot.png")
    contact_sheet([("query", [RED, CLEAR, tmp_path / "dot.png"])], path)
    with Image.open(path) as sheet:
        left, top, step = 2 * (36 + 216), 2 * 36, 2 * (116 + 18)
        middle = top + 116
        assert sheet.getpixel((left + 116, middle)) == (255, 0, 0)
        assert sheet.getpixel((left + 12, middle)) == (255, 0, 0)
        assert sheet.getpixel((left + step + 116, middle)) == (255, 255, 255)
        assert sheet.getpixel((left + 2 * step + 116, middle)) == (0, 0, 255)
        page = sheet.getpixel((0, 0))
        assert sheet.getpixel((left, top)) == page  # the corner of a card is round


def test_captions_and_title_take_room_and_leave_ink(tmp_path):
    plain, full = tmp_path / "plain.png", tmp_path / "full.png"
    contact_sheet([("query", [RED])], plain)
    contact_sheet([("query", [RED])], full, captions=[["a name"]], title="Top five")
    with Image.open(plain) as one, Image.open(full) as other:
        assert other.height - one.height == 2 * (36 + 8 + 15)
        below = other.crop((504, other.height - 72 - 30, other.width - 72, other.height - 72))
        assert len(below.getcolors(100_000)) > 2


def test_letters_beyond_ascii_are_not_boxes(tmp_path):
    pytest.importorskip("matplotlib")
    inks = []
    for name, query in (("a", "é"), ("b", "è")):
        contact_sheet([(query, [RED])], tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as sheet:
            inks.append(sheet.crop((0, 0, 400, sheet.height)).tobytes())
    assert inks[0] != inks[1]


def test_a_long_query_is_cut_and_stays_in_its_column(tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet([("incomprehensibilities " * 20, [RED])], path)
    with Image.open(path) as sheet:
        gutter = sheet.crop((2 * (36 + 190), 0, 2 * (36 + 214), sheet.height))
        assert len(gutter.getcolors()) == 1


def test_a_sheet_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least one row with an image; got 1 rows"):
        contact_sheet([("query", [])], tmp_path / "sheet.png")


def test_captions_that_do_not_match_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"name each image once, \[2\] in the rows; got \[1\]"):
        contact_sheet([("query", [RED, DOT])], tmp_path / "sheet.png", captions=[["one"]])
