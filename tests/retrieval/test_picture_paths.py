"""Pictures are found from any folder, after a move with their index, and after one of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.retrieval.picture_paths import (
    PicturePaths,
    metadata_of_pictures,
    path_to_keep,
    picture_path,
)


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return paths


def test_a_path_is_kept_from_the_folder_of_the_index(tmp_path, monkeypatch):
    (photo,) = touch(tmp_path / "photos/a b.png")
    assert path_to_keep(photo, tmp_path / "out/idx") == "../../photos/a b.png"
    assert path_to_keep(photo, tmp_path) == "photos/a b.png"
    monkeypatch.chdir(tmp_path)
    assert path_to_keep("photos/a b.png", "out/idx") == "../../photos/a b.png"


def test_a_path_with_nothing_in_common_is_kept_whole():
    assert path_to_keep("/mnt-of-nobody/a.png", "/srv-of-nobody/idx") == "/mnt-of-nobody/a.png"


def test_a_kept_path_leads_back_from_any_folder(tmp_path, monkeypatch):
    (photo,) = touch(tmp_path / "photos/a.png")
    kept = path_to_keep(photo, tmp_path / "idx")
    monkeypatch.chdir("/")
    assert picture_path(kept, tmp_path / "idx") == photo
    assert picture_path(str(photo), tmp_path / "idx") == photo


@given(st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=4))
def test_every_path_that_is_kept_is_read_back_as_it_was(parts):
    names = [part for part in parts if part.strip(".")]
    whole = Path("/somewhere/of/nobody", *names, "x.png")
    assert picture_path(path_to_keep(whole, "/somewhere/else/idx"), "/somewhere/else/idx") == whole


def test_links_on_the_way_do_not_lead_astray(tmp_path):
    (photo,) = touch(tmp_path / "real/photos/a.png")
    (tmp_path / "real/deep/idx").mkdir(parents=True)
    (tmp_path / "idx").symlink_to(tmp_path / "real/deep/idx")
    kept = path_to_keep(photo, tmp_path / "idx")
    assert kept == "../../photos/a.png" and picture_path(kept, tmp_path / "idx") == photo


def test_a_link_to_a_picture_is_kept_under_its_own_name(tmp_path):
    (secret,) = touch(tmp_path / "secret/s.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").symlink_to(secret)
    assert path_to_keep(tmp_path / "photos/a.png", tmp_path / "idx") == "../photos/a.png"


def test_index_and_pictures_that_move_together_stay_together(tmp_path):
    (photo,) = touch(tmp_path / "before/photos/a.png")
    kept = path_to_keep(photo, tmp_path / "before/idx")
    os.rename(tmp_path / "before", tmp_path / "after")
    assert PicturePaths.of(tmp_path / "after/idx", [kept]).find(kept).is_file()


@pytest.mark.parametrize("root", ["new", "new/photos"])
def test_pictures_that_moved_alone_are_found_by_the_end_of_their_path(tmp_path, root):
    kept = ["/old/photos/a/1.png", "/old/photos/b/1.png", "../photos/c.png"]
    new = touch(*(tmp_path / f"new/photos/{end}" for end in ("a/1.png", "b/1.png", "c.png")))
    paths = PicturePaths.of(tmp_path / "idx", kept, moved_to=[tmp_path / "empty", tmp_path / root])
    assert [paths.find(path) for path in kept] == list(new)


def test_a_picture_is_never_taken_for_another_of_the_same_name(tmp_path):
    touch(tmp_path / "new/1.png")
    kept = ["/old/a/1.png", "/old/b/1.png"]
    paths = PicturePaths.of(tmp_path / "idx", kept, moved_to=[tmp_path / "new"])
    assert not any(paths.find(path).exists() for path in kept)
    # Where nothing else is called so, the name is enough.
    alone = PicturePaths.of(tmp_path / "idx", kept[:1], moved_to=[tmp_path / "new"])
    assert alone.find(kept[0]) == tmp_path / "new/1.png"


def test_what_is_still_in_its_place_is_not_looked_for_elsewhere(tmp_path):
    old, _ = touch(tmp_path / "old/a.png", tmp_path / "new/a.png")
    paths = PicturePaths.of(tmp_path / "idx", [str(old)], moved_to=[tmp_path / "new"])
    assert paths.find(str(old)) == old


def test_a_path_of_windows_is_taken_apart_at_its_own_separators(tmp_path):
    (new,) = touch(tmp_path / "new/photos/a.png")
    kept = r"C:\Users\me\photos\a.png"
    paths = PicturePaths.of(tmp_path / "idx", [kept], moved_to=[tmp_path / "new"])
    assert paths.find(kept) == new


@pytest.mark.parametrize("odd", ["", "..", "/", "../..", "a\0b"])
def test_odd_paths_are_missing_and_not_an_error(tmp_path, odd):
    paths = PicturePaths.of(tmp_path / "idx", [odd], moved_to=[tmp_path / "new"])
    assert not paths.find(odd).is_file() if "\0" not in odd else paths.find(odd)


def test_paths_join_the_metadata_of_pictures_alone(tmp_path):
    items = [tmp_path / "a.png", "a text", tmp_path / "b.png"]
    found = metadata_of_pictures(items, [{"n": 1}, {"n": 2}, {"path": "own"}], tmp_path / "idx")
    assert found == [{"n": 1, "path": "../a.png"}, {"n": 2}, {"path": "own"}]
    assert metadata_of_pictures(["a"], None, tmp_path) is None
    assert metadata_of_pictures(items[:1], None, tmp_path) == [{"path": "a.png"}]
