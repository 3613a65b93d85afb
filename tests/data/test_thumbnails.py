import io
from base64 import b64decode

import pytest
from PIL import Image

from align.data.pictures import upright_rgb
from align.data.thumbnails import NEUTRAL, thumbnail

EDGE = 96


def made(picture):
    return thumbnail(picture, "this one", edge=EDGE, ground=NEUTRAL)


def pixels(small):
    data = b64decode(small.address.removeprefix("data:image/jpeg;base64,"))
    assert data == small.jpeg
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
    small = made(tmp_path / "photo.jpg")
    seen = pixels(small)
    assert seen.size == (small.width, small.height) == (EDGE // 2, EDGE)
    assert near(seen.getpixel((24, 8)), (254, 0, 0)) and near(seen.getpixel((24, 88)), (0, 0, 254))
    assert not dict(seen.getexif()) and b"taken at home" not in small.jpeg


def test_what_is_transparent_lies_over_a_neutral_ground():
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 20, 40))
    seen = pixels(made(image))
    assert near(seen.getpixel((4, 20)), (255, 255, 255))
    assert near(seen.getpixel((36, 20)), (200, 200, 200))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pictures_of_every_usual_mode_are_shown(mode):
    image = half_red_half_blue().convert("P" if mode == "PA" else mode).convert(mode)
    small = made(image)
    assert (small.width, small.height) == (EDGE, EDGE // 2)
    assert pixels(small).mode == "RGB"


def test_a_picture_with_a_palette_is_shrunk_smoothly():
    board = Image.new("L", (2 * EDGE, 2 * EDGE))
    board.putdata([255 * ((x + y) % 2) for y in range(2 * EDGE) for x in range(2 * EDGE)])
    assert near(pixels(made(board.convert("P"))).getpixel((40, 40)), (128, 128, 128))


def test_a_small_picture_is_not_made_larger():
    small = made(half_red_half_blue((20, 10)))
    assert (small.width, small.height) == (20, 10)


def test_a_picture_in_memory_stays_as_it_is():
    image = half_red_half_blue()
    before = image.tobytes()
    made(image)
    assert image.size == (200, 100) and image.tobytes() == before


def test_the_first_frame_of_an_animation_is_shown(tmp_path):
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert near(pixels(made(tmp_path / "moving.gif")).getpixel((15, 15)), (254, 0, 0))


def test_what_cannot_be_read_has_no_thumbnail(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    half_red_half_blue().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:120])
    for name in ("notes.png", "cut.png", "missing.png", "."):
        with pytest.raises(ValueError, match=r"a picture must be a readable file .* this one gave"):
            made(tmp_path / name)
    with pytest.raises(ValueError, match="8 bits per channel"):
        made(Image.new("I;16", (9, 9)))


def test_a_picture_whose_file_was_closed_or_cut_has_no_thumbnail(tmp_path):
    half_red_half_blue().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:120])
    with Image.open(tmp_path / "cut.png") as image:
        with pytest.raises(ValueError, match="must be a readable image; this one gave"):
            made(image)


def test_a_picture_that_would_fill_the_memory_is_not_decoded(tmp_path, monkeypatch):
    half_red_half_blue().save(tmp_path / "huge.png")
    assert made(tmp_path / "huge.png").width == EDGE
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="this one gave DecompressionBomb"):
        made(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="may have 100 pixels; this one has 200 x 100"):
        thumbnail(half_red_half_blue(), "this one", edge=EDGE, most_pixels=100)


def test_a_picture_that_was_turned_upright_is_not_turned_again(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    half_red_half_blue().save(tmp_path / "photo.jpg", exif=exif)
    with Image.open(tmp_path / "photo.jpg") as image:
        upright = upright_rgb(image, "it")
    assert upright.size == upright_rgb(upright, "it").size == (100, 200)
