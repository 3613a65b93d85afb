"""Files are shown from the folders that were given, however they are named."""

from __future__ import annotations

import os

import pytest

from align.apps.serving.roots import Roots


@pytest.fixture
def tree(tmp_path):
    for name in ("a/1.png", "a/deep/2.png", "b/3.png", "ab/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_files_below_a_root_are_found_by_any_name(tree, monkeypatch):
    roots = Roots.of([tree / "a"])
    assert roots.find(str(tree / "a/deep/2.png")).read_text() == "a/deep/2.png"
    assert roots.find(str(tree / "b/../a/1.png")).read_text() == "a/1.png"
    monkeypatch.chdir(tree)
    assert roots.find("a/1.png") == (tree / "a/1.png").resolve()


@pytest.mark.parametrize("name", ["b/3.png", "a/../b/3.png", "ab/4.png"])
def test_files_beside_it_are_refused(tree, name):
    with pytest.raises(PermissionError, match="only files in the folders given with --root"):
        Roots.of([tree / "a"]).find(str(tree / name))


def test_links_are_followed_before_they_are_checked(tree):
    (tree / "a/out.png").symlink_to(tree / "b/3.png")
    (tree / "a/door").symlink_to(tree / "b")
    (tree / "b/in.png").symlink_to(tree / "a/1.png")
    (tree / "a/loop").symlink_to(tree / "a/loop")
    roots = Roots.of([tree / "a"])
    for name in ("a/out.png", "a/door/3.png"):
        with pytest.raises(PermissionError):
            roots.find(str(tree / name))
    assert roots.find(str(tree / "b/in.png")).name == "1.png"
    with pytest.raises(FileNotFoundError):
        roots.find(str(tree / "a/loop"))


def test_what_is_no_file_is_not_found(tree):
    roots = Roots.of([tree])
    os.mkfifo(tree / "a/pipe.png")
    for name in ("a/pipe.png", "a"):
        with pytest.raises(FileNotFoundError, match="must be a regular file"):
            roots.find(str(tree / name))
    for name in ("none.png", "a/1.png\0", "x" * 5000, "a/1.png/more"):
        with pytest.raises(FileNotFoundError, match="must be there"):
            roots.find(str(tree / name))


def test_by_default_the_folders_of_the_items_are_shown(tree):
    names = [str(tree / "a/1.png"), str(tree / "a/deep/2.png"), str(tree / "gone/5.png")]
    roots = Roots.around([*names, "bad\0name", "y" * 5000 + "/z.png"])
    assert roots.folders == ((tree / "a").resolve(), )  # fmt: skip


def test_a_root_must_be_a_folder(tree):
    with pytest.raises(NotADirectoryError, match="a root must be a folder"):
        Roots.of([tree / "a/1.png"])
