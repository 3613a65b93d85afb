"""Loaders of the folders below ISTHMUS_DATA; most skip where it is not set."""

from __future__ import annotations

import gzip
import json
import zipfile

import pytest
from PIL import Image

from experiments.datasets import (
    conala,
    cosqa,
    data_folder,
    django_pseudocode,
    flickr8k,
    multi30k,
    shared_photos,
    tanaka_enja,
)


def test_without_isthmus_data_a_loader_says_what_to_set(monkeypatch):
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"ISTHMUS_DATA is not set\. Set ISTHMUS_DATA to"):
        conala()


def test_a_missing_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"tanaka_enja is not a folder"):
        data_folder("tanaka_enja")


@pytest.mark.parametrize(
    "load",
    [
        lambda: flickr8k("test"),
        lambda: multi30k("dev"),
        lambda: django_pseudocode("val"),
        lambda: tanaka_enja("test"),
    ],
)
def test_a_split_that_is_not_there_is_refused(load):
    with pytest.raises(ValueError, match=r"split must be one of train, .*; got"):
        load()


def test_more_captions_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"captions must lie in \[1, 3\].*'ar'; got 4"):
        flickr8k("train", captions=4, language="ar")


@pytest.fixture
def two_photos(tmp_path, monkeypatch):
    """A data folder with one Flickr8k photo per split and one shared Multi30k id."""
    rows = [
        {"file": f"{n}_ab.jpg", "split": split, "en": list("abcde"), "ar": list("xyz")}
        for n, split in ((11, "train"), (22, "dev"))
    ]
    flickr, multi = tmp_path / "flickr8k", tmp_path / "multi30k"
    flickr.mkdir()
    multi.mkdir()
    with gzip.open(flickr / "captions.jsonl.gz", "wt") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    for row in rows:
        Image.new("RGB", (4, 4)).save(tmp_path / row["file"])
        with zipfile.ZipFile(flickr / f"images_{row['split']}.zip", "w") as pack:
            pack.write(tmp_path / row["file"], row["file"])
    for name, photo in (("train", 22), ("val", 33), ("test_2016_flickr", 44)):
        with gzip.open(multi / f"{name}.jsonl.gz", "wt") as out:
            out.write(json.dumps({"id": f"{photo}.jpg", "en": "e", "fr": "f", "de": "d"}) + "\n")
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path))


def test_captions_of_one_photo_share_its_group_and_stay_in_their_split(two_photos):
    pairs = flickr8k("dev", captions=2)
    assert pairs.source == ("a", "b")
    assert pairs.groups == ("22_ab.jpg",) * 2
    assert pairs.ids == ("22_ab.jpg#0", "22_ab.jpg#1")
    assert pairs.target[0].read_bytes()[:2] == b"\xff\xd8"
    assert flickr8k("dev", captions=3, language="ar").source == ("x", "y", "z")


def test_photos_of_both_collections_are_found_by_their_number(two_photos):
    assert shared_photos() == {"22.jpg"}
    assert multi30k("train", target="de").target == ("d",)


def test_flickr8k_has_the_published_numbers_of_photos(needs_data):
    needs_data("flickr8k")
    pairs = flickr8k("dev", captions=5)
    assert len(pairs) == 5_000
    assert len(set(pairs.groups)) == 1_000
    assert len(flickr8k("dev", captions=3, language="ar")) == 3_000
    with Image.open(pairs.target[0]) as photo:
        assert photo.size == (192, 192)


@pytest.mark.parametrize(("split", "n"), [("train", 29_000), ("val", 1_014), ("test", 1_000)])
def test_multi30k_has_the_published_numbers_of_pairs(needs_data, split, n):
    needs_data("multi30k")
    assert len(multi30k(split, target="cs")) == n


def test_a_fifth_of_multi30k_shows_photos_of_flickr8k(needs_data):
    needs_data("multi30k")
    needs_data("flickr8k")
    assert len(shared_photos()) == 6_043 + 210 + 209


@pytest.mark.parametrize(("split", "n"), [("train", 10_927), ("dev", 700), ("test", 1_274)])
def test_django_is_split_by_line_number(needs_data, split, n):
    needs_data("django_pseudocode")
    pairs = django_pseudocode(split)
    assert len(pairs) == len(set(pairs.target)) == n


def test_conala_groups_by_question(needs_data):
    needs_data("conala")
    pairs = conala()
    assert len(pairs) == 2_366
    assert len(set(pairs.groups)) == 1_709


def test_cosqa_answers_lie_in_the_code_base(needs_data):
    needs_data("cosqa")
    data = cosqa()
    assert len(data.pairs) == len(data.positives) == 500
    assert len(data.code) == 6_267
    assert [data.code[i] for i in data.positives] == list(data.pairs.target)
    assert '"""' not in data.code[0]


@pytest.mark.parametrize(("split", "n"), [("train", 20_000), ("dev", 500)])
def test_tanaka_has_the_stated_numbers_of_pairs(needs_data, split, n):
    needs_data("tanaka_enja")
    assert len(tanaka_enja(split)) == n
