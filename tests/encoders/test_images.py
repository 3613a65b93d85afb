from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from align.encoders.images import open_rgb


def test_a_picture_is_turned_upright_by_its_exif_tag(tmp_path):
    lying = Image.new("RGB", (4, 2), "red")
    lying.putpixel((0, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    lying.save(tmp_path / "lying.png", exif=exif)
    upright = open_rgb(tmp_path / "lying.png", 0)
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparent_picture_lies_on_white(mode):
    clear = Image.new(mode, (2, 1), 0)
    assert open_rgb(clear, 0).getpixel((0, 0)) == (255, 255, 255)


def test_a_half_transparent_black_over_white_is_grey():
    assert open_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), 0).getpixel((0, 0)) == (127,) * 3


def test_grey_and_palette_pictures_become_rgb():
    assert open_rgb(Image.new("L", (1, 1), 7), 0).getpixel((0, 0)) == (7, 7, 7)
    assert open_rgb(Image.new("RGB", (1, 1), "red").quantize(), 0).getpixel((0, 0)) == (255, 0, 0)


def test_an_array_is_read_as_rgb():
    array = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    assert open_rgb(array, 0).getpixel((1, 0)) == (4, 5, 6)


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8)],
    ids=["channels first", "float", "grey"],
)
def test_an_array_of_another_layout_is_refused(array):
    with pytest.raises(ValueError, match=r"uint8 of shape \(h, w, 3\), RGB; item 4 has shape"):
        open_rgb(array, 4)


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_a_picture_of_more_than_eight_bits_is_refused(mode, tmp_path):
    deep = Image.new(mode, (2, 2))
    with pytest.raises(ValueError, match=rf"8 bits per channel.*item 1 has mode '{mode}'"):
        open_rgb(deep, 1)
    deep.save(tmp_path / "deep.tiff")
    with pytest.raises(ValueError, match=r"8 bits per channel.*item 1, '.*deep.tiff', has mode"):
        open_rgb(tmp_path / "deep.tiff", 1)


def test_a_missing_or_broken_file_is_named_with_its_place(tmp_path):
    with pytest.raises(ValueError, match=r"item 2, '.*none.png', gave FileNotFoundError"):
        open_rgb(tmp_path / "none.png", 2)
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 50).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"item 0, '.*cut.png', gave .*Check the path"):
        open_rgb(tmp_path / "cut.png", 0)
