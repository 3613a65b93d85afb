"""Thumbnails are made anew, stay small, and show nothing but the picture."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from align.apps.serving import pictures
from align.apps.serving.pictures import EDGE, Thumbnails, open_picture, version_of


@pytest.fixture
def photo(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at its right
    exif[0x010E] = "taken at home"
    image = Image.new("RGB", (800, 400), "red")
    image.paste("blue", (400, 0, 800, 400))
    image.save(tmp_path / "photo.jpg", exif=exif, comment=b"a private comment", quality=95)
    return tmp_path / "photo.jpg"


def test_a_thumbnail_is_upright_small_and_without_metadata(photo):
    made = Thumbnails().jpeg(photo, "1")
    small = Image.open(io.BytesIO(made))
    assert small.format == "JPEG" and small.size == (EDGE // 2, EDGE)
    assert small.getpixel((90, 20))[0] > 200 and small.getpixel((90, 340))[2] > 200
    assert not dict(small.getexif()) and b"private" not in made and b"home" not in made


def test_a_small_picture_is_not_made_larger(tmp_path):
    Image.new("RGB", (20, 10), "red").save(tmp_path / "a.png")
    assert Image.open(io.BytesIO(Thumbnails().jpeg(tmp_path / "a.png", "1"))).size == (20, 10)


def test_a_thumbnail_is_made_once_for_each_version_of_its_file(photo):
    cache = Thumbnails()
    first = cache.jpeg(photo, version_of(photo))
    photo_bytes, before = photo.read_bytes(), version_of(photo)
    photo.write_bytes(b"gone")
    assert cache.jpeg(photo, before) is first
    assert version_of(photo) != before
    with pytest.raises(ValueError, match="must be a readable file"):
        cache.jpeg(photo, version_of(photo))
    photo.write_bytes(photo_bytes)
    assert cache.jpeg(photo, version_of(photo)) == first


def test_memory_is_bounded_and_the_oldest_goes_first(tmp_path, monkeypatch):
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for file in files:
        Image.new("RGB", (50, 50), "red").save(file)
    size = len(Thumbnails().jpeg(files[0], "1"))
    cache = Thumbnails(most_bytes=2 * size)
    for file in (files[0], files[1], files[0], files[2]):  # the second is the oldest now
        cache.jpeg(file, "1")
    opened = []
    real = pictures.open_picture
    monkeypatch.setattr(
        pictures, "open_picture", lambda file, **o: opened.append(file) or real(file, **o)
    )
    for file in (files[0], files[2], files[1]):
        cache.jpeg(file, "1")
    assert opened == [files[1]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_common_formats_are_read(kind):
    held = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 10, 10)).save(held, format=kind)
    found = open_picture(held.getvalue())
    assert found.mode == "RGB" and found.size == (30, 20) and found.getpixel((3, 3))[0] > 180


@pytest.mark.parametrize("kind", ["PPM", "ICO", "EPS"])
def test_other_formats_are_not_even_tried(kind):
    held = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(held, format=kind)
    with pytest.raises(ValueError, match="must be a readable file of JPEG, PNG"):
        open_picture(held.getvalue())


def test_a_bomb_is_refused_by_its_header(tmp_path):
    """A PNG that claims 20,000 x 20,000 pixels in a few bytes."""
    held = io.BytesIO()
    Image.new("1", (1, 1)).save(held, format="PNG")
    from zlib import crc32

    data = bytearray(held.getvalue())
    data[16:24] = (20_000).to_bytes(4, "big") * 2
    data[29:33] = crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(ValueError, match="a picture"):
        open_picture(bytes(data))
    data[16:24] = (8_000).to_bytes(4, "big") * 2  # below what Pillow itself refuses
    data[29:33] = crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(ValueError, match=r"may have 50,000,000 pixels; this one has 8,000 x 8,000"):
        open_picture(bytes(data))
