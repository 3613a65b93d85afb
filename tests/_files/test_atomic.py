"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
import time

import pytest
import torch
from safetensors.torch import save_file

from align._files import atomic
from align._files.atomic import Layout, atomic_file, atomic_folder, read_whole

LAYOUT = Layout("box", frozenset({"a", "deep/b"}), lambda folder: (folder / "a").exists())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_content_and_leaves_no_scratch(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_file(path) as scratch:
        scratch.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file.txt"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), atomic_file(path) as scratch:
        scratch.write_text("half")
        raise RuntimeError("disk")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_files_get_default_permissions_even_if_their_writer_is_stricter(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    path, folder = tmp_path / "a.safetensors", tmp_path / "folder"
    with atomic_file(path) as scratch:
        save_file({"x": torch.zeros(1)}, scratch)
    with atomic_folder(folder, LAYOUT) as scratch:
        save_file({"x": torch.zeros(1)}, scratch / "a")
    mode = plain.stat().st_mode
    assert path.stat().st_mode == mode
    assert (folder / "a").stat().st_mode == mode


def box(folder, text="old"):
    folder.mkdir(parents=True)
    (folder / "a").write_text(text)
    return folder


@pytest.fixture(params=[True, False], ids=["exchanged", "set aside"])
def exchanges(request, monkeypatch):
    """Whether the system can exchange two folders."""
    if not request.param:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    return request.param


def test_a_folder_takes_the_place_of_the_old_one(tmp_path, exchanges):
    path = box(tmp_path / "folder")
    with atomic_folder(path, LAYOUT) as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "b").write_text("x")
        assert names(path) == ["a"]
    assert names(path) == ["deep"]
    assert names(tmp_path) == ["folder"]


def test_an_error_while_filling_keeps_the_old_folder(tmp_path, exchanges):
    path = box(tmp_path / "folder")
    with pytest.raises(RuntimeError, match="disk"), atomic_folder(path, LAYOUT) as scratch:
        (scratch / "a").touch()
        raise RuntimeError("disk")
    assert (path / "a").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_a_folder_is_put_back_if_the_second_rename_fails(tmp_path, monkeypatch):
    path = box(tmp_path / "folder")
    rename = os.replace

    def fail_for_scratch(source, target):
        if str(source).endswith(".tmp"):
            raise OSError("no space left")
        rename(source, target)

    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "replace", fail_for_scratch)
    with pytest.raises(OSError, match="no space left"), atomic_folder(path, LAYOUT):
        pass
    assert names(path) == ["a"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_does_not_replace_a_file(tmp_path):
    path = tmp_path / "folder"
    path.write_text("precious")
    with pytest.raises(NotADirectoryError, match="it is a file"), atomic_folder(path, LAYOUT):
        pass
    assert path.read_text() == "precious"


@pytest.mark.parametrize("foreign", ["c", "deep/c", "deeper/b", "b"])
def test_a_folder_that_holds_anything_else_is_not_replaced(tmp_path, foreign, exchanges):
    path = box(tmp_path / "folder")
    (path / foreign).parent.mkdir(exist_ok=True)
    (path / foreign).write_text("precious")
    with pytest.raises(FileExistsError, match="a box is saved to"), atomic_folder(path, LAYOUT):
        pytest.fail("nothing must be written")
    assert (path / foreign).read_text() == "precious"
    assert names(tmp_path) == ["folder"]


def test_a_file_that_comes_into_the_old_folder_meanwhile_is_not_lost(tmp_path, exchanges):
    path = box(tmp_path / "folder")
    with (
        pytest.raises(FileExistsError, match=r"holds \['late'\] too"),
        atomic_folder(path, LAYOUT) as scratch,
    ):
        (scratch / "a").write_text("new")
        (path / "late").write_text("precious")
    assert names(path) == ["a", "late"]
    assert names(tmp_path) == ["folder"]


def test_what_a_folder_holds_behind_a_link_is_left_alone(tmp_path, exchanges):
    path, mine = box(tmp_path / "folder"), tmp_path / "mine"
    mine.mkdir()
    (mine / "b").write_text("precious")
    (path / "deep").symlink_to(mine)
    with pytest.raises(FileExistsError, match="deep"), atomic_folder(path, LAYOUT):
        pass
    LAYOUT.remove(path)
    assert (mine / "b").read_text() == "precious"


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    link, path = tmp_path / "link", tmp_path / "deep" / "file"
    link.symlink_to("deep/file")
    for text in ("first", "second"):
        with atomic_file(link) as scratch:
            scratch.write_text(text)
        assert link.is_symlink() and not path.is_symlink() and path.read_text() == text


def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("link")
    with pytest.raises(OSError, match=r"must not be a link .*Remove"), atomic_file(link):
        pass
    with pytest.raises(OSError, match=r"must not be a link .*Remove"), atomic_folder(link, LAYOUT):
        pass


def test_a_pipe_or_a_folder_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(FileExistsError, match="must be free or a file"):
            with atomic_file(tmp_path / name):
                pytest.fail("nothing must be written")
    assert names(tmp_path) == ["folder", "pipe"]


def test_scratch_of_a_writer_that_was_killed_is_removed_and_nothing_else(tmp_path):
    path, token = tmp_path / "file", "0" * 32
    form = tmp_path / f".file.{token}.tmp"
    others = [".file.1.tmp", f".other.{token}.tmp", f"file.{token}.tmp", f".file.{token}.bak"]
    for name in (form.name, *others):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - 4000,) * 2)
    young = tmp_path / f".file.{'1' * 32}.tmp"
    young.touch()
    link = tmp_path / f".file.{'2' * 32}.tmp"
    link.symlink_to("elsewhere")
    os.utime(link, (time.time() - 4000,) * 2, follow_symlinks=False)
    with atomic_file(path) as scratch:
        scratch.write_text("whole")
    assert names(tmp_path) == sorted([young.name, link.name, "file", *others])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("what", ["fsync", "replace"])
def test_an_error_of_the_system_has_three_parts(tmp_path, monkeypatch, code, what):
    def fails(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, what, fails)
    for make in (atomic_file, lambda path: atomic_folder(path, LAYOUT)):
        path = tmp_path / "name"
        with pytest.raises(OSError) as caught, make(path) as scratch:
            scratch.touch()
        assert caught.value.errno == code
        assert str(caught.value).startswith(f"{path} must be written whole; the system says: ")
        assert "Free space or choose a folder that can be written" in str(caught.value)
        assert names(tmp_path) == []


def test_an_error_about_another_file_is_not_blamed_on_the_new_one(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"No such file .*absent"),
        atomic_file(tmp_path / "file"),
    ):
        (tmp_path / "absent").read_text()


def test_a_folder_that_is_set_aside_while_it_is_read_is_read_there(tmp_path):
    folder, aside = tmp_path / "adapter", tmp_path / f".adapter.{'0' * 32}.old"
    folder.mkdir()
    (folder / "card").write_text("whole")

    def read(found):
        if found == folder:  # the writer is between its two renames
            folder.rename(aside)
        return (found / "card").read_text()

    assert read_whole(folder, read) == "whole"


def test_a_folder_that_cannot_be_read_where_it_is_says_so(tmp_path):
    aside = tmp_path / f".adapter.{'0' * 32}.old"
    aside.mkdir()
    with pytest.raises(FileNotFoundError, match="card"):
        read_whole(tmp_path / "adapter", lambda found: (found / "card").read_text())
