"""Pictures are opened in one place, within limits, and every failure names its file."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

import align
from align.data.items import read_items
from align.data.pairs import Pairs
from align.data.pictures import (
    MOST_ASPECT,
    MOST_PIXELS,
    SUFFIXES,
    opened,
    picture_problem,
    upright_rgb,
)
from align.data.readers import PairsError
from align.data.thumbnails import thumbnail
from align.encoders.image import open_rgb


def noise(path, size=(64, 64), **options):
    Image.effect_noise(size, 50).convert("RGB").save(path, **options)
    return path


def png_of(width, height):
    """A PNG of one colour, one bit a pixel, made without holding its pixels."""
    press = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(press.compress(row) for _ in range(height)) + press.flush()

    def chunk(kind, content):
        whole = kind + content
        return len(content).to_bytes(4, "big") + whole + zlib.crc32(whole).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(4000, 1), (1, 4000), (50_000, 1), (MOST_ASPECT + 1, 1)])
def test_a_picture_that_is_far_too_long_is_refused_at_every_door(tmp_path, size):
    file = tmp_path / "long.png"
    file.write_bytes(png_of(*size))
    said = rf"longest side of a picture may be {MOST_ASPECT} times the shortest"
    with pytest.raises(ValueError, match=said):
        open_rgb(file, 0)
    with Image.open(file) as image, pytest.raises(ValueError, match=said):
        open_rgb(image, 0)
    assert said.replace("\\", "") in picture_problem(file)
    with pytest.raises(ValueError, match=said):
        thumbnail(file, "it", edge=9)
    with pytest.raises(PairsError, match=said):
        read_items(tmp_path)


def test_a_picture_at_the_limit_of_shape_is_taken(tmp_path):
    file = tmp_path / "long.png"
    file.write_bytes(png_of(MOST_ASPECT, 1))
    assert picture_problem(file) == "" and open_rgb(file, 0).size == (MOST_ASPECT, 1)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_460, 14_000])
def test_a_small_file_of_very_many_pixels_is_refused_undecoded(tmp_path, side):
    assert side * side > MOST_PIXELS
    file = tmp_path / "bomb.png"
    file.write_bytes(png_of(side, side))
    with pytest.raises(ValueError, match=r"bomb.png'?,? (has|gave)"):
        open_rgb(file, 0)
    assert "is unreadable" in picture_problem(file)
    with pytest.raises(ValueError, match=r"it (has|gave)"):
        thumbnail(file, "it", edge=9)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "gif", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.97])
def test_a_cut_picture_is_skipped_and_listed(tmp_path, ending, share):
    whole = noise(tmp_path / f"whole.{ending}").read_bytes()
    (tmp_path / f"cut.{ending}").write_bytes(whole[: int(share * len(whole))])
    found = read_items(tmp_path, on_error="skip")
    assert found.ids == (str(tmp_path / f"whole.{ending}"),)
    assert len(found.skipped) == 1 and f"cut.{ending} is unreadable" in found.skipped[0]
    with pytest.raises(ValueError, match=rf"item 3, '.*cut.{ending}', gave"):
        open_rgb(tmp_path / f"cut.{ending}", 3)


def test_cut_pictures_of_a_table_are_skipped_and_listed(tmp_path):
    whole = noise(tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[:-200])
    (tmp_path / "pairs.csv").write_text("text,image\na dog,a.jpg\na cat,b.jpg\n")
    pairs = Pairs.read(tmp_path / "pairs.csv", source="text", target="image", on_error="skip")
    assert len(pairs) == 1
    assert pairs.skipped[0].startswith("row 2 (line 3): image 'b.jpg' is unreadable")


@pytest.mark.parametrize("error", [ValueError, TypeError, SyntaxError, OverflowError, KeyError])
def test_whatever_a_format_raises_the_file_is_named(tmp_path, monkeypatch, error):
    file = noise(tmp_path / "a.png")

    def fail(self):
        raise error("inside")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(ValueError, match=rf"item 7, '.*a.png', gave {error.__name__}: .*Check"):
        open_rgb(file, 7)
    with (
        Image.open(file) as image,
        pytest.raises(ValueError, match=f"item 7 gave {error.__name__}"),
    ):
        open_rgb(image, 7)
    assert "inside" in picture_problem(file)


def test_a_compressed_text_that_unfolds_to_gigabytes_is_refused(tmp_path):
    told = PngImagePlugin.PngInfo()
    told.add_text("comment", "a" * 5_000_000, zip=True)
    file = noise(tmp_path / "told.png", pnginfo=told)
    with pytest.raises(
        ValueError, match=r"told.png', gave ValueError: Decompressed data too large"
    ):
        open_rgb(file, 0)


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    for ending in ("gif", "webp", "png"):
        file = tmp_path / f"moving.{ending}"
        frames[0].save(file, save_all=True, append_images=frames[1:])
        red, _, blue = open_rgb(file, 0).getpixel((0, 0))
        assert red > 200 and blue < 50


def test_a_document_that_a_program_would_run_is_no_picture(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match="UnidentifiedImageError"):
        open_rgb(file, 0)


def test_folders_pipes_and_empty_files_are_named_for_what_they_are(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "empty.jpg").touch()
    for name, what in (("folder", "regular file"), ("pipe", "regular file"), ("empty", "empty")):
        assert what in picture_problem(tmp_path / f"{name}.jpg")
        with pytest.raises(ValueError, match=what):
            open_rgb(tmp_path / f"{name}.jpg", 0)
    assert picture_problem(tmp_path / "none.jpg") == "is missing"


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_more_than_eight_bits_are_found_when_rows_are_read(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "deep.tif")
    assert "more than 8 bits" in picture_problem(tmp_path / "deep.tif")


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LA", "RGBA", "RGB"])
def test_every_mode_of_eight_bits_becomes_rgb(tmp_path, mode):
    image = Image.new("RGBA" if mode in ("LA", "RGBA") else "RGB", (40, 600), (255, 255, 255))
    made = image.convert(mode)
    assert upright_rgb(made, "it").getpixel((3, 599)) == (255, 255, 255)
    assert upright_rgb(made, "it").mode == "RGB"


def test_transparency_is_laid_over_white_as_pillow_does_it_at_once():
    image = Image.merge("RGBA", [Image.effect_noise((70, 600), 80) for _ in range(4)])
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    assert upright_rgb(image, "it").tobytes() == whole.tobytes()


def test_the_endings_of_phones_and_of_the_web_are_known(tmp_path):
    assert {".jfif", ".avif", ".heic", ".webp"} <= SUFFIXES
    for ending in ("jfif", "avif", "webp"):
        noise(tmp_path / f"a.{ending}", format={"jfif": "JPEG"}.get(ending, ending.upper()))
    assert len(read_items(tmp_path).ids) == 3


def test_a_heic_without_its_reader_says_what_to_install(tmp_path):
    if "HEIF" in Image.OPEN:
        pytest.skip("a reader of HEIC is registered")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(ValueError, match="install pillow-heif"):
        with opened(tmp_path / "a.heic", "it"):
            pass


def test_a_picture_of_the_most_pixels_takes_less_than_a_gigabyte(tmp_path):
    side = int(MOST_PIXELS**0.5)
    file = tmp_path / "large.png"
    file.write_bytes(png_of(side, side))
    code = (
        "import resource, sys\nfrom align.encoders.image import open_rgb\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nopen_rgb(sys.argv[1], 0)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 1_000_000_000


def test_no_picture_is_opened_elsewhere():
    """Whoever calls Pillow's ``open`` would try every format, EPS among them, without limits."""
    root = Path(align.__file__).parent
    found = [
        path.relative_to(root).as_posix()
        for folder in (root, root.parent / "probes")
        for path in folder.rglob("*.py")
        if "Image.open(" in path.read_text(encoding="utf-8")
    ]
    assert found == ["data/pictures.py"]
