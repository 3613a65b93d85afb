"""The emoji that come with the package: what is in the pack, and what shares a group."""

from __future__ import annotations

import io
import json
import zipfile
from collections import defaultdict

import pytest
from PIL import Image

from align.data.examples.emoji import PACK, emoji_entries, emoji_pairs


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """An empty cache folder, unseen by the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISTHMUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_the_pack_is_small_and_holds_a_picture_for_each_of_1911_emoji():
    assert PACK.stat().st_size < 4_000_000
    with zipfile.ZipFile(PACK) as pack:
        rows = [json.loads(line) for line in pack.read("emoji.jsonl").decode().splitlines()]
        assert len(rows) == len({row["id"] for row in rows}) == 1911
        assert set(pack.namelist()) == {row["file"] for row in rows} | {"emoji.jsonl"}
        with Image.open(io.BytesIO(pack.read(rows[0]["file"]))) as picture:
            assert picture.size == (64, 64)
            assert picture.has_transparency_data


@pytest.mark.parametrize(
    ("language", "caption"),
    [
        ("en", "dog face: adorbs, animal, dog, face, pet"),
        ("fr", "tête de chien: "),
        ("ja", "イヌの顔: "),
    ],
)
def test_every_language_names_and_describes_every_emoji(language, caption):
    pairs = emoji_pairs(language)
    assert len(pairs) == 1911
    assert pairs.source[pairs.ids.index("1f436")].startswith(caption)
    assert all(entry.name[language] and entry.keywords[language] for entry in emoji_entries())


def test_pictures_are_files_and_ids_are_code_points():
    pairs = emoji_pairs()
    place = pairs.ids.index("1f436")
    assert chr(int(pairs.ids[place], 16)) == "🐶"
    assert pairs.target[place].is_file()
    assert len(set(pairs.target)) == 1911


def test_the_sides_are_called_what_they_are():
    assert emoji_pairs().side_names == ("caption", "image")


def test_a_language_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r'"en", "fr" or "ja"; got .de.'):
        emoji_pairs("de")


def test_variants_of_one_picture_share_a_group():
    members = defaultdict(set)
    for entry in emoji_entries():
        members[entry.group].add(entry.name["en"])
    group_of = {name: group for group, names in members.items() for name in names}
    for one, *others in [
        ("person tipping hand", "woman tipping hand", "man tipping hand"),
        ("person running", "woman running: facing right"),
        ("one o’clock", "seven-thirty"),  # noqa: RUF001 (the name as the CLDR writes it)
        ("family", "family: man, woman, girl, boy", "family: adult, child"),
        ("red heart", "light blue heart"),
        ("keycap: 1", "keycap: #"),
        ("lemon", "lime"),
        ("flag: Chad", "flag: Romania"),
        ("flag: France", "flag: St. Martin"),
        ("person", "woman: red hair", "boy"),
        ("Santa Claus", "Mx Claus"),
    ]:
        assert {group_of[other] for other in others} == {group_of[one]}, one
    apart = ["red heart", "heart on fire", "flag: France", "flag: Japan", "dog", "dog face", "cat"]
    assert len({group_of[name] for name in apart}) == len(apart)
    # No chain of look-alikes may swallow the collection.
    assert max(map(len, members.values())) == 30
    assert len(members) > 1450


def test_equal_pictures_share_a_group():
    seen = {}
    for entry in emoji_entries():
        with Image.open(entry.image) as picture:
            pixels = picture.convert("RGBA").tobytes()
        assert seen.setdefault(pixels, entry.group) == entry.group


def test_a_split_by_group_keeps_variants_together():
    train, test = emoji_pairs().split(test=0.2, seed=0)
    assert not set(train.groups) & set(test.groups)
    assert len(train) + len(test) == 1911
