import io
from base64 import b64decode

import pytest
from PIL import Image

from probes.reporting.html.items import EDGE, thumbnail


def pixels(small):
    data = b64decode(small.uri.removeprefix("data:image/jpeg;base64,"))
    return Image.open(io.BytesIO(data))


def near(pixel, colour):
    return all(abs(a - b) < 12 for a, b in zip(pixel, colour, strict=True))


def half_red_half_blue(size=(200, 100)):
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    return image


def test_a_photo_is_turned_upright_and_its_metadata_stays_behind(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at its right
    exif[0x010E] = "taken at home"
    half_red_half_blue().save(tmp_path / "photo.jpg", exif=exif, quality=95)
    small = thumbnail(tmp_path / "photo.jpg")
    seen = pixels(small)
    assert seen.size == (small.width, small.height) == (EDGE // 2, EDGE)
    assert near(seen.getpixel((24, 8)), (254, 0, 0)) and near(seen.getpixel((24, 88)), (0, 0, 254))
    assert not dict(seen.getexif()) and b"taken at home" not in b64decode(small.uri[23:])


def test_what_is_transparent_lies_over_a_neutral_ground():
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 20, 40))
    seen = pixels(thumbnail(image))
    assert near(seen.getpixel((4, 20)), (255, 255, 255))
    assert near(seen.getpixel((36, 20)), (200, 200, 200))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pictures_of_every_usual_mode_are_shown(mode):
    image = half_red_half_blue().convert("P" if mode == "PA" else mode).convert(mode)
    small = thumbnail(image)
    assert (small.width, small.height) == (EDGE, EDGE // 2)
    assert pixels(small).mode == "RGB"


def test_a_picture_with_a_palette_is_shrunk_smoothly():
    board = Image.new("L", (2 * EDGE, 2 * EDGE))
    board.putdata([255 * ((x + y) % 2) for y in range(2 * EDGE) for x in range(2 * EDGE)])
    assert near(pixels(thumbnail(board.convert("P"))).getpixel((40, 40)), (128, 128, 128))


def test_a_small_picture_is_not_made_larger():
    small = thumbnail(half_red_half_blue((20, 10)))
    assert (small.width, small.height) == (20, 10)


def test_a_picture_in_memory_stays_as_it_is():
    image = half_red_half_blue()
    before = image.tobytes()
    thumbnail(image)
    assert image.size == (200, 100) and image.tobytes() == before


def test_the_first_frame_of_an_animation_is_shown(tmp_path):
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert near(pixels(thumbnail(tmp_path / "moving.gif")).getpixel((15, 15)), (254, 0, 0))


def test_what_cannot_be_read_has_no_thumbnail(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    half_red_half_blue().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:120])
    for name in ("notes.png", "cut.png", "missing.png", "."):
        assert thumbnail(tmp_path / name) is None, name
    assert thumbnail(Image.new("I;16", (9, 9))) is None


def test_a_picture_that_would_fill_the_memory_is_not_decoded(tmp_path, monkeypatch):
    half_red_half_blue().save(tmp_path / "huge.png")
    assert thumbnail(tmp_path / "huge.png") is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert thumbnail(tmp_path / "huge.png") is None
