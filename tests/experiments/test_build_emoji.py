"""How the emoji are packed, and the rules by which they share a group."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments.build_emoji import joined, packed, palette_png
from experiments.emoji_groups import base_sequence, groups, series


@pytest.mark.parametrize(
    ("unified", "base"),
    [
        ("1F481-200D-2640-FE0F", "1F481"),  # woman tipping hand
        ("1F469-1F3FD-200D-1F52C", "1F9D1-1F52C"),  # woman scientist: medium skin tone
        ("1F3C3-200D-2642-FE0F-200D-27A1-FE0F", "1F3C3"),  # man running: facing right
        ("1F34B-200D-1F7E9", "1F34B"),  # lime
        ("1F43B-200D-2744-FE0F", "1F43B-2744"),  # polar bear, no variant of the bear
        ("2640-FE0F", "2640"),  # the female sign on its own
        ("1F3FB", "1F3FB"),  # a skin tone on its own
    ],
)
def test_the_base_sequence_drops_only_what_varies_a_person_or_a_colour(unified, base):
    assert base_sequence(unified) == base


def test_a_series_matches_whole_names_only():
    assert series("red heart") == series("grey heart") is not None
    assert series("red heart suit") is None


def test_groups_close_over_all_rules_and_are_named_after_the_first_member():
    red, blue = (Image.new("RGBA", (8, 8), colour) for colour in ("red", "blue"))
    found = groups(
        ["1F468-200D-1F52C", "1F9EA", "1F469-200D-1F52C", "1F9EB"],
        ["man scientist", "tube", "woman scientist", "dish"],
        [red, blue, blue, Image.new("RGBA", (8, 8), "green")],
        [False] * 4,
    )
    # The tube joins by its pixels, the woman by her base sequence.
    assert found == ["man scientist"] * 3 + ["dish"]


@pytest.mark.parametrize(("flags", "joined_up"), [((True, True), True), ((True, False), False)])
def test_look_alikes_join_only_if_both_are_flags(flags, joined_up):
    shades = [Image.new("RGBA", (64, 64), (200, 0, 0, 255)), Image.new("RGBA", (64, 64), "#d20000")]
    found = groups(["1F1E6", "1F1E7"], ["flag: A", "flag: B"], shades, flags)
    assert (found[0] == found[1]) is joined_up


def test_packing_depends_on_names_and_contents_alone():
    files = {"b.png": b"two", "a.jsonl": b"one" * 100}
    assert packed(files) == packed(dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(packed(files))) as pack:
        assert pack.namelist() == ["a.jsonl", "b.png"]
        assert {info.date_time for info in pack.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert pack.read("a.jsonl") == files["a.jsonl"]


def test_a_palette_png_is_deterministic_and_looks_the_same():
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp, 128, 255), axis=2).astype(np.uint8)
    pixels[:8, :, 3] = 0
    image = Image.fromarray(pixels)
    data = palette_png(image)
    assert data == palette_png(image)
    with Image.open(io.BytesIO(data)) as small:
        assert small.mode == "P"
        back = np.asarray(small.convert("RGBA")).astype(float)
    assert (back[:8, :, 3] == 0).all()
    assert np.sqrt(np.mean((back[8:] - pixels[8:]) ** 2)) < 12


def test_colours_hidden_under_full_transparency_do_not_reach_the_pack():
    shown = np.zeros((8, 8, 4), dtype=np.uint8)
    shown[:4] = (10, 200, 30, 255)
    hidden = shown.copy()
    hidden[4:, :, :3] = np.arange(96).reshape(4, 8, 3)
    assert palette_png(Image.fromarray(hidden)) == palette_png(Image.fromarray(shown))


def _package(folder, names):
    """The two packages with one emoji, named in the languages of ``names``."""
    google, base = folder / "google", folder / "base"
    (google / "img" / "google" / "64").mkdir(parents=True)
    Image.new("RGBA", (64, 64), "red").save(google / "img" / "google" / "64" / "2764-fe0f.png")
    entry = {
        "unified": "2764-FE0F",
        "image": "2764-fe0f.png",
        "category": "Smileys & Emotion",
        "subcategory": "heart",
        "sort_order": 1,
    }
    (google / "emoji.json").write_text(json.dumps([entry]))
    for language in ("en", "fr", "ja"):
        (base / language).mkdir(parents=True)
        said = {"hexcode": "2764", "label": "red heart", "tags": ["love"], "emoji": "❤️"}
        data = [said] if language in names else []
        (base / language / "data.json").write_text(json.dumps(data))
    return google, base


def test_names_are_matched_without_variation_selectors(tmp_path):
    (row,), (image,) = joined(*_package(tmp_path, ("en", "fr", "ja")))
    assert row["id"] == "2764-fe0f"
    assert row["name"] == dict.fromkeys(("en", "fr", "ja"), "red heart")
    assert image.getpixel((0, 0)) == (255, 0, 0, 255)


def test_an_emoji_without_a_name_in_one_language_stops_the_build(tmp_path):
    with pytest.raises(ValueError, match=r"1 have none: 2764-FE0F \(ja\)"):
        joined(*_package(tmp_path, ("en", "fr")))
